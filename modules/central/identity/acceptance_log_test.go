package identity_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

// logged is what a row of the log must say.
type logged struct {
	kind, outcome, reason string
	user, tenant          uuid.UUID
	session               bool // that it has one
}

// inLog looks for the row that a request has left.
func inLog(t *testing.T, a *apptest.App, r *apptest.Response, want logged) {
	t.Helper()
	var (
		user, tenant, session *uuid.UUID
		address, agent        string
	)
	err := connect(t, a).QueryRow(t.Context(), `select user_id, tenant_id, session_id, host(ip), user_agent from central.security_activities
		where request_id = $1 and type = $2 and outcome = $3 and reason = $4`, r.RequestID, want.kind, want.outcome, want.reason).
		Scan(&user, &tenant, &session, &address, &agent)
	if errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no row %+v of a request that was answered %d %s", want, r.Status, r.Code)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !sameID(user, want.user) || !sameID(tenant, want.tenant) || (session != nil) != want.session || address != "127.0.0.1" || agent == "" {
		t.Errorf("%+v: user %v, tenant %v, session %v, address %q, agent %q", want, user, tenant, session, address, agent)
	}
}

func sameID(got *uuid.UUID, want uuid.UUID) bool {
	return got == nil && want == uuid.Nil || got != nil && *got == want
}

