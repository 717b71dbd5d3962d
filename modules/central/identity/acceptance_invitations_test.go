package identity_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/modules/central/identity"
)

const invitationPage = "/account/invitation"

// invite invites an address to the member's tenant and returns the token of the mail.
func invite(t *testing.T, a *apptest.App, m *apptest.Member, email, role string) (letter, string) {
	t.Helper()
	in := identity.Invitation{TenantID: m.TenantID, Email: email, Role: role, By: m.Person.ID}
	if _, err := a.Identity.Invite(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	l := lettersAbout(t, a, strings.ToLower(email), "Undangan ke Konveksi "+m.Slug, 1)[0]
	return l, l.tokenOf(t, invitationPage)
}

func accept(t *testing.T, a *apptest.App, token, name, pass string) *apptest.Response {
	t.Helper()
	body := map[string]any{"token": token}
	if name != "" {
		body["name"], body["password"] = name, pass
	}
	return a.On("").Post(t, "/auth/invitations/accept", body)
}

func TestInvitations(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now), behindProxy())
	owner := a.SignUp(t).Onboard(t, "rapi-jahit")

	selects := func(t *testing.T, email, pass string) *apptest.Response {
		t.Helper()
		var s apptest.Session
		login(t, a, email, pass).Want(t, 200).Into(t, &s)
		return a.On("").As(s.AccessToken).Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"})
	}
	t.Run("make an account for who has none, verified, and a member of the tenant", func(t *testing.T) {
		l, token := invite(t, a, owner, "Baru@example.com", "member")
		if !strings.Contains(l.Text, "Orang Contoh mengundang Anda") || l.HTML == "" {
			t.Errorf("%s", l.Text)
		}
		accept(t, a, token, "", "").WantField(t, "name").WantField(t, "password")
		accept(t, a, token, "Baru", "pendek").WantField(t, "password")
		got := accept(t, a, token, "Baru", password).Want(t, 200).Object(t)
		if got["account"] != "created" || got["tenant"].(map[string]any)["slug"] != "rapi-jahit" || got["access_token"] != nil {
			t.Errorf("%v", got)
		}
		answer := selects(t, "baru@example.com", password).Want(t, 200).Object(t)
		if answer["user"].(map[string]any)["email_verified"] != true || len(answer["permissions"].([]any)) == 0 {
			t.Errorf("%v", answer)
		}
		if again := accept(t, a, token, "Lain", "kata sandi yang lain").Want(t, 200).Object(t); again["account"] != "existing" {
			t.Errorf("%v", again)
		}
		login(t, a, "baru@example.com", password).Want(t, 200)
		login(t, a, "baru@example.com", "kata sandi yang lain").Want(t, 401)
	})
	t.Run("leave the name and the password of an account that is somebody's alone", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := invite(t, a, owner, p.Email, "owner")
		if got := accept(t, a, token, "Lain", "kata sandi yang lain").Want(t, 200).Object(t); got["account"] != "existing" {
			t.Errorf("%v", got)
		}
		p.Get(t, "/auth/me").Want(t, 200)
		login(t, a, p.Email, "kata sandi yang lain").Want(t, 401)
		if got := selects(t, p.Email, p.Password).Want(t, 200).Object(t); len(got["permissions"].([]any)) < 2 {
			t.Errorf("%v", got["permissions"])
		}
	})
	t.Run("take an address back from the stranger who registered it", func(t *testing.T) {
		const email = "diserobot@example.com"
		registerFrom(t, a, strangers, email, strangersPassword)
		var s apptest.Session
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 200).Into(t, &s)
		_, token := invite(t, a, owner, email, "member")
		if got := accept(t, a, token, "Pemilik", password).Want(t, 200).Object(t); got["account"] != "created" {
			t.Errorf("%v", got)
		}
		refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
		selects(t, email, password).Want(t, 200)
	})
	t.Run("are opened by scanners without effect, and accepted once by many at the same time", func(t *testing.T) {
		const email = "ramai@example.com"
		_, token := invite(t, a, owner, email, "member")
		for _, method := range []string{"HEAD", "GET", "GET"} {
			if r := a.On("").Do(t, method, "//account/invitation?token="+token, nil, "Accept", "text/html"); r.Status != 200 {
				t.Errorf("%d", r.Status)
			}
		}
		if n := count(t, a, "select count(*) from central.users where email = $1", email); n != 0 {
			t.Error("opening it made an account")
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { accept(t, a, token, "Ramai", password) })
		}
		wg.Wait()
		if n := count(t, a, "select count(*) from central.memberships m join central.users u on u.id = m.user_id where u.email = $1", email); n != 1 {
			t.Errorf("%d memberships", n)
		}
		selects(t, email, password).Want(t, 200)
	})
	t.Run("are refused when altered, taken back, of another purpose or too old", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := invite(t, a, owner, "ditarik@example.com", "member")
		for _, bad := range []string{"", "x", token[1:], token[:30] + "AAAA" + token[34:]} {
			accept(t, a, bad, "Siti", password).Want(t, 422, "auth.link_invalid")
		}
		forgot(t, a, p.Email)
		accept(t, a, lettersAbout(t, a, p.Email, aboutReset, 1)[0].tokenOf(t, resetPage), "Siti", password).Want(t, 422, "auth.link_invalid")
		reset(t, a, token, password).Want(t, 422, "auth.link_invalid")
		id, err := a.Identity.Invite(t.Context(), identity.Invitation{TenantID: owner.TenantID, Email: "ditarik@example.com", Role: "member"})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Identity.RevokeInvitation(t.Context(), p.ID, id); err == nil {
			t.Error("another tenant took it back")
		}
		if err := a.Identity.RevokeInvitation(t.Context(), owner.TenantID, id); err != nil {
			t.Error(err)
		}
		accept(t, a, token, "Siti", password).Want(t, 422, "auth.link_invalid")

		_, old := invite(t, a, owner, "telat@example.com", "member")
		clock.forward(169 * time.Hour)
		accept(t, a, old, "Siti", password).Want(t, 422, "auth.link_invalid")
	})
}

