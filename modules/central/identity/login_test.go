package identity_test

import (
	"bytes"
	"encoding/base32"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/crypto"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)

	t.Run("answers as the contract says", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		got := login(t, a, strings.ToUpper(p.Email), p.Password).Want(t, 200).Object(t)
		if got["status"] != "authenticated" || got["token_type"] != "Bearer" || got["expires_in"] != 600.0 || got["refresh_expires_in"] != 2592000.0 {
			t.Errorf("%v", got)
		}
		user := got["user"].(map[string]any)
		if user["id"] != p.ID.String() || user["has_password"] != true || user["google_linked"] != false ||
			user["two_factor"].(map[string]any)["enabled"] != false || len(got["tenants"].([]any)) != 0 {
			t.Errorf("%v", user)
		}
	})
	t.Run("is one answer for unknown, wrong, without a password and disabled", func(t *testing.T) {
		t.Parallel()
		wrong, disabled, google := a.SignUp(t), a.SignUp(t), a.SignUp(t)
		if err := a.Identity.Disable(t.Context(), disabled.ID); err != nil {
			t.Fatal(err)
		}
		exec(t, a, "update central.users set password_hash = null where id = $1", google.ID)
		bodies := map[string]bool{}
		for _, r := range []*apptest.Response{
			login(t, a, wrong.Email, "kata sandi yang salah"), login(t, a, "tidakada@example.com", password), login(t, a, "bukan alamat", password),
			login(t, a, disabled.Email, disabled.Password), login(t, a, google.Email, google.Password), login(t, a, wrong.Email, strings.Repeat("x", 5000)),
		} {
			r.Want(t, 401, "auth.invalid_credentials")
			var body map[string]any
			if err := json.Unmarshal(r.Raw, &body); err != nil {
				t.Fatal(err)
			}
			delete(body, "request_id")
			delete(body, "timestamp")
			rest, _ := json.Marshal(body)
			bodies[string(rest)] = true
		}
		if len(bodies) != 1 {
			t.Errorf("%v", bodies)
		}
	})
	t.Run("renews an older hash and refuses an absurd one", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		stored := func() (hash string) {
			if err := connect(t, a).QueryRow(t.Context(), "select password_hash from central.users where id = $1", p.ID).Scan(&hash); err != nil {
				t.Fatal(err)
			}
			return hash
		}
		stronger, err := app.New(t.Context(), func() app.Config {
			c := a.Config
			c.Identity.PasswordPasses = 3
			return c
		}(), app.Options{Version: "test", Log: discard(), Development: true})
		if err != nil {
			t.Fatal(err)
		}
		defer stronger.Close()
		if _, err := stronger.Identity.Login(t.Context(), p.Email, p.Password, "", ""); err != nil || !strings.Contains(stored(), "t=3") {
			t.Errorf("%s, %v", stored(), err)
		}
		login(t, a, p.Email, p.Password).Want(t, 200)
		exec(t, a, "update central.users set password_hash = replace(password_hash, 'm=19456', 'm=4194304') where id = $1", p.ID)
		login(t, a, p.Email, p.Password).Want(t, 401, "auth.invalid_credentials")
	})
}

func TestMe(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	if err := a.Identity.GrantRole(t.Context(), p.Email, "auditor", "a test"); err != nil {
		t.Fatal(err)
	}
	m := p.Onboard(t, "rapi-jahit")
	central, tenant := p.Get(t, "/auth/me").Want(t, 200).Object(t), m.Get(t, "/auth/me").Want(t, 200).Object(t)
	if _, there := central["tenant"]; there || central["permissions"] != nil {
		t.Error("a central token has a tenant")
	}
	if got := central["platform_permissions"].([]any); len(got) != 6 || central["platform_roles"].([]any)[0] != "auditor" {
		t.Errorf("%v", got)
	}
	if got := central["tenants"].([]any)[0].(map[string]any); got["slug"] != "rapi-jahit" || got["api_url"] != "http://rapi-jahit.localhost:8080" {
		t.Errorf("%v", got)
	}
	if tenant["tenant"].(map[string]any)["slug"] != "rapi-jahit" || len(tenant["permissions"].([]any)) == 0 {
		t.Errorf("%v", tenant)
	}
	if amr := central["session"].(map[string]any)["amr"].([]any); len(amr) != 1 || amr[0] != "pwd" {
		t.Errorf("%v", amr)
	}
	exec(t, a, "delete from central.memberships where user_id = $1", p.ID)
	soon(t, 403, "tenant.context_mismatch", func() *apptest.Response { return m.Get(t, "/auth/me") })
	a.On("").Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
}

