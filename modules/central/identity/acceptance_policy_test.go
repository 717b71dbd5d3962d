package identity_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

// joined makes somebody a member of a tenant.
func joined(t *testing.T, a *apptest.App, p *apptest.Person, in *apptest.Member) {
	t.Helper()
	exec(t, a, "insert into central.memberships (tenant_id, user_id, role, status) values ($1, $2, 'member', 'active')", in.TenantID, p.ID)
}

// inSchema makes somebody a member in the tenant's own schema too, so that they may read there.
func inSchema(t *testing.T, a *apptest.App, p *apptest.Person, in *apptest.Member) {
	t.Helper()
	var schema string
	if err := connect(t, a).QueryRow(t.Context(), "select schema_name from central.tenants where id = $1", in.TenantID).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	exec(t, a, "insert into "+schema+".members (user_id, role_id, status, created_at, updated_at) select $1, id, 'active', now(), now() from "+schema+".roles where key = 'member'", p.ID)
}

// soon asks until the answer has this status and code: what is remembered of an account is as of a moment ago.
func soon(t *testing.T, status int, code string, ask func() *apptest.Response) (r *apptest.Response) {
	t.Helper()
	apptest.Until(t, code, func() bool {
		r = ask()
		return r.Status == status && (code == "" || r.Code == code)
	})
	return r
}

func amrOf(t *testing.T, a *apptest.App, token string) string {
	t.Helper()
	amr, _ := json.Marshal(a.On("").As(token).Get(t, "/auth/me").Want(t, 200).Object(t)["session"].(map[string]any)["amr"])
	return string(amr)
}

func TestAuth14_EveryWayInAsksForTheSecondFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	older := p.Session
	p.SignIn(t)
	x := enrol(t, p.Caller, clock)

	t.Run("a password", func(t *testing.T) { challenged(t, a, p) })
	t.Run("on a tenant's host too", func(t *testing.T) {
		p.Onboard(t, "konveksi-satu")
		got := a.On("konveksi-satu").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password}).Want(t, 200).Object(t)
		if got["status"] != "two_factor_required" {
			t.Errorf("%v", got["status"])
		}
		answer(t, a.On("konveksi-satu").As(got["challenge_token"].(string)), code(x.next())).Want(t, 200)
	})
	t.Run("a refresh, by having ended what was opened without", func(t *testing.T) {
		refresh(t, a.On(""), older.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		a.On("").As(older.AccessToken).Get(t, "/auth/me").Want(t, 401)
		refresh(t, a.On(""), p.RefreshToken).Want(t, 200)
	})
	t.Run("a reset, which signs nobody in", func(t *testing.T) {
		seen := len(letters(t, a, p.Email, 1))
		a.On("").Post(t, "/auth/password/forgot", map[string]any{"email": p.Email}).Want(t, 202)
		var token string
		for _, l := range letters(t, a, p.Email, seen+1) {
			for _, link := range l.Links {
				if u, err := url.Parse(link); err == nil && u.Query().Get("token") != "" {
					token = u.Query().Get("token")
				}
			}
		}
		p.Password = "kata sandi yang sama sekali lain"
		got := a.On("").Post(t, "/auth/password/reset", map[string]any{"token": token, "password": p.Password}).Want(t, 200)
		if strings.Contains(string(got.Raw), "_token") {
			t.Errorf("%s", got.Raw)
		}
		answer(t, challenged(t, a, p), code(x.next())).Want(t, 200)
	})
}

