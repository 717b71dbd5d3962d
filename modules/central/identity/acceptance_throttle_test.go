package identity_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

// throttled turns throttling on, which tests otherwise do without: all of them come from one address.
func throttled() apptest.Option {
	return apptest.With(func(c *app.Config) {
		c.Identity.Throttle = "on"
		c.TrustedProxies = []string{"127.0.0.0/8", "::1"} // tests are the proxy that says where they come from
	})
}

// from signs in from an address.
func from(t *testing.T, a *apptest.App, ip, email, pass string) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, "/auth/login", map[string]any{"email": email, "password": pass}, "X-Forwarded-For", ip)
}

// hold lets whoever waits now wait for a minute: a slow machine must not outlast the first second.
func hold(t *testing.T, a *apptest.App) {
	t.Helper()
	exec(t, a, "update central.throttles set waits_until = now() + interval '1 minute' where waits_until is not null")
}

func TestAuth08_ThrottlesByAddressIdentifierAndBoth(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled())
	owner := a.SignUp(t)

	fails := func(t *testing.T, ip, email string, most int) int {
		t.Helper()
		for n := range most {
			r := from(t, a, ip, email, "bukan kata sandinya")
			if r.Status == http.StatusTooManyRequests {
				wait, err := strconv.Atoi(r.Header.Get("Retry-After"))
				if err != nil || wait < 1 {
					t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
				}
				r.Want(t, http.StatusTooManyRequests, "rate_limited")
				return n
			}
			r.Want(t, http.StatusUnauthorized, "auth.invalid_credentials")
			hold(t, a)
		}
		return most
	}

	t.Run("the same for an account and for none", func(t *testing.T) {
		known, unknown := fails(t, "203.0.113.1", owner.Email, 50), fails(t, "203.0.113.2", "tidak.ada@example.com", 50)
		if known != unknown || known < 5 || known > 10 {
			t.Errorf("%d tries for an account, %d for none", known, unknown)
		}
	})
	t.Run("also the right password, from there", func(t *testing.T) {
		hold(t, a)
		from(t, a, "203.0.113.1", owner.Email, owner.Password).Want(t, http.StatusTooManyRequests, "rate_limited")
	})
	t.Run("the owner comes in from elsewhere", func(t *testing.T) {
		from(t, a, "203.0.113.3", owner.Email, owner.Password).Want(t, http.StatusOK)
	})
	t.Run("the wait grows", func(t *testing.T) {
		email := "menunggu@example.com"
		fails(t, "203.0.113.4", email, 50)
		// Waiting is over: as if time had passed. How long the next is stands in the table: by the time of a further try it may be over.
		last := 0
		for range 4 {
			exec(t, a, "update central.throttles set waits_until = null, spent_until = now()")
			from(t, a, "203.0.113.4", email, "bukan kata sandinya").Want(t, http.StatusUnauthorized)
			wait := count(t, a, "select ceil(extract(epoch from max(waits_until - seen_at)))::int from central.throttles where seen_at = (select max(seen_at) from central.throttles)")
			if wait <= last {
				t.Errorf("%d s after %d s", wait, last)
			}
			last = wait
		}
	})
	t.Run("a success ends the wait", func(t *testing.T) {
		p := a.SignUp(t)
		fails(t, "203.0.113.5", p.Email, 50)
		exec(t, a, "update central.throttles set waits_until = null, spent_until = now()")
		from(t, a, "203.0.113.5", p.Email, p.Password).Want(t, http.StatusOK)
		if n := fails(t, "203.0.113.5", p.Email, 5); n != 5 {
			t.Errorf("%d tries after a success", n)
		}
	})
	t.Run("an IPv6 network of 64 bits is one address", func(t *testing.T) {
		email := "enam@example.com"
		fails(t, "2001:db8:1:2::1", email, 50)
		hold(t, a)
		from(t, a, "2001:db8:1:2:ffff::9", email, "x").Want(t, http.StatusTooManyRequests)
		from(t, a, "2001:db8:1:3::1", email, "x").Want(t, http.StatusUnauthorized)
	})
	t.Run("one address is stopped whatever the identifiers", func(t *testing.T) {
		exec(t, a, "update central.throttles set spent_until = now() + interval '1 hour'")
		from(t, a, "203.0.113.3", "lain@example.com", "x").Want(t, http.StatusTooManyRequests)
		exec(t, a, "delete from central.throttles")
	})
	t.Run("many addresses are stopped at one identifier, which is never shut for long", func(t *testing.T) {
		email := "diserang@example.com"
		stopped := false
		for i := range 60 {
			r := from(t, a, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String(), email, "x")
			if r.Status == http.StatusTooManyRequests {
				if wait, _ := strconv.Atoi(r.Header.Get("Retry-After")); wait > 60 {
					t.Errorf("shut for %d s", wait)
				}
				stopped = true
			}
		}
		if !stopped {
			t.Error("60 addresses were let through")
		}
	})
	t.Run("no row says whom it is about, and another process sees the same", func(t *testing.T) {
		if n := count(t, a, "select count(*) from central.throttles x where x::text like '%example.com%'"); n > 0 {
			t.Errorf("%d rows with an address", n)
		}
		from(t, a, "203.0.113.9", "proses@example.com", "x").Want(t, http.StatusUnauthorized)
		fails(t, "203.0.113.9", "proses@example.com", 50)
		hold(t, a)
		b := a.Another(t)
		from(t, b, "203.0.113.9", "proses@example.com", "x").Want(t, http.StatusTooManyRequests)
	})
}

