package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// inbox waits until no mail is on its way, and returns what was sent to an address, in order.
func inbox(t *testing.T, a *apptest.App, to string) (got []letter) {
	t.Helper()
	apptest.Until(t, "no mail is on its way", func() bool {
		return count(t, a, "select count(*) from central.river_job where kind in ('activity_alert', 'identity_send_mail', 'identity_notice') and state in ('available', 'running', 'retryable', 'scheduled', 'pending')") == 0
	})
	var all []letter
	if err := json.Unmarshal(a.On("").Get(t, "//dev/mail.json").Raw, &all); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.To == to {
			got = append([]letter{l}, got...)
		}
	}
	return got
}

// linkTo returns the token of the letter's link to a page, and the page's path with it.
func (l letter) linkTo(t *testing.T, page string) (token, path string) {
	t.Helper()
	for _, link := range l.Links {
		if u, err := url.Parse(link); err == nil && u.Path == page {
			return u.Query().Get("token"), "//" + strings.TrimPrefix(u.RequestURI(), "/")
		}
	}
	t.Fatalf("no link to %s in %q: %v", page, l.Subject, l.Links)
	return "", ""
}

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	resetAt = "/account/reset"
	notMeAt = "/account/not-me"
)

// suspicious signs p in from a new device, and returns the warning.
func suspicious(t *testing.T, a *apptest.App, p *apptest.Person) (apptest.Session, letter) {
	t.Helper()
	var attacker apptest.Session
	a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password}, "User-Agent", firefox).Want(t, 200).Into(t, &attacker)
	got := inbox(t, a, p.Email)
	if len(got) == 0 {
		t.Fatal("nobody was warned")
	}
	return attacker, got[len(got)-1]
}

func TestAuth33_ThisWasNotMe(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))

	t.Run("opening the link changes nothing, by GET or HEAD, however often", func(t *testing.T) {
		p := a.SignUp(t)
		_, mail := suspicious(t, a, p)
		_, path := mail.linkTo(t, notMeAt)
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
			if answer := a.On("").Do(t, method, path, nil, "Accept", "text/html"); answer.Status != 200 {
				t.Fatalf("%s: %d", method, answer.Status)
			}
		}
		p.Get(t, "/auth/me").Want(t, 200)
		p.SignIn(t)
		a.On("").Get(t, "/auth/not-me").Want(t, 405)
	})

	t.Run("the button ends every session and device, takes the password away and starts a reset", func(t *testing.T) {
		p := a.SignUp(t)
		attacker, mail := suspicious(t, a, p)
		token, _ := mail.linkTo(t, notMeAt)
		a.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 200)
		a.On("").As(attacker.AccessToken).Get(t, "/auth/me").Want(t, 401)
		refresh(t, a.On(""), attacker.RefreshToken).Want(t, 401)
		p.Get(t, "/auth/me").Want(t, 401)
		login(t, a, p.Email, p.Password).Want(t, 401, "auth.invalid_credentials")
		a.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 200) // pressed twice

		got := inbox(t, a, p.Email)
		reset, _ := got[len(got)-1].linkTo(t, resetAt)
		const chosen = "kata sandi yang sama sekali baru"
		clock.forward(time.Second)
		a.On("").Post(t, "/auth/password/reset", map[string]any{"token": reset, "password": chosen}).Want(t, 200)
		login(t, a, p.Email, chosen).Want(t, 200).Into(t, &p.Session)
		a.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 422, "auth.link_invalid")
		rows := a.On("").As(p.AccessToken).Get(t, "/auth/activities/security?filter[type]=not_me_reported").Want(t, 200).List(t)
		if len(rows) != 1 {
			t.Errorf("the log has it %d times", len(rows))
		}
		a.On("").As(p.AccessToken).Get(t, "/auth/me").Want(t, 200)
	})

	t.Run("a link that is forged, another's, old or for an address of before is refused", func(t *testing.T) {
		p, q := a.SignUp(t), a.SignUp(t)
		_, mail := suspicious(t, a, p)
		token, _ := mail.linkTo(t, notMeAt)
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		refused := func(token string) {
			t.Helper()
			a.On("").Post(t, "/auth/not-me", map[string]any{"token": token}).Want(t, 422, "auth.link_invalid")
		}
		for i := range raw {
			forged := slices.Clone(raw)
			forged[i] ^= 1
			refused(base64.RawURLEncoding.EncodeToString(forged))
		}
		theirs := slices.Clone(raw)
		copy(theirs[1:17], q.ID[:])
		refused(base64.RawURLEncoding.EncodeToString(theirs))
		refused("")
		refused(token + "A")
		refused(token[:len(token)-1] + "\n")
		exec(t, a, "update central.users set email = 'lain.' || email where id = $1", p.ID)
		refused(token)
		exec(t, a, "update central.users set email = substr(email, 6) where id = $1", p.ID)
		clock.forward(7*24*time.Hour + time.Minute)
		refused(token)
		login(t, a, p.Email, p.Password).Want(t, 200)
	})
}

