package identity_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth01_LengthIsAllThatIsAskedOfAPassword(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	try := func(t *testing.T, pass string) *apptest.Response {
		t.Helper()
		return a.On("").Post(t, "/auth/register", map[string]any{"name": "Siti", "email": "panjang@example.com", "password": pass})
	}
	t.Run("12 characters at least, whatever their bytes", func(t *testing.T) {
		for _, bad := range []string{"", "rT7#mQ2!xZ9", strings.Repeat("密", 2) + "码安全很好"} {
			try(t, bad).WantField(t, "password")
		}
	})
	t.Run("1,024 bytes at most, and no composition rules", func(t *testing.T) {
		long := strings.Repeat("benang ", 146) + "xy" // 1,024 bytes
		for _, good := range []string{"rt7mq2xz9pkw", "benang merah di gudang", "衣服裁缝线轴布料针头剪刀", "👗 jahit 🧵 rapi 🪡", long} {
			try(t, good).Want(t, 202)
		}
		try(t, long+"z").WantField(t, "password")
	})
	t.Run("nothing is cut off, and the same characters typed otherwise are the same", func(t *testing.T) {
		long := strings.Repeat("kain batik ", 90) + "tulis 123456"
		if _, err := a.Identity.CreateVerified(t.Context(), "Dewi", "dewi@example.com", long, "id"); err != nil {
			t.Fatal(err)
		}
		login(t, a, "dewi@example.com", long).Want(t, 200)
		login(t, a, "dewi@example.com", long[:len(long)-1]).Want(t, 401)
		login(t, a, "dewi@example.com", strings.Replace(long, "tulis", "ｔulis", 1)).Want(t, 200)
	})
	t.Run("the answer does not repeat it", func(t *testing.T) {
		if r := try(t, "qwerty12345"); strings.Contains(string(r.Raw), "qwerty12345") {
			t.Errorf("%s", r.Raw)
		}
	})
}

func TestAuth02_CommonAndPersonalPasswordsAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for pass, reason := range map[string]string{
		"qwertyqwerty": "common", "QwertyQwerty": "common", "123456789012": "common", "password2024": "common", "aaaaaaaaaaaaaaa": "common",
		"Budi Santoso 77": "your name", "budi.santoso@example.com": "your name", "garment.id 2024": "name of this service", "HomeCoreHomeCore": "name of this service",
	} {
		r := a.On("").Post(t, "/auth/register?lang=en", map[string]any{"name": "Budi Santoso", "email": "budi.santoso@example.com", "password": pass})
		r.WantField(t, "password")
		if got := strings.Join(r.Errors["password"], " "); !strings.Contains(got, reason) {
			t.Errorf("%q: %s, want something of %q", pass, got, reason)
		}
	}
	a.On("").Post(t, "/auth/register", map[string]any{"name": "Budi Santoso", "email": "budi.santoso@example.com", "password": "rumah budi di tepi sawah"}).Want(t, 202)
	t.Run("when changing it too", func(t *testing.T) {
		p := a.SignUp(t)
		p.Put(t, "/auth/password", map[string]any{"current_password": p.Password, "password": "qwertyqwerty"}).WantField(t, "password")
		p.Put(t, "/auth/password", map[string]any{"current_password": p.Password, "password": p.Email}).WantField(t, "password")
	})
}

// 500 sign-ins at once want 500 × 19 MiB; no more hashes are made at a time than the processors can work on.
func TestAuth03_ParallelLoginsStayInsideTheirMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of processor time")
	}
	a := apptest.New(t)
	p := a.SignUp(t)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var (
		most       atomic.Uint64
		done, stop = make(chan struct{}), make(chan struct{})
	)
	go func() {
		defer close(done)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				runtime.ReadMemStats(&now)
				most.Store(max(most.Load(), now.HeapInuse))
			}
		}
	}()
	var wg sync.WaitGroup
	var in atomic.Int64
	for i := range 500 {
		wg.Go(func() {
			email, pass, want := p.Email, p.Password, 200
			if i%5 > 0 {
				email, pass, want = fmt.Sprintf("siapa%d@example.com", i), "bukan kata sandinya", 401
			}
			if r := a.On("").Post(t, "/auth/login", map[string]any{"email": email, "password": pass}); r.Status == want {
				in.Add(1)
			} else {
				t.Errorf("%d, want %d: %s", r.Status, want, r.Raw)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-done
	// Together they want 500 × 19 MiB. What is in use counts garbage that is not yet collected and what 500 requests need, so an eighth of that
	// is the bound: far more than one hash for each processor makes, and far less than no bound would.
	bound := 2*before.HeapInuse + 500*19<<20/8
	if most.Load() > bound {
		t.Errorf("%d MiB in use, want at most %d", most.Load()>>20, bound>>20)
	}
	if in.Load() != 500 {
		t.Errorf("%d of 500 were answered as they should", in.Load())
	}
}

func TestAuth03_StoredHashes(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	hash := func() (h string) {
		t.Helper()
		if err := connect(t, a).QueryRow(t.Context(), "select password_hash from central.users where id = $1", p.ID).Scan(&h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	good := hash()
	if !strings.HasPrefix(good, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("the hash is %s", good)
	}
	t.Run("with absurd parameters are refused, not computed", func(t *testing.T) {
		for _, absurd := range []string{"m=4194304,t=2,p=1", "m=19456,t=4000000000,p=1", "m=19456,t=2,p=255", "m=1,t=1,p=1", "m=19456,t=0,p=1"} {
			exec(t, a, "update central.users set password_hash = $2 where id = $1", p.ID, strings.Replace(good, "m=19456,t=2,p=1", absurd, 1))
			began := time.Now()
			login(t, a, p.Email, p.Password).Want(t, 401, "auth.invalid_credentials")
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s took %s", absurd, took)
			}
		}
	})
	t.Run("with older parameters are renewed by a sign-in, which leaves the password's age", func(t *testing.T) {
		older := apptest.New(t, weaker)
		q := older.SignUp(t)
		var old string
		if err := connect(t, older).QueryRow(t.Context(), "select password_hash from central.users where id = $1", q.ID).Scan(&old); err != nil {
			t.Fatal(err)
		}
		exec(t, a, "update central.users set password_hash = $2 where id = $1", p.ID, old)
		login(t, a, p.Email, q.Password).Want(t, 200)
		if h := hash(); !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") || h == good {
			t.Errorf("the hash is %s", h)
		}
		p.Get(t, "/auth/me").Want(t, 200)
	})
}