func TestAuth14_TenantRequiresASecondFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	b := a.Another(t, apptest.WithClock(clock.now))
	person, member := a.SignUp(t), a.SignUp(t)
	owner := person.Onboard(t, "rapi-jahit")
	joined(t, a, member, owner)
	inSchema(t, a, member, owner)
	before := member.Select(t, "rapi-jahit")
	policy := func(c apptest.Caller, factor, devices bool) *apptest.Response {
		return c.Put(t, "/auth/sign-in-policy", map[string]any{"two_factor_required": factor, "remembered_devices_forbidden": devices})
	}
	if got := owner.Get(t, "/auth/sign-in-policy").Want(t, 200).Object(t); got["two_factor_required"] != false {
		t.Errorf("%v", got)
	}
	policy(owner.Caller, true, false).Want(t, 403, "auth.two_factor_setup_required") // who asks it of others has one
	policy(before.Caller, true, false).Want(t, 403, "access.denied")
	policy(person.Caller, true, false).Want(t, 403, "tenant.context_mismatch")
	x := enrol(t, person.Caller, clock)
	there := b.On("rapi-jahit").As(before.Token)
	for _, c := range []apptest.Caller{before.Caller, there} { // both processes know the member, and let them in
		c.Get(t, "/master-data/taxonomies").Want(t, 200)
	}
	policy(owner.Caller, true, false).Want(t, 200)
	for _, c := range []apptest.Caller{before.Caller, there} { // a token that is good still, of before the policy
		soon(t, 403, "auth.two_factor_setup_required", func() *apptest.Response { return c.Get(t, "/master-data/taxonomies") })
		c.Get(t, "/auth/me").Want(t, 200) // where they can set one up
	}
	owner.Get(t, "/master-data/taxonomies").Want(t, 200) // whose token is older than the factor that their session has shown

	selecting := func() *apptest.Response {
		return member.Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"})
	}
	soon(t, 403, "auth.two_factor_setup_required", selecting)
	soon(t, 403, "auth.two_factor_setup_required", func() *apptest.Response { return refresh(t, a.On("rapi-jahit"), before.RefreshToken) })
	member.SignIn(t) // the Core API is open, or nobody could set one up
	if me := member.Get(t, "/auth/me").Want(t, 200).Object(t); me["user"].(map[string]any)["two_factor"].(map[string]any)["required"] != true {
		t.Errorf("%v", me["user"])
	}
	selecting().Want(t, 403, "auth.two_factor_setup_required")

	y := enrol(t, member.Caller, clock)
	soon(t, 200, "", selecting) // without signing in again
	for _, c := range []apptest.Caller{member.Select(t, "rapi-jahit").Caller, b.On("rapi-jahit").As(member.Select(t, "rapi-jahit").Token)} {
		soon(t, 200, "", func() *apptest.Response { return c.Get(t, "/master-data/taxonomies") })
	}
	s := signedIn(t, a, member, y)
	m := (&apptest.Person{Caller: a.On("").As(s.AccessToken)})
	got := m.Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"}).Want(t, 200).Object(t)
	refresh(t, a.On("rapi-jahit"), got["refresh_token"].(string)).Want(t, 200)
	m.Do(t, "DELETE", "/auth/two-factor", code(y.next())).Want(t, 409, "auth.two_factor_mandatory")

	t.Run("and may forbid remembered devices", func(t *testing.T) {
		remembering := map[string]any{"code": y.next(), "remember_device": true}
		device := answer(t, challenged(t, a, member), remembering).Want(t, 200).Object(t)["device_token"].(string)
		by := map[string]any{"email": member.Email, "password": member.Password, "device_token": device}
		var in apptest.Session
		a.On("").Post(t, "/auth/login", by).Want(t, 200).Into(t, &in)
		selected := a.On("").As(in.AccessToken).Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"}).Want(t, 200).Object(t)

		spared := []apptest.Caller{a.On("rapi-jahit").As(selected["access_token"].(string)), b.On("rapi-jahit").As(selected["access_token"].(string))}
		for _, c := range spared {
			c.Get(t, "/master-data/taxonomies").Want(t, 200)
		}
		again := person.Select(t, "rapi-jahit")
		policy(again.Caller, true, true).Want(t, 200)
		for _, c := range spared {
			soon(t, 403, "auth.two_factor_required", func() *apptest.Response { return c.Get(t, "/master-data/taxonomies") })
		}
		soon(t, 403, "auth.two_factor_required", func() *apptest.Response {
			return refresh(t, a.On("rapi-jahit"), selected["refresh_token"].(string))
		})
		a.On("").As(in.AccessToken).Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"}).Want(t, 403, "auth.two_factor_required")
		if got := a.On("").Post(t, "/auth/login", by).Want(t, 200).Object(t); got["status"] != "two_factor_required" {
			t.Errorf("%v", got["status"])
		}
		if got := answer(t, challenged(t, a, member), map[string]any{"code": y.next(), "remember_device": true}).Want(t, 200).Object(t); got["device_token"] != nil {
			t.Error("it is remembered nevertheless")
		}
		policy(again.Caller, false, false).Want(t, 200)
	})
	_ = x
}

