package identity_test

import (
	"crypto/rand"
	"net/url"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth14_EveryWayThroughGoogleAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	p := w.SignUp(t)
	p.Post(t, "/auth/google/link", w.proof(t, "siti@gmail.example", "Siti")).Want(t, 200)
	x := enrol(t, p.Caller, clock)
	verifier := rand.Text() + rand.Text()
	before := sessionsOf(t, w.App, p)

	for name, signIn := range map[string]func() *apptest.Response{
		"the callback": func() *apptest.Response { return w.viaBrowser(t, "siti@gmail.example", "Siti") },
		"an id_token":  func() *apptest.Response { return w.withButton(t, "siti@gmail.example", "Siti") },
		"a client's own code": func() *apptest.Response {
			back := w.choose(t, w.server.URL+"/o/authorize?"+url.Values{"client_id": {"homecore"}, "redirect_uri": {googlePage}, "response_type": {"code"},
				"scope": {"openid email profile"}, "code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"}}.Encode(), "siti@gmail.example", "Siti")
			return w.On("").Post(t, "/auth/google/login", map[string]any{"code": back.Get("code"), "code_verifier": verifier, "redirect_uri": googlePage})
		},
		"a page's code": func() *apptest.Response {
			b := w.begin(t, "?code_challenge="+s256(verifier), "")
			at, err := url.Parse(w.comeBack(t, w.choose(t, b.address, "siti@gmail.example", "Siti"), b.cookie, "text/html").Want(t, 303).Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			return w.On("").Post(t, "/auth/google/exchange", map[string]any{"code": at.Query().Get("code"), "code_verifier": verifier})
		},
	} {
		got := signIn().Want(t, 200).Object(t)
		if got["status"] != "two_factor_required" || got["access_token"] != nil || got["refresh_token"] != nil {
			t.Errorf("%s: %v", name, got)
			continue
		}
		if n := sessionsOf(t, w.App, p); n != before {
			t.Errorf("%s: %d sessions before the second factor, %d before", name, n, before)
		}
		answer(t, w.On("").As(got["challenge_token"].(string)), code(x.next())).Want(t, 200)
		before++
	}
}

// Whoever took Google off, and linked somebody else, while the provider's word for the first was on its way in.
func TestAuth25_ALinkThatIsAnotherByNowLetsNobodyIn(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	p := w.SignUp(t)
	p.Post(t, "/auth/google/link", w.proof(t, "siti@gmail.example", "Siti")).Want(t, 200)
	enrol(t, p.Caller, clock)
	proof := w.proof(t, "siti@gmail.example", "Siti")

	// The sign-in waits where it looks for the second factor, between knowing the link and asking for it again.
	tx, err := connect(t, w.App).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // committed by then
	if _, err := tx.Exec(t.Context(), "lock table central.totp_factors in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan *apptest.Response)
	go func() { answered <- w.On("").Post(t, "/auth/google/login", proof) }()
	apptest.Until(t, "the sign-in waits", func() bool {
		return count(t, w.App, "select count(*) from pg_locks where relation = 'central.totp_factors'::regclass and not granted") == 1
	})
	if _, err := tx.Exec(t.Context(), "update central.users set google_linked_at = google_linked_at + interval '1 second' where id = $1", p.ID); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-answered).Want(t, 401, "auth.google_invalid")
	w.withButton(t, "siti@gmail.example", "Siti").Want(t, 200) // as it is now
}
