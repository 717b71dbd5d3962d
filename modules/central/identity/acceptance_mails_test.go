package identity_test

import (
	"strings"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// 13: who reads English is told in English that a recovery code was used, and how many are left.
func TestAuth13_TheLetterAboutARecoveryCodeIsInTheAccountsLanguage(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	p.Put(t, "/auth/me", map[string]any{"name": "Siti", "locale": "en"}).Want(t, 200)
	x := enrol(t, p.Caller, clock)
	for range 8 {
		answer(t, challenged(t, a, p), recoveryCode(x.recovery[0])).Want(t, 200)
		x.recovery = x.recovery[1:]
	}
	var used []letter
	for _, l := range inbox(t, a, p.Email) {
		if l.Subject == "A recovery code was used" {
			used = append(used, l)
		}
	}
	if len(used) != 8 {
		t.Fatalf("%d letters", len(used))
	}
	text := func(l letter) string { return strings.Join(strings.Fields(l.Text), " ") }
	for left, more := range map[string]bool{"9 left.": false, "3 left.": false, "2 left.": true} {
		n := 0
		for _, l := range used {
			if strings.Contains(text(l), "Hello Siti, One of the recovery codes of your Garment.id account has just been used. "+left) {
				n++
				if strings.Contains(text(l), "make new recovery codes") != more {
					t.Errorf("%s", text(l))
				}
			}
		}
		if n != 1 {
			t.Errorf("%d letters say %q: %s", n, left, text(used[0]))
		}
	}
}