func TestAuth14_OperatorsNeedASecondFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now), apptest.With(func(c *app.Config) { c.Identity.OperatorsNeedTwoFactor = true }))
	op := a.Operator(t, "owner")
	tenants := func(token string) func() *apptest.Response {
		return func() *apptest.Response { return a.On("").As(token).Get(t, "/tenants") }
	}
	soon(t, 403, "auth.two_factor_setup_required", tenants(op.AccessToken))
	if me := op.Get(t, "/auth/me").Want(t, 200).Object(t); me["user"].(map[string]any)["two_factor"].(map[string]any)["required"] != true {
		t.Errorf("%v", me["user"])
	}
	a.SignUp(t).Get(t, "/tenants").Want(t, 403, "access.denied")
	x := enrol(t, op.Caller, clock)
	soon(t, 200, "", tenants(op.AccessToken)) // the session has shown it
	op.Do(t, "DELETE", "/auth/two-factor", code(x.next())).Want(t, 409, "auth.two_factor_mandatory")
	soon(t, 200, "", tenants(signedIn(t, a, op, x).AccessToken))

	t.Run("at every sign-in: no device is remembered", func(t *testing.T) {
		got := answer(t, challenged(t, a, op), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)
		if got["device_token"] != nil {
			t.Error("it is")
		}
	})
	t.Run("nor one of before the role", func(t *testing.T) {
		p := a.SignUp(t)
		y := enrol(t, p.Caller, clock)
		device := answer(t, challenged(t, a, p), map[string]any{"code": y.next(), "remember_device": true}).Want(t, 200).Object(t)["device_token"]
		by := map[string]any{"email": p.Email, "password": p.Password, "device_token": device}
		var in apptest.Session
		a.On("").Post(t, "/auth/login", by).Want(t, 200).Into(t, &in)
		if err := a.Identity.GrantRole(t.Context(), p.Email, "auditor", "test"); err != nil {
			t.Fatal(err)
		}
		soon(t, 403, "auth.two_factor_required", tenants(in.AccessToken))
		if got := a.On("").Post(t, "/auth/login", by).Want(t, 200).Object(t); got["status"] != "two_factor_required" {
			t.Errorf("%v", got["status"])
		}
		if _, err := a.Identity.RevokeRole(t.Context(), p.Email, ""); err != nil {
			t.Fatal(err)
		}
		soon(t, 403, "access.denied", tenants(in.AccessToken))
	})
}