func TestAuth09_AThousandParallelGuessesVerifyNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled())
	began := time.Now()
	var (
		verified, refused atomic.Int64
		done              sync.WaitGroup
	)
	for range 1000 {
		done.Go(func() {
			switch r := from(t, a, "203.0.113.1", "korban@example.com", "tebakan yang salah"); r.Status {
			case http.StatusUnauthorized:
				verified.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				t.Errorf("answer %d", r.Status)
			}
		})
	}
	done.Wait()
	most := 10 + int64(time.Since(began)/(30*time.Second)) // one comes back
	if verified.Load() > most || verified.Load() < 5 || verified.Load()+refused.Load() != 1000 {
		t.Errorf("%d were verified, %d refused", verified.Load(), refused.Load())
	}
}

func TestAuth09_OnePasswordOnManyAccountsIsStoppedAndRecorded(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	a := apptest.New(t, throttled(), apptest.WithLog(&log))
	tried := 0
	for i := range 200 {
		exec(t, a, "update central.throttles set spent_until = now()") // a patient attacker
		if from(t, a, "203.0.113.1", fmt.Sprintf("akun%d@example.com", i), "rahasia123456").Status == http.StatusUnauthorized {
			tried++
		}
	}
	if tried > 50 {
		t.Errorf("%d accounts were tried", tried)
	}
	if !strings.Contains(log.String(), "credential_stuffing") {
		t.Error("it was not recorded")
	}
	from(t, a, "203.0.113.2", "akun1@example.com", "x").Want(t, http.StatusUnauthorized)
}