// 14, for an invitation: who accepts one is a member, and comes in by nothing but a sign-in, with all that it asks for.
func TestAuth14_AcceptingAnInvitationIsNoWayIn(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	person := a.SignUp(t)
	owner := person.Onboard(t, "rapi-jahit")
	// whoAccepts accepts an invitation with the link alone, as somebody who reads the mail, and makes sure that it is no way in.
	whoAccepts := func(t *testing.T, email string) {
		t.Helper()
		_, token := invite(t, a, owner, email, "member")
		for range 2 {
			got := accept(t, a, token, "Penyusup", "kata sandi penyusup 1").Want(t, 200)
			if strings.Contains(string(got.Raw), "_token") || len(got.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s", got.Raw)
			}
		}
		login(t, a, email, "kata sandi penyusup 1").Want(t, 401, "auth.invalid_credentials")
	}
	selecting := func(c apptest.Caller) *apptest.Response {
		return c.Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"})
	}

	t.Run("who has a second factor shows it", func(t *testing.T) {
		p := a.SignUp(t)
		x := enrol(t, p.Caller, clock)
		before := sessionsOf(t, a, p)
		whoAccepts(t, p.Email)
		if n := sessionsOf(t, a, p); n != before {
			t.Errorf("%d sessions, %d before", n, before)
		}
		challenge := challenged(t, a, p)
		selecting(challenge).Want(t, 401, "auth.unauthenticated")
		answer(t, challenge, code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
		selecting(a.On("").As(signedIn(t, a, p, x).AccessToken)).Want(t, 200)
	})
	t.Run("who is in a tenant that wants one cannot be there without", func(t *testing.T) {
		enrol(t, person.Caller, clock)
		owner := person.Select(t, "rapi-jahit")
		owner.Put(t, "/auth/sign-in-policy", map[string]any{"two_factor_required": true, "remembered_devices_forbidden": false}).Want(t, 200)
		p := a.SignUp(t)
		whoAccepts(t, p.Email)
		soon(t, 403, "auth.two_factor_setup_required", func() *apptest.Response { return selecting(p.Caller) })
		var fresh apptest.Session
		login(t, a, p.Email, p.Password).Want(t, 200).Into(t, &fresh)
		selecting(a.On("").As(fresh.AccessToken)).Want(t, 403, "auth.two_factor_setup_required")

		// An account that the invitation makes is no exception.
		_, token := invite(t, a, owner, "baru-diundang@example.com", "member")
		accept(t, a, token, "Baru", password).Want(t, 200)
		login(t, a, "baru-diundang@example.com", password).Want(t, 200).Into(t, &fresh)
		selecting(a.On("").As(fresh.AccessToken)).Want(t, 403, "auth.two_factor_setup_required")
	})
}

func TestProfile(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	user := func(r *apptest.Response) map[string]any { return r.Want(t, 200).Object(t)["user"].(map[string]any) }
	if got := user(p.Put(t, "/auth/me", map[string]any{"name": " Siti Aminah ", "locale": "en"})); got["name"] != "Siti Aminah" || got["locale"] != "en" {
		t.Errorf("%v", got)
	}
	if got := user(p.Put(t, "/auth/me", map[string]any{"locale": "id"})); got["name"] != "Siti Aminah" || got["locale"] != "id" {
		t.Errorf("%v", got)
	}
	p.Put(t, "/auth/me", map[string]any{"name": "a\nb", "locale": "fr"}).WantField(t, "name").WantField(t, "locale")
	p.Put(t, "/auth/me", map[string]any{"email": "lain@example.com"}).Want(t, 422)
	p.Put(t, "/auth/me", map[string]any{"name": nil}).Want(t, 422)
	p.Put(t, "/auth/me", map[string]any{"name": "\u200b"}).WantField(t, "name") // nothing to see
	if got := user(p.Get(t, "/auth/me")); got["name"] != "Siti Aminah" || got["email"] != p.Email {
		t.Errorf("%v", got)
	}
	a.On("").Put(t, "/auth/me", map[string]any{"name": "Siti"}).Want(t, 401)
}