func TestSelectTenant(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p, stranger := a.SignUp(t), a.SignUp(t)
	first, second := p.Onboard(t, "konveksi-satu"), p.Onboard(t, "konveksi-dua")

	t.Run("serves two tabs with two tenants on one sign-in", func(t *testing.T) {
		for range 2 {
			for _, m := range []*apptest.Member{first, second} {
				m.Get(t, "/auth/me").Want(t, 200)
				m.Session = refreshed(t, m.Caller, m.RefreshToken)
				m.Caller = m.As(m.AccessToken)
			}
		}
		first.As(second.AccessToken).Get(t, "/auth/me").Want(t, 403, "tenant.context_mismatch")
		p.Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("takes a slug or an id, and leaves the tokens of an earlier tab alone", func(t *testing.T) {
		got := p.Post(t, "/auth/select-tenant", map[string]any{"tenant": first.TenantID.String()}).Want(t, 200).Object(t)
		if got["refresh_token"] != first.RefreshToken {
			t.Error("the chain moved on without a refresh")
		}
		if tenant := got["tenant"].(map[string]any); tenant["slug"] != "konveksi-satu" || tenant["status"] != "active" || len(got["permissions"].([]any)) == 0 {
			t.Errorf("%v", tenant)
		}
	})
	t.Run("is one answer for no tenant, another's and a suspended one", func(t *testing.T) {
		suspended := p.Onboard(t, "ditangguhkan")
		exec(t, a, "update central.tenants set status = 'suspended' where slug = 'ditangguhkan'")
		for _, r := range []*apptest.Response{
			p.Post(t, "/auth/select-tenant", map[string]any{"tenant": "tidak-ada"}),
			stranger.Post(t, "/auth/select-tenant", map[string]any{"tenant": "konveksi-satu"}),
			stranger.Post(t, "/auth/select-tenant", map[string]any{"tenant": first.TenantID.String()}),
			p.Post(t, "/auth/select-tenant", map[string]any{"tenant": "ditangguhkan"}),
		} {
			r.Want(t, 404, "tenant.unknown")
		}
		refresh(t, p.Caller, suspended.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	})
	t.Run("stops renewing for who is a member no more, and carries a changed membership", func(t *testing.T) {
		exec(t, a, "update central.memberships set version = 7 where tenant_id = $1", first.TenantID)
		s := first.Session
		apptest.Until(t, "a token with the new version", func() bool {
			s = refreshed(t, p.Caller, s.RefreshToken)
			var claims jwt.MapClaims
			if _, _, err := jwt.NewParser().ParseUnverified(s.AccessToken, &claims); err != nil {
				t.Fatal(err)
			}
			return claims["ver"] == 7.0
		})
		exec(t, a, "delete from central.memberships where tenant_id = $1", first.TenantID)
		apptest.Until(t, "the end of renewing", func() bool {
			r := refresh(t, p.Caller, s.RefreshToken)
			if r.Status == 200 {
				r.Into(t, &s)
			}
			return r.Status == 401 && r.Code == "auth.refresh_invalid"
		})
		p.Get(t, "/auth/me").Want(t, 200)
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p, other := a.SignUp(t), a.SignUp(t)
	first := p.Session
	p.As("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password, "device_name": "Tablet gudang"}).Want(t, 200).Into(t, &p.Session)
	p.Token = p.AccessToken
	p.Onboard(t, "gudang")

	listed := p.Get(t, "/auth/sessions").Want(t, 200).List(t)
	if len(listed) != 2 || listed[0]["device"] != "Tablet gudang" || listed[0]["current"] != true || listed[1]["current"] != false ||
		listed[0]["ip"] != "127.0.0.1" || len(listed[0]["tenants"].([]any)) != 1 || len(listed[1]["tenants"].([]any)) != 0 {
		t.Errorf("%v", listed)
	}
	page := p.Get(t, "/auth/sessions?limit=1").Want(t, 200)
	if next := page.Meta.NextCursor; next == nil || p.Get(t, "/auth/sessions?limit=1&cursor="+*next).Want(t, 200).List(t)[0]["id"] != listed[1]["id"] {
		t.Error("the second page is not the second session")
	}
	path := "/auth/sessions/" + listed[1]["id"].(string)
	other.Delete(t, path).Want(t, 404, "resource.not_found")
	p.As(first.AccessToken).Get(t, "/auth/me").Want(t, 200)
	p.Delete(t, path).Want(t, 200)
	p.Delete(t, path).Want(t, 404, "resource.not_found")
	p.As(first.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
	refresh(t, p.Caller, first.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	if n := len(p.Get(t, "/auth/sessions").List(t)); n != 1 {
		t.Errorf("%d sessions left", n)
	}
}

func TestOperators(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	p.Get(t, "/master-data/taxonomies").Want(t, 403, "access.denied")
	for range 2 {
		if err := a.Identity.GrantRole(t.Context(), strings.ToUpper(p.Email), "support", "a test"); err != nil {
			t.Fatal(err)
		}
	}
	p.Get(t, "/master-data/taxonomies").Want(t, 200)
	p.Post(t, "/master-data/taxonomies", map[string]any{"kind": "color", "code": "MERAH", "name": "Merah"}).Want(t, 403, "access.denied")
	if all, err := a.Identity.ListOperators(t.Context()); err != nil || len(all) != 1 || all[0].Email != p.Email || all[0].Role != "support" || all[0].GrantedBy != "a test" {
		t.Errorf("%+v, %v", all, err)
	}
	if n, err := a.Identity.RevokeRole(t.Context(), p.Email, ""); err != nil || n != 1 {
		t.Error(n, err)
	}
	p.Get(t, "/master-data/taxonomies").Want(t, 403, "access.denied")
	if a.Identity.GrantRole(t.Context(), p.Email, "root", "a test") == nil || a.Identity.GrantRole(t.Context(), "tidakada@example.com", "owner", "a test") == nil {
		t.Error("granted what there is not")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	r := a.On("").Get(t, "//.well-known/jwks.json")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(r.Raw, &set); err != nil || len(set.Keys) == 0 || !strings.HasPrefix(r.Header.Get("Cache-Control"), "public") {
		t.Fatalf("%s %v", r.Raw, err)
	}
	var kids []any
	for _, key := range set.Keys { // the one that signs, and the next
		kids = append(kids, key["kid"])
		for name := range key {
			if !slices.Contains([]string{"kty", "crv", "use", "alg", "kid", "x"}, name) {
				t.Errorf("published %s", name)
			}
		}
	}
	token, _, err := jwt.NewParser().ParseUnverified(p.AccessToken, jwt.MapClaims{})
	if err != nil || !slices.Contains(kids, token.Header["kid"]) {
		t.Errorf("%v, %v", token.Header, err)
	}
	if _, err := app.New(t.Context(), func() app.Config { c := a.Config; c.Secret = crypto.NewKey(); return c }(), app.Options{Log: discard(), Development: true}); err == nil {
		t.Error("started on a database of another secret")
	}
	var wg sync.WaitGroup
	exec(t, a, "delete from central.signing_keys")
	for range 8 {
		wg.Go(func() {
			if err := a.Identity.EnsureKeys(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, a, "select count(*) from central.signing_keys"); n != 2 { // the one that signs, and the next
		t.Errorf("%d keys", n)
	}
	p.Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated") // its key is withdrawn
}

// What is secret must be nowhere but with its owner: not in the log, not in the database, not in a job.
func TestAuth19_ADumpOfTheDatabaseHoldsNothingUsable(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	clock := &movable{}
	a := apptest.New(t, throttled(), apptest.WithLog(&log), apptest.WithClock(clock.now))
	register(t, a, "Siti", "siti@example.com", password)
	mailed := letters(t, a, "siti@example.com", 1)[0].token(t)
	verify(t, a, mailed).Want(t, 200)
	var s apptest.Session
	login(t, a, "siti@example.com", password).Want(t, 200).Into(t, &s)
	login(t, a, "hantu@example.com", "kata sandi hantu").Want(t, 401)
	second := refreshed(t, a.On(""), s.RefreshToken)
	a.On("").As(second.AccessToken).Post(t, "/auth/logout-all", nil).Want(t, 200)

	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	challenge := challenged(t, a, p)
	device := answer(t, challenge, map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)["device_token"].(string)
	open := challenged(t, a, p)
	a.On("").Post(t, "/auth/password/forgot", map[string]any{"email": p.Email}).Want(t, 202)
	var reset string
	apptest.Until(t, "the mail that resets a password", func() bool {
		err := connect(t, a).QueryRow(t.Context(), "select substring(links::text from 'token=([A-Za-z0-9_-]+)') from central.kept_mail where recipient = $1 and links::text like '%token=%'", p.Email).Scan(&reset)
		return err == nil
	})
	exec(t, a, "delete from central.kept_mail") // the development mailbox is the mail itself

	var dump strings.Builder
	var tables []string
	if err := connect(t, a).QueryRow(t.Context(), "select array_agg(relname::text) from pg_class where relnamespace = 'central'::regnamespace and relkind in ('r', 'p')").Scan(&tables); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var rows string
		if err := connect(t, a).QueryRow(t.Context(), "select coalesce(string_agg(x::text, e'\n'), '') from central."+table+" x").Scan(&rows); err != nil {
			t.Fatal(err)
		}
		dump.WriteString(rows)
	}
	for what, secret := range map[string]string{"password": password, "wrong password": "kata sandi hantu", "mailed token": mailed,
		"access token": s.AccessToken, "refresh token": s.RefreshToken, "second refresh token": second.RefreshToken, "second access token": second.AccessToken,
		"device token": device, "challenge token": challenge.Token, "open challenge's token": open.Token, "reset token": reset,
		"recovery code": x.recovery[0], "authenticator's secret": base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(x.secret)} {
		if len(secret) < 8 {
			t.Errorf("the %s is %q", what, secret)
		}
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has the %s", what)
		}
		if strings.Contains(dump.String(), secret) {
			t.Errorf("the database has the %s", what)
		}
	}
	for _, event := range []string{"registered", "email_verified", "login", "login_failed", "session_ended"} {
		if !strings.Contains(log.String(), event) {
			t.Errorf("the log lacks %q", event)
		}
	}
	if strings.Contains(log.String(), "hantu@") {
		t.Error("the log has the address of somebody unknown")
	}
}

func TestCreateVerified(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	id, err := a.Identity.CreateVerified(t.Context(), "Pemilik", "pemilik@example.com", password, "id")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Identity.CreateVerified(t.Context(), "Lain", "Pemilik@example.com", "kata sandi lainnya", "en"); err != nil || again != id {
		t.Errorf("%s and %s, %v", id, again, err)
	}
	login(t, a, "pemilik@example.com", password).Want(t, 200)
	register(t, a, "Penyerang", "operator@example.com", "milik penyerang 123")
	var s apptest.Session
	login(t, a, "operator@example.com", "milik penyerang 123").Want(t, 200).Into(t, &s)
	if _, err := a.Identity.CreateVerified(t.Context(), "Operator", "operator@example.com", password, "id"); err != nil {
		t.Fatal(err)
	}
	a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 401)
	login(t, a, "operator@example.com", "milik penyerang 123").Want(t, 401)
	login(t, a, "operator@example.com", password).Want(t, 200)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