func TestAuth35_OperatorsEndSessionsAndForceResets(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	operator, auditor := a.Operator(t, "support"), a.Operator(t, "auditor")
	why := map[string]any{"reason": "Pelanggan melapor lewat telepon"}

	t.Run("who lacks the permission cannot", func(t *testing.T) {
		p := a.SignUp(t)
		for _, what := range []string{"sessions/end", "force-reset", "impersonate"} {
			auditor.Post(t, "/users/"+p.ID.String()+"/"+what, why).Want(t, 403, "access.denied")
			p.Post(t, "/users/"+p.ID.String()+"/"+what, why).Want(t, 403, "access.denied")
			a.On("").Post(t, "/users/"+p.ID.String()+"/"+what, why).Want(t, 401)
		}
		p.Get(t, "/users").Want(t, 403, "access.denied")
		p.Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("every session ends, and the user is told by mail and log", func(t *testing.T) {
		p := a.SignUp(t)
		operator.Post(t, "/users/"+p.ID.String()+"/sessions/end", map[string]any{}).WantField(t, "reason")
		if n := operator.Post(t, "/users/"+p.ID.String()+"/sessions/end", why).Want(t, 200).Object(t)["ended"]; n != 1.0 {
			t.Errorf("ended %v", n)
		}
		p.Get(t, "/auth/me").Want(t, 401)
		refresh(t, a.On(""), p.RefreshToken).Want(t, 401)
		p.SignIn(t)
		rows := p.Get(t, "/auth/activities?filter[type]=sessions_ended_by_operator").Want(t, 200).List(t)
		if len(rows) != 1 || rows[0]["note"] != why["reason"] || rows[0]["actor"].(map[string]any)["id"] != operator.ID.String() {
			t.Errorf("%v", rows)
		}
		if got := inbox(t, a, p.Email); len(got) != 1 || !strings.Contains(got[0].Text, "lewat telepon") {
			t.Errorf("%v", got)
		}
	})
	t.Run("a forced reset makes the password useless; only the user sets another", func(t *testing.T) {
		p := a.SignUp(t)
		answer := operator.Post(t, "/users/"+p.ID.String()+"/force-reset", why).Want(t, 202)
		login(t, a, p.Email, p.Password).Want(t, 401, "auth.invalid_credentials")
		p.Get(t, "/auth/me").Want(t, 401)
		got := inbox(t, a, p.Email)
		token, _ := got[len(got)-1].linkTo(t, resetAt)
		if strings.Contains(string(answer.Raw), token) {
			t.Error("the operator is told the link")
		}
		clock.forward(time.Second)
		a.On("").Post(t, "/auth/password/reset", map[string]any{"token": token, "password": "kata sandi pilihan sendiri"}).Want(t, 200)
		login(t, a, p.Email, "kata sandi pilihan sendiri").Want(t, 200)
	})
	t.Run("accounts are listed without anything secret", func(t *testing.T) {
		p := a.SignUp(t)
		answer := auditor.Get(t, "/users?q="+p.Email).Want(t, 200)
		rows := answer.List(t)
		if len(rows) != 1 || rows[0]["email"] != p.Email || strings.Contains(string(answer.Raw), "argon2") {
			t.Errorf("%s", answer.Raw)
		}
		for key := range rows[0] {
			if !slices.Contains([]string{"id", "name", "email", "email_verified", "has_password", "two_factor_enabled", "disabled_at", "created_at"}, key) {
				t.Errorf("shows %s", key)
			}
		}
		auditor.Get(t, "/users/"+p.ID.String()).Want(t, 200)
		auditor.Get(t, "/users/"+a.Installation.ID).Want(t, 404)
	})
	t.Run("operators and oneself are out of reach", func(t *testing.T) {
		for _, id := range []string{operator.ID.String(), auditor.ID.String()} {
			for _, what := range []string{"sessions/end", "force-reset", "impersonate"} {
				operator.Post(t, "/users/"+id+"/"+what, why).Want(t, 403, "users.protected")
			}
		}
		auditor.Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("without a fresh proof it is refused", func(t *testing.T) {
		p, other := a.SignUp(t), a.Operator(t, "owner")
		exec(t, a, "update central.sessions set auth_time = auth_time - interval '16 minutes' where user_id = $1", other.ID)
		for _, what := range []string{"sessions/end", "force-reset", "impersonate"} {
			other.Post(t, "/users/"+p.ID.String()+"/"+what, why).Want(t, 403, "auth.step_up_required")
		}
		p.Get(t, "/auth/me").Want(t, 200)
	})
}

func TestAuth35_ImpersonationOnlyLooks(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	operator := a.Operator(t, "support")
	p := a.SignUp(t)
	owner := p.Onboard(t, "rapi-jahit")
	why := map[string]any{"reason": "Tiket 4711: laporan kosong", "tenant": "rapi-jahit"}
	begin := func(t *testing.T, body map[string]any) string {
		t.Helper()
		answer := operator.Post(t, "/users/"+p.ID.String()+"/impersonate", body).Want(t, 201).Object(t)
		if answer["read_only"] != true || answer["refresh_token"] != nil || answer["expires_in"].(float64) > 600 {
			t.Errorf("%v", answer)
		}
		return answer["access_token"].(string)
	}
	token := begin(t, why)

	t.Run("the token carries act", func(t *testing.T) {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Sub string
			Act struct{ Sub, Sid string }
		}
		if err := json.Unmarshal(raw, &c); err != nil || c.Sub != p.ID.String() || c.Act.Sub != operator.ID.String() || c.Act.Sid == "" {
			t.Errorf("%s %v", raw, err)
		}
	})
	t.Run("it shows what the user sees and changes nothing", func(t *testing.T) {
		in := a.On("rapi-jahit").As(token)
		in.Get(t, "/master-data/taxonomies").Want(t, 200)
		in.Get(t, "/auth/me").Want(t, 200)
		for _, try := range []struct{ method, path string }{
			{http.MethodPost, "/master-data/taxonomies"}, {http.MethodPut, "/auth/password"}, {http.MethodPost, "/auth/logout-all"},
			{http.MethodPost, "/auth/select-tenant"}, {http.MethodPut, "/auth/me"}, {http.MethodPost, "/auth/two-factor"},
			{http.MethodDelete, "/auth/sessions/" + p.ID.String()}, {http.MethodPost, "/auth/password/confirm"},
		} {
			in.Do(t, try.method, try.path, map[string]any{}).Want(t, 403, "auth.impersonation_read_only")
		}
		for _, o := range a.Router.Operations() { // whatever there is, and whatever will be
			if o.Method == http.MethodGet || o.Rule.String() == "public" {
				continue
			}
			host := a.On("")
			if o.Surface == "tenant" {
				host = a.On("rapi-jahit")
			}
			path := strings.TrimPrefix(o.Path, "/api/v1")
			for strings.Contains(path, "{") {
				path = path[:strings.Index(path, "{")] + p.ID.String() + path[strings.Index(path, "}")+1:]
			}
			if answer := host.As(token).Do(t, o.Method, path, map[string]any{}); answer.Status != 403 || answer.Code != "auth.impersonation_read_only" {
				t.Errorf("%s answers %d %s", o.Name, answer.Status, answer.Code)
			}
		}
		owner.Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("it lends no right on the platform", func(t *testing.T) {
		central := begin(t, map[string]any{"reason": "x"})
		exec(t, a, "insert into central.platform_roles (user_id, role, granted_at, granted_by) values ($1, 'owner', now(), 'test')", p.ID)
		a.On("").As(central).Get(t, "/users").Want(t, 403, "access.denied")
		exec(t, a, "delete from central.platform_roles where user_id = $1", p.ID)
	})
	t.Run("the tenant's log shows who and why, and the user has a mail", func(t *testing.T) {
		rows := owner.Get(t, "/auth/activities/tenant?filter[type]=impersonation_started").Want(t, 200).List(t)
		if len(rows) != 1 || rows[0]["note"] != why["reason"] || rows[0]["actor"].(map[string]any)["name"] == "" || rows[0]["user"].(map[string]any)["id"] != p.ID.String() {
			t.Errorf("%v", rows)
		}
		if got := inbox(t, a, p.Email); len(got) == 0 || !strings.Contains(got[0].Text, "Tiket 4711") {
			t.Errorf("%v", got)
		}
	})
	t.Run("a role that could not be taken ends nothing", func(t *testing.T) {
		exec(t, a, `create function central.refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
			create trigger refuse before insert on central.security_activities for each row when (new.type = 'platform_role_revoked') execute function central.refuse()`)
		if _, err := a.Identity.RevokeRole(t.Context(), operator.Email, ""); err == nil {
			t.Error("taken without a row in the log")
		}
		exec(t, a, "drop function central.refuse() cascade")
		a.On("rapi-jahit").As(token).Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("it ends with the user's sessions, with the operator's, with the role, and by itself", func(t *testing.T) {
		live := func(token string) int { return a.On("rapi-jahit").As(token).Get(t, "/auth/me").Status }
		first := begin(t, why)
		p.Post(t, "/auth/logout-all", nil).Want(t, 200)
		if s := live(first); s != 401 {
			t.Errorf("after the user's logout everywhere: %d", s)
		}
		second := begin(t, why)
		operator.Post(t, "/auth/logout", nil).Want(t, 200)
		if s := live(second); s != 401 {
			t.Errorf("after the operator's logout: %d", s)
		}
		operator.SignIn(t)
		third := begin(t, why)
		if _, err := a.Identity.RevokeRole(t.Context(), operator.Email, ""); err != nil {
			t.Fatal(err)
		}
		apptest.Until(t, "the token ends with the role", func() bool { return live(third) == 401 })
		if err := a.Identity.GrantRole(t.Context(), operator.Email, "support", "test"); err != nil {
			t.Fatal(err)
		}
		fourth := begin(t, why)
		if s := live(fourth); s != 200 {
			t.Errorf("a fresh one: %d", s)
		}
		clock.forward(10*time.Minute + time.Second)
		if s := live(fourth); s != 401 {
			t.Errorf("after ten minutes: %d", s)
		}
	})
}
