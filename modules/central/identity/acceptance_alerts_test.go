package identity_test

import (
	"strings"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth32_TOTPBruteforce(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	for _, c := range []struct {
		what   string
		wrong  int
		passed time.Duration // after each
		want   bool
	}{{"four wrong codes", 4, 0, false}, {"five", 5, 0, true}, {"five in more than an hour", 5, 21 * time.Minute, false}} {
		p := a.SignUp(t)
		x := enrol(t, p.Caller, clock)
		for range c.wrong {
			answer(t, challenged(t, a, p), code(x.wrong())).Want(t, 401)
			clock.forward(c.passed)
		}
		rows := count(t, a, "select count(*) from central.security_activities where user_id = $1 and reasons = 'totp_bruteforce' and score >= 80", p.ID)
		if (rows > 0) != c.want {
			t.Errorf("%s: %d rows", c.what, rows)
		}
		mails := 0
		for _, l := range inbox(t, a, p.Email) {
			if strings.Contains(strings.Join(strings.Fields(l.Text), " "), "kode verifikasi yang salah dimasukkan berulang kali") {
				mails++
			}
		}
		if (mails == 1) != c.want {
			t.Errorf("%s: %d letters", c.what, mails)
		}
	}
}
