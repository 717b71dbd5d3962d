package crypto_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/platform/crypto"
)

// cheap is the least cost taken, so that tests are quick.
var cheap = crypto.Argon2{MemoryKiB: 8 << 10, Passes: 1, Lanes: 1}

func passwords(t *testing.T, cost crypto.Argon2) *crypto.Passwords {
	t.Helper()
	p, err := crypto.NewPasswords(cost)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := passwords(t, cheap)
	verify := func(t *testing.T, stored, password string) (ok, rehash bool) {
		t.Helper()
		ok, rehash, err := p.Verify(ctx, stored, password)
		if err != nil {
			t.Fatal(err)
		}
		return ok, rehash
	}
	hash := func(t *testing.T, password string) string {
		t.Helper()
		stored, err := p.Hash(ctx, password)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}

	t.Run("knows the password and no other", func(t *testing.T) {
		t.Parallel()
		stored := hash(t, "benar kuda baterai")
		if ok, rehash := verify(t, stored, "benar kuda baterai"); !ok || rehash {
			t.Errorf("ok %v, rehash %v", ok, rehash)
		}
		for _, wrong := range []string{"", "benar kuda bateraI", "benar kuda baterai ", "benar kuda batera"} {
			if ok, _ := verify(t, stored, wrong); ok {
				t.Errorf("took %q", wrong)
			}
		}
		if stored == hash(t, "benar kuda baterai") {
			t.Error("the same salt twice")
		}
	})
	t.Run("writes argon2id of m=19 MiB, t=2, p=1 with a salt of 16 bytes as a PHC string", func(t *testing.T) {
		t.Parallel()
		stored, err := passwords(t, crypto.DefaultArgon2).Hash(ctx, "benar kuda baterai")
		if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Fatalf("%s, %v", stored, err)
		}
		if salt := strings.Split(stored, "$")[4]; len(salt) != 22 {
			t.Errorf("salt %s", salt)
		}
	})
	t.Run("counts every byte up to the longest", func(t *testing.T) {
		t.Parallel()
		longest := strings.Repeat("a", crypto.MaxPasswordBytes)
		stored := hash(t, longest)
		if ok, _ := verify(t, stored, longest); !ok {
			t.Error("refused the longest")
		}
		if ok, _ := verify(t, stored, longest[1:]+"b"); ok {
			t.Error("did not look at the last byte")
		}
		if ok, _ := verify(t, stored, longest+"a"); ok {
			t.Error("took a longer one")
		}
	})
	t.Run("takes the same word from another keyboard", func(t *testing.T) {
		t.Parallel()
		if ok, _ := verify(t, hash(t, "cafe\u0301 di Yogya ①"), "caf\u00e9 di Yogya 1"); !ok {
			t.Error("composed and decomposed differ")
		}
	})
	t.Run("refuses everything where nothing is stored", func(t *testing.T) {
		t.Parallel()
		for _, password := range []string{"", "benar kuda baterai"} {
			if ok, _ := verify(t, "", password); ok {
				t.Errorf("took %q", password)
			}
		}
	})
	t.Run("asks for a new hash where the cost is another", func(t *testing.T) {
		t.Parallel()
		stored, err := passwords(t, crypto.Argon2{MemoryKiB: 9 << 10, Passes: 1, Lanes: 1}).Hash(ctx, "benar kuda baterai")
		if err != nil {
			t.Fatal(err)
		}
		if ok, rehash := verify(t, stored, "benar kuda baterai"); !ok || !rehash {
			t.Errorf("ok %v, rehash %v", ok, rehash)
		}
		if ok, rehash := verify(t, stored, "salah"); ok || rehash {
			t.Errorf("wrong password: ok %v, rehash %v", ok, rehash)
		}
	})
	t.Run("a wrong password takes as long for a hash of a lower cost as for none", func(t *testing.T) {
		t.Parallel()
		today := passwords(t, crypto.Argon2{MemoryKiB: 32 << 10, Passes: 3, Lanes: 1})
		old := hash(t, "benar kuda baterai")
		// The quickest of each, until the machine had time for both: the old one alone is a twelfth.
		least := map[string]time.Duration{old: time.Hour, "": time.Hour}
		for round := 0; round < 5 || round < 80 && least[old] < least[""]*2/3; round++ {
			for stored := range least {
				began := time.Now()
				if ok, rehash, err := today.Verify(ctx, stored, "salah"); ok || rehash || err != nil {
					t.Fatal(ok, rehash, err)
				}
				least[stored] = min(least[stored], time.Since(began))
			}
		}
		if least[old] < least[""]*2/3 {
			t.Errorf("the times tell: %s for an old hash, %s for none", least[old], least[""])
		}
	})
	t.Run("does not compute what it would not have written", func(t *testing.T) {
		t.Parallel()
		const tail = "$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
		for _, stored := range []string{
			"plain", "$2y$10$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=8192,t=1,p=1" + tail, "$argon2id$v=16$m=8192,t=1,p=1" + tail,
			"$argon2id$v=19$m=4294967295,t=1,p=1" + tail, "$argon2id$v=19$m=8192,t=4294967295,p=1" + tail, "$argon2id$v=19$m=8192,t=1,p=255" + tail,
			"$argon2id$v=19$m=8192,t=0,p=1" + tail, "$argon2id$v=19$m=8192,t=1,p=0" + tail, "$argon2id$v=19$m=0,t=1,p=1" + tail,
			"$argon2id$v=19$m=-1,t=1,p=1" + tail, "$argon2id$v=19$m=+8192,t=1,p=1" + tail, "$argon2id$v=19$m=8192,t=1,p=1,x=2" + tail,
			"$argon2id$v=19$m=8192,t=1,p=1$$", "$argon2id$v=19$m=8192,t=1,p=1" + tail + "$", "$argon2id$v=19$m=8192,t=1,p=1$!$!",
		} {
			began := time.Now()
			ok, rehash, err := p.Verify(ctx, stored, "x")
			if ok || rehash || !errors.Is(err, crypto.ErrPasswordHash) {
				t.Errorf("%s: %v %v %v", stored, ok, rehash, err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: took %s", stored, took)
			}
		}
	})
	t.Run("refuses a cost out of range", func(t *testing.T) {
		t.Parallel()
		for _, cost := range []crypto.Argon2{{}, {MemoryKiB: 1024, Passes: 1, Lanes: 1}, {MemoryKiB: 1 << 30, Passes: 1, Lanes: 1}, {MemoryKiB: 19456, Passes: 99, Lanes: 1}} {
			if _, err := crypto.NewPasswords(cost); err == nil {
				t.Errorf("took %+v", cost)
			}
		}
	})
}