func TestAuth15_TurningItOff(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	remembered := answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)
	other := signedIn(t, a, p, x)
	mine := signedIn(t, a, p, x)
	me := a.On("").As(mine.AccessToken)
	off := func(c apptest.Caller, proof any) *apptest.Response {
		return c.Do(t, "DELETE", "/auth/two-factor", proof)
	}

	off(me, nil).WantField(t, "code")
	off(me, map[string]any{}).WantField(t, "code")
	off(me, code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
	clock.forward(20 * time.Minute)
	me = me.As(refreshed(t, a.On(""), mine.RefreshToken).AccessToken)
	off(me, code(x.next())).Want(t, 403, "auth.step_up_required")
	me.Post(t, "/auth/password/confirm", map[string]any{"password": p.Password}).Want(t, 200)
	open := challenged(t, a, p)
	if got := off(me, code(x.next())).Want(t, 200).Object(t); got["enabled"] != false || got["required"] != false {
		t.Errorf("%v", got)
	}

	if n := count(t, a, "select (select count(*) from central.totp_factors) + (select count(*) from central.recovery_codes) + (select count(*) from central.remembered_devices)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	refresh(t, a.On(""), other.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	refresh(t, a.On(""), remembered["refresh_token"].(string)).Want(t, 401, "auth.refresh_invalid")
	answer(t, open, recoveryCode(x.recovery[0])).Want(t, 401, "auth.two_factor_invalid")
	me.Get(t, "/auth/me").Want(t, 200) // the session it was done in goes on
	if got := login(t, a, p.Email, p.Password).Want(t, 200).Object(t); got["status"] != "authenticated" {
		t.Errorf("%v", got["status"])
	}
	off(me, code(x.next())).Want(t, 409, "auth.two_factor_off")
	mails := letters(t, a, p.Email, 2)
	if !strings.Contains(mails[0].Subject, "aktif") || !strings.Contains(mails[1].Subject, "dilepas") {
		t.Errorf("%q, %q", mails[0].Subject, mails[1].Subject)
	}
}

// A session in other hands can step up for a quarter of an hour after its sign-in. That must not be enough to get past the second factor.
func TestAuth15_ASessionMakesItselfNoCurrentFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	me := a.On("").As(signedIn(t, a, p, x).AccessToken)
	me.Post(t, "/auth/passkeys/register/options", nil).WantField(t, "code")
	me.Post(t, "/auth/passkeys/register/options", code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
	var fresh struct {
		RecoveryCodes []string `json:"recovery_codes"`
	}
	me.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200).Into(t, &fresh)
	for i, ask := range []func(proof any) *apptest.Response{
		func(proof any) *apptest.Response { return me.Do(t, "DELETE", "/auth/two-factor", proof) },
		func(proof any) *apptest.Response { return me.Post(t, "/auth/two-factor", proof) },
		func(proof any) *apptest.Response { return me.Post(t, "/auth/passkeys/register/options", proof) },
	} {
		ask(recoveryCode(fresh.RecoveryCodes[i])).Want(t, 401, "auth.two_factor_invalid")
	}
	// They sign in, and are the current factor to that session.
	var s apptest.Session
	answer(t, challenged(t, a, p), recoveryCode(fresh.RecoveryCodes[0])).Want(t, 200).Into(t, &s)
	a.On("").As(s.AccessToken).Do(t, "DELETE", "/auth/two-factor", recoveryCode(fresh.RecoveryCodes[1])).Want(t, 200)
	me.Get(t, "/auth/me").Want(t, 401)
}

func TestAuth15_EnrollingAnew(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200)
	other, mine := signedIn(t, a, p, x), signedIn(t, a, p, x)
	me := a.On("").As(mine.AccessToken)

	me.Post(t, "/auth/two-factor", nil).WantField(t, "code")
	me.Post(t, "/auth/two-factor", code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
	y := start(t, me, clock, code(x.next()))
	answer(t, challenged(t, a, p), code(x.next())).Want(t, 200)                                                                    // the old one goes on until the new one is proved
	a.On("").As(other.AccessToken).Post(t, "/auth/two-factor/confirm", code(y.next())).Want(t, 409, "auth.two_factor_not_started") // another session's
	y.last = 0
	me.Post(t, "/auth/two-factor/confirm", code(y.next())).Want(t, 200)

	clock.forward(2 * time.Minute)
	answer(t, challenged(t, a, p), code(x.at(x.step()))).Want(t, 401, "auth.two_factor_invalid")
	answer(t, challenged(t, a, p), recoveryCode(x.recovery[0])).Want(t, 401, "auth.two_factor_invalid")
	answer(t, challenged(t, a, p), code(y.next())).Want(t, 200)
	refresh(t, a.On(""), other.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	if n := count(t, a, "select count(*) from central.remembered_devices where user_id = $1", p.ID); n != 0 {
		t.Errorf("%d devices are remembered", n)
	}
	letters(t, a, p.Email, 2)

	t.Run("an enrolment that is not confirmed lapses", func(t *testing.T) {
		z := start(t, me, clock, code(y.next()))
		clock.forward(10*time.Minute + time.Second)
		s := refreshed(t, a.On(""), mine.RefreshToken)
		me := a.On("").As(s.AccessToken)
		me.Post(t, "/auth/password/confirm", map[string]any{"password": p.Password}).Want(t, 200)
		me.Post(t, "/auth/two-factor/confirm", code(z.next())).Want(t, 409, "auth.two_factor_not_started")
	})
	t.Run("nobody sets one up on an address that is not theirs yet", func(t *testing.T) {
		stranger := a.SignUp(t)
		exec(t, a, "update central.users set email_verified_at = null where id = $1", stranger.ID)
		soon(t, 403, "auth.email_unverified", func() *apptest.Response { return stranger.Post(t, "/auth/two-factor", nil) })
	})
}
