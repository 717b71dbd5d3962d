package identity_test

import (
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// 33: an intruder who has read this page is in for good until the owner says "this was not me", and out for good afterwards.
func TestAuth33_NothingAnIntruderDoesOutlivesThisWasNotMe(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	p := w.SignUp(t)
	clock.forward(time.Second)
	intruder, mail := suspicious(t, w.App, p)
	token, _ := mail.linkTo(t, notMeAt)
	clock.forward(time.Second)
	c := w.On("").As(intruder.AccessToken)
	const theirs = "kata sandi si penyusup"
	c.Put(t, "/auth/password", map[string]any{"current_password": p.Password, "password": theirs}).Want(t, 200)
	c.Post(t, "/auth/google/link", w.proof(t, "penyusup@gmail.example", "P")).Want(t, 200)
	enrol(t, c, clock)

	w.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 200)
	c.Get(t, "/auth/me").Want(t, 401)
	refresh(t, w.On(""), intruder.RefreshToken).Want(t, 401)
	login(t, w.App, p.Email, theirs).Want(t, 401, "auth.invalid_credentials")
	if s := tokensOf(t, w.withButton(t, "penyusup@gmail.example", "P")); s.User.ID == p.ID.String() {
		t.Error("the intruder's Google account still opens the account")
	}
	got := inbox(t, w.App, p.Email)
	var reset string
	for _, l := range got {
		if l.Subject == "Tetapkan kata sandi baru" {
			reset, _ = l.linkTo(t, resetAt)
		}
	}
	clock.forward(time.Second)
	w.On("").Post(t, "/auth/password/reset", map[string]any{"token": reset, "password": "kata sandi pemiliknya lagi"}).Want(t, 200)
	// The intruder's authenticator app does not keep the owner out.
	if in := login(t, w.App, p.Email, "kata sandi pemiliknya lagi").Want(t, 200).Object(t); in["status"] != "authenticated" {
		t.Errorf("%v", in)
	}
	w.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 422, "auth.link_invalid")
}

// A mailbox in other hands must not get past a second factor by way of it.
func TestAuth33_FactorsOfBeforeStay(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	clock.forward(time.Minute)
	exec(t, a, "delete from central.security_activities where user_id = $1", p.ID) // so that the next sign-in is from another device than all before
	exec(t, a, "insert into central.security_activities (id, at, type, outcome, user_id, device) values (gen_random_uuid(), $2, 'login', 'success', $1, 'Safari, iOS')", p.ID, clock.now())
	signedIn(t, a, p, x)
	var token string
	for _, l := range inbox(t, a, p.Email) {
		if l.Subject == "Masuk dari perangkat baru" {
			token, _ = l.linkTo(t, notMeAt)
		}
	}
	a.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 200)
	if n := count(t, a, "select count(*) from central.totp_factors f join central.users u on u.id = f.user_id where u.id = $1 and u.two_factor_at is not null", p.ID); n != 1 {
		t.Error("the second factor is gone")
	}
	if n := count(t, a, "select count(*) from central.recovery_codes where user_id = $1", p.ID); n != 10 {
		t.Errorf("%d recovery codes are left", n)
	}
}