// Not parallel: it looks at the memory of the whole process.
func TestPasswordsStayInsideTheirMemory(t *testing.T) {
	p := passwords(t, crypto.DefaultArgon2)
	var most uint64
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, _, err := p.Verify(context.Background(), "", "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	<-watched
	// What runs at once, twice over for what the collector has not taken back yet, and the process itself.
	if limit := uint64(runtime.GOMAXPROCS(0)*19*3+64) << 20; most > limit {
		t.Errorf("%d MiB in use, want %d at most", most>>20, limit>>20)
	}
}

func TestPasswordsStopWaitingWithTheirContext(t *testing.T) {
	t.Parallel()
	p := passwords(t, cheap)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refused := false
	for range 100 { // a free slot and an ended context are chosen between at random
		if _, err := p.Hash(ctx, "x"); errors.Is(err, context.Canceled) {
			refused = true
			break
		}
	}
	if !refused {
		t.Error("hashed on and on for a caller that is gone")
	}
}

func FuzzVerifyStoredHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g")
	f.Add("$argon2id$v=19$m=99999999,t=9,p=9$$")
	p, err := crypto.NewPasswords(cheap)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		if ok, _, _ := p.Verify(t.Context(), stored, "a password nobody has"); ok {
			t.Errorf("%q took a password", stored)
		}
	})
}