// One password on many accounts, each time from another address: no address and no account has failed often.
func TestAuth09_OnePasswordFromManyAddressesIsStoppedAndRecorded(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled(), weaker)
	const sprayed = "musim-hujan-2026"
	spray := func(i int, pass string) *apptest.Response {
		return from(t, a, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}).String(), fmt.Sprintf("akun%d@example.com", i), pass)
	}
	victim := a.SignUp(t)
	victim.Put(t, "/auth/password", map[string]any{"current_password": victim.Password, "password": sprayed}).Want(t, http.StatusOK)
	t.Run("many passwords are none", func(t *testing.T) {
		for i := range 100 {
			spray(i, fmt.Sprintf("kata sandi nomor %d", i)).Want(t, http.StatusUnauthorized)
		}
	})
	tried := 0
	for i := range 200 {
		if r := spray(1000+i, sprayed); r.Status == http.StatusUnauthorized {
			tried++
		} else if wait, _ := strconv.Atoi(r.Want(t, http.StatusTooManyRequests, "rate_limited").Header.Get("Retry-After")); wait < 1 || wait > 900 {
			t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
		}
	}
	if tried < 30 || tried > 100 {
		t.Errorf("%d accounts were tried", tried)
	}
	const recorded = "select count(*) from central.security_activities where type = 'credential_stuffing' and reason = 'one_password'"
	if n := count(t, a, recorded); n != 1 {
		t.Errorf("recorded %d times", n)
	}
	t.Run("the right one is not found by it, in another process neither", func(t *testing.T) {
		for _, p := range []*apptest.App{a, a.Another(t)} {
			from(t, p, "203.0.113.50", victim.Email, sprayed).Want(t, http.StatusTooManyRequests, "rate_limited")
			post(t, p, "203.0.113.51", "/auth/login", map[string]any{"email": victim.Email, "password": sprayed, "device_token": madeUpDevice}).Want(t, http.StatusTooManyRequests)
		}
	})
	t.Run("nobody else is kept out", func(t *testing.T) {
		p := a.SignUp(t)
		from(t, a, "203.0.113.52", p.Email, p.Password).Want(t, http.StatusOK)
		from(t, a, "203.0.113.53", victim.Email, "kata sandi lain lagi").Want(t, http.StatusUnauthorized)
	})
	t.Run("it is over after a while, and begins again with the next try", func(t *testing.T) {
		exec(t, a, "update central.sprayed_passwords set shut_until = now() where shut_until is not null")
		spray(2000, sprayed).Want(t, http.StatusUnauthorized)
		spray(2001, sprayed).Want(t, http.StatusTooManyRequests)
		if n := count(t, a, recorded); n != 2 {
			t.Errorf("recorded %d times", n)
		}
		exec(t, a, "update central.sprayed_passwords set shut_until = now(), since = now() - interval '61 minutes'")
		spray(2002, sprayed).Want(t, http.StatusUnauthorized)
		spray(2003, sprayed).Want(t, http.StatusUnauthorized)
		from(t, a, "203.0.113.54", victim.Email, sprayed).Want(t, http.StatusOK)
	})
	t.Run("what is kept of it is little, and not for long", func(t *testing.T) {
		if n := count(t, a, "select count(*) from central.sprayed_passwords where fingerprint not between 0 and 65535"); n != 0 {
			t.Errorf("%d longer fingerprints", n)
		}
		exec(t, a, "update central.sprayed_passwords set shut_until = now(), since = now() - interval '61 minutes'")
		if err := a.Identity.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, a, "select count(*) from central.sprayed_passwords"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// madeUpDevice is a device token in the right form that nobody was given.
var madeUpDevice = base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 48)...))

// 8: what a mail's reader may do costs hashes too, and is throttled by address.
func TestAuth08_ResetsAndInvitationsAreThrottledByAddress(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled())
	for _, path := range []string{"/auth/password/reset", "/auth/invitations/accept"} {
		try := func(ip string) *apptest.Response {
			body := map[string]any{"token": "x", "password": password}
			return post(t, a, ip, path, body)
		}
		n := 0
		for ; n < 200 && try("203.0.113.60").Status == http.StatusUnprocessableEntity; n++ {
			exec(t, a, "update central.throttles set spent_until = spent_until + interval '5 seconds'") // quicker than it comes back
		}
		if n < 5 || n > 60 {
			t.Errorf("%s: %d tries", path, n)
		}
		try("203.0.113.60").Want(t, http.StatusTooManyRequests, "rate_limited")
		try("203.0.113.61").Want(t, http.StatusUnprocessableEntity, "auth.link_invalid")
	}
}

// Who has forgotten the password has tried others before: the new one is good at once.
func TestAResetEndsTheWait(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled(), weaker)
	p := a.SignUp(t)
	for range 6 {
		from(t, a, "203.0.113.70", p.Email, "yang mana ya").Want(t, http.StatusUnauthorized)
	}
	hold(t, a)
	from(t, a, "203.0.113.70", p.Email, p.Password).Want(t, http.StatusTooManyRequests)
	forgot(t, a, p.Email)
	token := lettersAbout(t, a, p.Email, aboutReset, 1)[0].tokenOf(t, resetPage)
	post(t, a, "203.0.113.70", "/auth/password/reset", map[string]any{"token": token, "password": newPassword}).Want(t, http.StatusOK)
	from(t, a, "203.0.113.70", p.Email, newPassword).Want(t, http.StatusOK)
}