func TestAuth31_SuccessAndFailureOfEveryOperation(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	a := w.App
	const success, failure, garbage = "success", "failure", "AAAA"
	public := a.On("")
	p := a.SignUp(t)
	tenant := p.Onboard(t, "catatan").TenantID
	post := func(c apptest.Caller, path string, body any) *apptest.Response {
		t.Helper()
		return c.Post(t, path, body)
	}

	// Accounts and links.
	const fresh = "baru@example.com"
	r := register(t, a, "Baru", fresh, password)
	var id uuid.UUID
	if err := connect(t, a).QueryRow(t.Context(), "select id from central.users where email = $1", fresh).Scan(&id); err != nil {
		t.Fatal(err)
	}
	inLog(t, a, r, logged{kind: "registered", outcome: success, user: id})
	inLog(t, a, register(t, a, "Baru", p.Email, password), logged{kind: "registered", outcome: failure, reason: "known_account", user: p.ID})
	inLog(t, a, verify(t, a, garbage).Want(t, 422), logged{kind: "email_verified", outcome: failure, reason: "link_invalid"})
	inLog(t, a, verify(t, a, letters(t, a, fresh, 1)[0].token(t)).Want(t, 200), logged{kind: "email_verified", outcome: success, user: id})
	for path, kind := range map[string]string{"/auth/password/forgot": "password_reset_requested", "/auth/email/resend": "verification_requested"} {
		inLog(t, a, post(public, path, map[string]any{"email": fresh}), logged{kind: kind, outcome: success, user: id})
		inLog(t, a, post(public, path, map[string]any{"email": "tidak.ada@example.com"}), logged{kind: kind, outcome: failure, reason: "unknown_account"})
	}
	inLog(t, a, post(public, "/auth/password/reset", map[string]any{"token": garbage, "password": password}).Want(t, 422),
		logged{kind: "password_reset", outcome: failure, reason: "link_invalid"})
	inLog(t, a, post(public, "/auth/invitations/accept", map[string]any{"token": garbage}).Want(t, 422),
		logged{kind: "invitation_accepted", outcome: failure, reason: "link_invalid"})
	inLog(t, a, post(public, "/auth/not-me", map[string]any{"token": garbage}).Want(t, 422), logged{kind: "not_me_reported", outcome: failure, reason: "link_invalid"})

	// Signing in.
	inLog(t, a, login(t, a, p.Email, "bukan kata sandinya").Want(t, 401), logged{kind: "login_failed", outcome: failure, reason: "wrong_password", user: p.ID})
	inLog(t, a, login(t, a, p.Email, p.Password).Want(t, 200), logged{kind: "login", outcome: success, user: p.ID, session: true})
	inLog(t, a, post(public, "/auth/google/login", map[string]any{"id_token": "a.b.c", "nonce": garbage}).Want(t, 401),
		logged{kind: "login_failed", outcome: failure, reason: "google_invalid"})
	inLog(t, a, post(public, "/auth/passkeys/login", map[string]any{"ceremony": garbage, "credential": map[string]any{}}).Want(t, 401),
		logged{kind: "login_failed", outcome: failure, reason: "passkey_invalid"})
	inLog(t, a, post(public.As("x.y.z"), "/auth/two-factor/challenge", map[string]any{"code": "123456"}).Want(t, 401),
		logged{kind: "two_factor_failed", outcome: failure, reason: "two_factor_invalid"})

	// Somebody signed in.
	mine := func(kind, outcome, reason string) logged {
		return logged{kind: kind, outcome: outcome, reason: reason, user: p.ID, session: true}
	}
	inLog(t, a, p.Put(t, "/auth/me", map[string]any{"name": "Nama Lain"}).Want(t, 200), mine("profile_updated", success, ""))
	inLog(t, a, post(p.Caller, "/auth/password/confirm", map[string]any{"password": "bukan kata sandinya"}).Want(t, 401), mine("password_confirm_failed", failure, "wrong_password"))
	inLog(t, a, post(p.Caller, "/auth/password/confirm", map[string]any{"password": p.Password}).Want(t, 200), mine("step_up", success, ""))
	inLog(t, a, post(p.Caller, "/auth/select-tenant", map[string]any{"tenant": "tidak-ada"}).Want(t, 404), mine("tenant_selected", failure, "tenant_unknown"))
	chosen := mine("tenant_selected", success, "")
	chosen.tenant = tenant
	inLog(t, a, post(p.Caller, "/auth/select-tenant", map[string]any{"tenant": "catatan"}).Want(t, 200), chosen)
	inLog(t, a, post(p.Caller, "/auth/google/link", map[string]any{"id_token": "a.b.c", "nonce": garbage}).Want(t, 401), mine("google_linked", failure, "google_invalid"))
	inLog(t, a, post(p.Caller, "/auth/google/link", w.proof(t, "siti@gmail.example", "Siti")).Want(t, 200), mine("google_linked", success, ""))
	inLog(t, a, p.Get(t, "/users").Want(t, 403, "access.denied"), mine("access_denied", failure, "users.read"))
	p.Get(t, "/users").Want(t, 403, "access.denied")
	if n := count(t, a, "select count(*) from central.security_activities where type = 'access_denied' and user_id = $1", p.ID); n != 1 {
		t.Errorf("%d rows of one refusal within a minute", n)
	}
	clock.forward(16 * time.Minute)
	p.Session = refreshed(t, p.Caller, p.RefreshToken)
	p.Token = p.AccessToken
	inLog(t, a, post(p.Caller, "/auth/two-factor", nil).Want(t, 403, "auth.step_up_required"), mine("step_up", failure, "step_up_required"))
	inLog(t, a, post(p.Caller, "/auth/logout", nil).Want(t, 200), mine("session_ended", success, "logout"))
	inLog(t, a, refresh(t, public, p.RefreshToken).Want(t, 401), mine("refreshed", failure, "refresh_invalid"))

	// At the command line.
	operators, done, err := app.Operators(t.Context(), a.OwnerURL, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	keys, closeKeys, err := app.Keys(t.Context(), a.Config, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer closeKeys()
	if err := operators.GrantRole(t.Context(), p.Email, "support", "command line"); err != nil {
		t.Fatal(err)
	}
	if _, err := operators.RevokeRole(t.Context(), p.Email, "support"); err != nil {
		t.Fatal(err)
	}
	turned, err := keys.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Revoke(t.Context(), turned.Retired); err != nil {
		t.Fatal(err)
	}
	for kind, of := range map[string]*uuid.UUID{"platform_role_granted": &p.ID, "platform_role_revoked": &p.ID, "signing_key_rotated": nil, "signing_key_revoked": nil} {
		if n := count(t, a, "select count(*) from central.security_activities where type = $1 and user_id is not distinct from $2", kind, of); n != 1 {
			t.Errorf("%d rows %s", n, kind)
		}
	}
}