func TestAuth10_ForwardedForCountsBehindConfiguredProxiesFromTheRight(t *testing.T) {
	t.Parallel()
	seen := func(t *testing.T, a *apptest.App, header string) string {
		t.Helper()
		p := a.SignUp(t)
		var s apptest.Session
		p.As("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password}, "X-Forwarded-For", header).Want(t, 200).Into(t, &s)
		return p.As(s.AccessToken).Get(t, "/auth/sessions").List(t)[0]["ip"].(string)
	}
	t.Run("not at all without a proxy", func(t *testing.T) {
		t.Parallel()
		if got := seen(t, apptest.New(t), "203.0.113.7"); got != "127.0.0.1" {
			t.Errorf("the address is %s", got)
		}
	})
	t.Run("from the right: what the client made up does not count", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t, apptest.With(func(c *app.Config) { c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"} }))
		for header, want := range map[string]string{
			"203.0.113.7":                         "203.0.113.7",
			"198.51.100.1, 203.0.113.7":           "203.0.113.7",
			"198.51.100.1, 203.0.113.7, 10.0.0.3": "203.0.113.7",
			"203.0.113.7, bukan alamat, 10.0.0.3": "10.0.0.3",
			"203.0.113.7:4711":                    "203.0.113.7",
			"":                                    "127.0.0.1",
		} {
			if got := seen(t, a, header); got != want {
				t.Errorf("%q is %s, want %s", header, got, want)
			}
		}
	})
}

func TestAuth08_MailsAreThrottledTheSameForEveryAddress(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, throttled(), weaker)
	p := a.SignUp(t)
	for i, path := range []string{"/auth/register", "/auth/password/forgot", "/auth/email/resend"} {
		var tries []int
		for j, email := range []string{p.Email, fmt.Sprintf("baru%d@example.com", i)} {
			n := 0
			for ; n < 20; n++ {
				body := map[string]any{"email": email}
				if path == "/auth/register" {
					body["name"], body["password"] = "Siti", password
				}
				r := a.On("").Post(t, path, body, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d", 10*i+j))
				if r.Status == http.StatusTooManyRequests {
					r.Want(t, http.StatusTooManyRequests, "rate_limited")
					break
				}
				r.Want(t, http.StatusAccepted)
			}
			tries = append(tries, n)
		}
		if tries[0] != tries[1] || tries[0] > 10 {
			t.Errorf("%s: %d tries for an account, %d for none", path, tries[0], tries[1])
		}
	}
}

func TestAuth08_AnAttackerCannotLockOutARememberedDevice(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, throttled(), apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	device := answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)["device_token"].(string)

	const attackers = "198.51.100.7"
	stopped := func(ip string) bool { return from(t, a, ip, p.Email, "x").Status == http.StatusTooManyRequests }
	for i := 0; !stopped(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()) && i < 200; i++ {
	}
	for i := 0; !stopped(attackers) && i < 200; i++ {
	}
	hold(t, a)
	from(t, a, "203.0.113.1", p.Email, p.Password).Want(t, http.StatusTooManyRequests, "rate_limited")
	for _, ip := range []string{"203.0.113.1", attackers} {
		got := a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password, "device_token": device}, "X-Forwarded-For", ip).Want(t, 200).Object(t)
		if got["status"] != "authenticated" {
			t.Errorf("from %s: %v", ip, got["status"])
		}
	}
	// It has limits of its own: who has stolen it cannot guess on.
	for i := range 30 {
		r := a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": "x", "device_token": device}, "X-Forwarded-For", "203.0.113.1")
		if r.Status == http.StatusTooManyRequests {
			return
		}
		if i > 20 {
			t.Fatal("a device may guess on and on")
		}
	}
}
