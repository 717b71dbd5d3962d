package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/openid"
)

func TestAuth23_StateNonceAndVerifierAreTheServersAndTheBrowsers(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	const email = "siti@gmail.example"

	t.Run("the address carries state, nonce and an S256 challenge, all of the server's making", func(t *testing.T) {
		w.On("").Get(t, "/auth/google/redirect?state=dari-penyerang").WantField(t, "state")
		one, two := w.begin(t, "", ""), w.begin(t, "", "")
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			if a, b := one.query.Get(name), two.query.Get(name); len(a) < 43 || a == b {
				t.Errorf("%s is %q and %q", name, a, b)
			}
		}
		if one.query.Get("code_challenge_method") != "S256" || one.query.Get("response_type") != "code" || one.query.Get("redirect_uri") != googleCallback {
			t.Errorf("%v", one.query)
		}
		// What is kept can be turned into none of them.
		if n := count(t, w.App, "select count(*) from central.google_flows f where f::text like any (array['%' || $1 || '%', '%' || $2 || '%'])",
			one.query.Get("state"), one.query.Get("nonce")); n != 0 {
			t.Error("state or nonce lie in the database")
		}
	})

	t.Run("the cookie is the host's alone", func(t *testing.T) {
		r := w.On("").Get(t, "/auth/google/redirect").Want(t, 302)
		var host *http.Cookie
		for _, c := range (&http.Response{Header: r.Header}).Cookies() {
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 600 {
				t.Errorf("cookie %s", c)
			}
			if strings.HasPrefix(c.Name, "__Host-") {
				host = c
			}
		}
		if host == nil || !host.Secure {
			t.Errorf("no __Host- cookie in %q", r.Header.Values("Set-Cookie"))
		}
	})

	t.Run("a return is good with the state and the browser that belong together, once", func(t *testing.T) {
		mine, theirs := w.begin(t, "", ""), w.begin(t, "", "")
		back := w.choose(t, mine.address, email, "Siti")
		refused := func(why string, with url.Values, cookie string) {
			t.Helper()
			if r := w.comeBack(t, with, cookie, "application/json"); r.Status != 401 || r.Code != "auth.google_invalid" {
				t.Errorf("%s: %d %s", why, r.Status, r.Raw)
			}
		}
		with := func(state string) url.Values { return url.Values{"state": {state}, "code": {back.Get("code")}} }
		refused("no cookie", back, "")
		refused("another browser's cookie", back, theirs.cookie)
		refused("another's state", with(theirs.query.Get("state")), mine.cookie)
		refused("a nonce for a state", with(mine.query.Get("nonce")), mine.cookie)
		refused("no state", with(""), mine.cookie)
		refused("an invented state", with(strings.Repeat("A", 67)), mine.cookie)
		if s := tokensOf(t, w.comeBack(t, back, mine.cookie, "application/json")); s.User.Email != email || !s.User.EmailVerified {
			t.Errorf("%+v", s.User)
		}
		refused("a second time", back, mine.cookie)
	})

	t.Run("another's code in one's own return is refused", func(t *testing.T) {
		attacker, victim := w.begin(t, "", ""), w.begin(t, "", "")
		code := w.choose(t, attacker.address, "penyerang@gmail.example", "Penyerang").Get("code")
		w.comeBack(t, url.Values{"state": {victim.query.Get("state")}, "code": {code}}, victim.cookie, "application/json").Want(t, 401, "auth.google_invalid")
	})

	t.Run("of fifty returns at once one succeeds", func(t *testing.T) {
		b := w.begin(t, "", "")
		back := w.choose(t, b.address, email, "Siti")
		var signedIn atomic.Int64
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if r := w.comeBack(t, back, b.cookie, "application/json"); r.Status == 200 {
					signedIn.Add(1)
				} else if r.Status != 401 {
					t.Errorf("%d %s", r.Status, r.Raw)
				}
			})
		}
		all.Wait()
		if signedIn.Load() != 1 {
			t.Errorf("%d signed in", signedIn.Load())
		}
	})

	t.Run("two tabs of a browser do not disturb each other", func(t *testing.T) {
		one := w.begin(t, "", "")
		two := w.begin(t, "", one.cookie)
		for _, b := range []begun{one, two} {
			tokensOf(t, w.comeBack(t, w.choose(t, b.address, email, "Siti"), two.cookie, "application/json"))
		}
	})

	t.Run("what the provider adds to the address is ignored, what it says instead of a code is not", func(t *testing.T) {
		b := w.begin(t, "", "")
		back := w.choose(t, b.address, email, "Siti")
		back.Set("authuser", "0")
		back.Set("something_new", "1")
		tokensOf(t, w.comeBack(t, back, b.cookie, "application/json"))
		b = w.begin(t, "", "")
		w.comeBack(t, url.Values{"state": {b.query.Get("state")}, "error": {"temporarily_unavailable"}}, b.cookie, "application/json").Want(t, 401, "auth.google_invalid")
		b = w.begin(t, "", "")
		back = w.choose(t, b.address, email, "Siti")
		back.Set("iss", "https://other.example") // RFC 9207
		w.comeBack(t, back, b.cookie, "application/json").Want(t, 401, "auth.google_invalid")
	})

	t.Run("who cancels there is told so, with a state that is theirs", func(t *testing.T) {
		b := w.begin(t, "?redirect_to="+url.QueryEscape(googlePage), "")
		cancel := url.Values{"state": {b.query.Get("state")}, "error": {"access_denied"}}
		w.comeBack(t, cancel, "", "application/json").Want(t, 401, "auth.google_invalid")
		r := w.comeBack(t, cancel, b.cookie, "text/html").Want(t, 303)
		if at := r.Header.Get("Location"); at != googlePage+"?error=auth.google_cancelled" {
			t.Errorf("went to %s", at)
		}
		if string(r.Data) != "null" {
			t.Errorf("the answer that redirects says %s", r.Data)
		}
		w.comeBack(t, cancel, b.cookie, "text/html").Want(t, 401, "auth.google_invalid") // once
		b = w.begin(t, "", "")
		w.comeBack(t, url.Values{"state": {b.query.Get("state")}, "error": {"access_denied"}}, b.cookie, "application/json").Want(t, 401, "auth.google_cancelled")
		b = w.begin(t, "", "")
		w.comeBack(t, url.Values{"state": {b.query.Get("state")}, "error": {"access_denied"}, "iss": {"https://other.example"}}, b.cookie, "application/json").
			Want(t, 401, "auth.google_invalid")
	})

	t.Run("a tenant's host leads to the base domain, where the cookie belongs", func(t *testing.T) {
		w.SignUp(t).Onboard(t, "rapi-google")
		r := w.On("rapi-google").Get(t, "/auth/google/redirect?redirect_to="+url.QueryEscape(googlePage)).Want(t, 302)
		if at := r.Header.Get("Location"); at != "http://"+apptest.BaseHost+"/api/v1/auth/google/redirect?redirect_to="+url.QueryEscape(googlePage) || r.Header.Get("Set-Cookie") != "" {
			t.Errorf("to %s, with cookie %q", at, r.Header.Get("Set-Cookie"))
		}
	})

	t.Run("after ten minutes it is over", func(t *testing.T) {
		b := w.begin(t, "", "")
		back := w.choose(t, b.address, email, "Siti")
		clock.forward(10*time.Minute + time.Second)
		w.comeBack(t, back, b.cookie, "application/json").Want(t, 401, "auth.google_invalid")
	})
}

func TestAuth23_AClientsOwnCodeNeedsItsVerifier(t *testing.T) {
	t.Parallel()
	w := withGoogle(t)
	verifier := rand.Text() + rand.Text()
	// A client goes to the provider by itself, with PKCE.
	code := func() string {
		return w.choose(t, w.server.URL+"/o/authorize?"+url.Values{"client_id": {"homecore"}, "redirect_uri": {googlePage}, "response_type": {"code"},
			"scope": {"openid email profile"}, "state": {"its-own"}, "code_challenge": {s256(verifier)}, "code_challenge_method": {"S256"}}.Encode(), "siti@gmail.example", "Siti").Get("code")
	}
	login := func(code, verifier, redirect string) *apptest.Response {
		return w.On("").Post(t, "/auth/google/login", map[string]any{"code": code, "code_verifier": verifier, "redirect_uri": redirect})
	}
	login(code(), rand.Text()+rand.Text(), googlePage).Want(t, 401, "auth.google_invalid")
	login("bukan-kode", verifier, googlePage).Want(t, 401, "auth.google_invalid")
	login(code(), verifier, googleCallback).Want(t, 401, "auth.google_invalid") // not where the code was sent
	login(code(), "pendek", googlePage).WantField(t, "code_verifier")
	login(code(), verifier, "").WantField(t, "redirect_uri")
	good := code()
	if s := tokensOf(t, login(good, verifier, googlePage)); s.User.Email != "siti@gmail.example" {
		t.Errorf("%+v", s.User)
	}
	login(good, verifier, googlePage).Want(t, 401, "auth.google_invalid")
}

func TestAuth24_IDTokensThatAreNotGoodHere(t *testing.T) {
	t.Parallel()
	var outside atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { outside.Add(1) }))
	t.Cleanup(elsewhere.Close) // the subtests run in parallel, once this function has returned
	w := withGoogle(t)
	public, kid := w.provider.PublicKey()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	// in is so many seconds from when the subtest that asks makes its token: it may run long after this function.
	in := func(seconds int64) func() any { return func() any { return time.Now().Unix() + seconds } }
	const email = "siti@gmail.example"
	issuer := w.Config.Identity.Google.Issuer

	refused := func(t *testing.T, token, nonce string) {
		t.Helper()
		w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": token, "nonce": nonce}).Want(t, 401, "auth.google_invalid")
	}
	for name, claims := range map[string]map[string]any{
		"another audience":             {"aud": "another-client"},
		"two audiences":                {"aud": []string{"homecore", "another-client"}},
		"no audience":                  {"aud": nil},
		"another issuer":               {"iss": "https://accounts.google.com"},
		"the issuer with a slash":      {"iss": issuer + "/"},
		"no issuer":                    {"iss": nil},
		"expired":                      {"exp": in(-1)},
		"no expiry":                    {"exp": nil},
		"issued in two minutes":        {"iat": in(120)},
		"no time of issue":             {"iat": nil},
		"not good before an hour":      {"nbf": in(3600)},
		"email_verified false":         {"email_verified": false},
		`email_verified "false"`:       {"email_verified": "false"},
		`email_verified "true"`:        {"email_verified": "true"},
		"email_verified 1":             {"email_verified": 1},
		"no email_verified":            {"email_verified": nil},
		"no sub":                       {"sub": nil},
		"empty sub":                    {"sub": ""},
		"a sub that is no text":        {"sub": 1},
		"a sub that goes on for pages": {"sub": strings.Repeat("1", 256)},
		"no email":                     {"email": nil},
		"an email that is none":        {"email": "siti"},
		"no nonce":                     {"nonce": nil},
		"another nonce":                {"nonce": "x"},
	} {
		t.Run("claims: "+name, func(t *testing.T) {
			t.Parallel()
			n := w.nonce(t)
			all := claimsOf(email, "Siti", n)
			for name, value := range claims {
				if later, ok := value.(func() any); ok {
					value = later()
				}
				all[name] = value
			}
			refused(t, w.idToken(t, all), n)
		})
	}

	body := func(n string) jwt.MapClaims {
		now := time.Now().Unix()
		all := jwt.MapClaims{"iss": issuer, "aud": "homecore", "iat": now, "exp": now + 3600}
		maps.Copy(all, claimsOf(email, "Siti", n))
		return all
	}
	for name, forge := range map[string]struct {
		method jwt.SigningMethod
		key    any
		header map[string]any
	}{
		"another key under the same kid":   {jwt.SigningMethodRS256, other, nil},
		"another key under its own kid":    {jwt.SigningMethodRS256, other, map[string]any{"kid": "lain"}},
		"no kid":                           {jwt.SigningMethodRS256, other, map[string]any{"kid": nil}},
		"RS512":                            {jwt.SigningMethodRS512, other, nil},
		"PS256":                            {jwt.SigningMethodPS256, other, nil},
		"HS256 with the public key as PEM": {jwt.SigningMethodHS256, publicPEM, nil},
		"HS256 with the public key as DER": {jwt.SigningMethodHS256, der, nil},
		"unsigned":                         {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil},
		"its own key":                      {jwt.SigningMethodRS256, other, map[string]any{"jwk": jose.JSONWebKey{Key: &other.PublicKey}}},
		"a key to be fetched":              {jwt.SigningMethodRS256, other, map[string]any{"jku": elsewhere.URL, "kid": "lain"}},
		"a certificate to be fetched":      {jwt.SigningMethodRS256, other, map[string]any{"x5u": elsewhere.URL}},
		"a critical header nobody knows":   {jwt.SigningMethodRS256, other, map[string]any{"crit": []string{"x"}, "x": 1}},
	} {
		t.Run("signature: "+name, func(t *testing.T) {
			t.Parallel()
			n := w.nonce(t)
			token := jwt.NewWithClaims(forge.method, body(n))
			token.Header["kid"] = kid
			maps.Copy(token.Header, forge.header)
			maps.DeleteFunc(token.Header, func(_ string, v any) bool { return v == nil })
			signed, err := token.SignedString(forge.key)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, signed, n)
		})
	}

	t.Run("spelling: anything but the compact form as it was made", func(t *testing.T) {
		t.Parallel()
		n := w.nonce(t)
		token := w.idToken(t, claimsOf(email, "Siti", n))
		parts := strings.Split(token, ".")
		general, err := json.Marshal(map[string]any{"payload": parts[1], "signatures": []map[string]string{{"protected": parts[0], "signature": parts[2]}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, altered := range []string{token + "\n", " " + token, token + "=", parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1], token + "." + parts[2],
			string(general), "..", strings.Repeat("a", 9000), parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("{}")) + "." + parts[2]} {
			if r := w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": altered, "nonce": n}); r.Status != 401 && r.Status != 422 {
				t.Errorf("%.30q: %d %s", altered, r.Status, r.Raw)
			}
		}
		// None of these used up the nonce.
		tokensOf(t, w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": token, "nonce": n}))
	})

	t.Run("a nonce that came with the token binds nothing", func(t *testing.T) {
		t.Parallel()
		for _, n := range []string{"dari-penyerang", strings.Repeat("A", 67)} {
			refused(t, w.idToken(t, claimsOf(email, "Siti", n)), n)
		}
	})

	t.Run("a token is taken once, a nonce too, however many try at once", func(t *testing.T) {
		t.Parallel()
		n := w.nonce(t)
		token := w.idToken(t, claimsOf("budi@gmail.example", "Budi", n))
		var signedIn atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if r := w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": token, "nonce": n}); r.Status == 200 {
					signedIn.Add(1)
				} else if r.Status != 401 {
					t.Errorf("%d %s", r.Status, r.Raw)
				}
			})
		}
		all.Wait()
		if signedIn.Load() != 1 {
			t.Errorf("%d signed in", signedIn.Load())
		}
		refused(t, token, n)
		refused(t, w.idToken(t, claimsOf("budi@gmail.example", "Budi", n)), n)
		// With a fresh nonce the old token does not go.
		refused(t, token, w.nonce(t))
	})

	t.Cleanup(func() {
		if outside.Load() != 0 {
			t.Error("a token made us call its sender")
		}
	})
}

func TestAuth24_AKeyIsUsedForWhatItIsFor(t *testing.T) {
	t.Parallel()
	for says, good := range map[string]bool{
		`"key_ops":["verify"]`: true, `"key_ops":["sign","verify"]`: true, `"key_ops":["encrypt","wrapKey"]`: false, `"key_ops":["sign"]`: false, `"key_ops":[]`: false,
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			w := withGoogle(t)
			w.says.Store(&says)
			if r := w.withButton(t, "siti@gmail.example", "Siti"); (r.Status == 200) != good || !good && r.Code != "auth.google_invalid" {
				t.Errorf("%d %s", r.Status, r.Raw)
			}
		})
	}
}

func TestAuth24_TheProviderIsDownForGoogleAlone(t *testing.T) {
	t.Parallel()
	w := withGoogle(t)
	if n := w.asked.Load(); n != 0 {
		t.Errorf("the provider was asked %d times before anybody signed in", n)
	}
	p := w.SignUp(t)
	n := w.nonce(t)
	token := w.idToken(t, claimsOf("siti@gmail.example", "Siti", n))
	w.server.Close()

	away := func(r *apptest.Response) {
		t.Helper()
		r.Want(t, 503, "service.unavailable")
		if r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	away(w.On("").Get(t, "/auth/google/redirect"))
	away(w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": token, "nonce": n}))
	away(w.On("").Post(t, "/auth/google/login", map[string]any{"code": "x", "code_verifier": rand.Text() + rand.Text(), "redirect_uri": googlePage}))
	p.SignIn(t)
	p.Get(t, "/auth/me").Want(t, 200)
	w.On("").Get(t, "//ready").Want(t, 200)
	// A process that starts now starts.
	b := w.Another(t)
	b.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password}).Want(t, 200)
}

func TestAuth24_WithoutAClientThereIsNoGoogle(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	a.On("").Get(t, "/auth/google/redirect").Want(t, 404, "auth.google_unavailable")
	a.On("").Get(t, "/auth/google/nonce").Want(t, 404, "auth.google_unavailable")
	a.On("").Post(t, "/auth/google/login", map[string]any{"id_token": "x", "nonce": "x"}).Want(t, 404, "auth.google_unavailable")
}

func TestAuth25_TheIdentityIsTheSubjectNotTheAddress(t *testing.T) {
	t.Parallel()
	w := withGoogle(t)
	first := tokensOf(t, w.viaBrowser(t, "siti@gmail.example", "Siti"))
	if first.User.Name != "Siti" || first.User.HasPassword || !first.User.GoogleLinked || !first.User.EmailVerified {
		t.Errorf("%+v", first.User)
	}
	if again := tokensOf(t, w.withButton(t, "siti@gmail.example", "Siti")); again.User.ID != first.User.ID {
		t.Error("the same person became another account")
	}
	login := func(subject, email string) *apptest.Response {
		n := w.nonce(t)
		claims := claimsOf(email, "Siti", n)
		claims["sub"] = subject
		return w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": w.idToken(t, claims), "nonce": n})
	}
	if moved := tokensOf(t, login(openid.Subject("siti@gmail.example"), "siti.baru@gmail.example")); moved.User.ID != first.User.ID || moved.User.Email != "siti@gmail.example" {
		t.Errorf("after the address changed at the provider: %+v", moved.User)
	}
	// Somebody else who has the address now is not let in by it.
	r := login("orang-lain", "siti@gmail.example").Want(t, 409, "auth.google_link_required")
	if strings.Contains(string(r.Raw), first.User.ID) {
		t.Errorf("tells of the account: %s", r.Raw)
	}
}

func TestAuth25_LinkingToAnOwnedAccountNeedsItsCredential(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	p := w.SignUp(t)
	// Before anything is offered, and never back: what has expired meanwhile may be deleted at any time.
	clock.forward(16 * time.Minute)
	p.As(refreshed(t, p.Caller, p.RefreshToken).AccessToken).Post(t, "/auth/google/link", w.proof(t, p.Email, "Siti")).Want(t, 403, "auth.step_up_required")
	p.SignIn(t)
	var offer struct {
		LinkToken string `json:"link_token"`
	}
	w.viaBrowser(t, p.Email, "Penyerang").Want(t, 409, "auth.google_link_required")
	w.withButton(t, p.Email, "Siti").Want(t, 409, "auth.google_link_required").Into(t, &offer)
	p.Get(t, "/auth/me").Want(t, 200) // nothing has happened to the account
	p.SignIn(t)

	w.On("").Post(t, "/auth/google/link", map[string]any{"link_token": offer.LinkToken}).Want(t, 401)
	p.Post(t, "/auth/google/link", map[string]any{"link_token": offer.LinkToken[:40] + "AAAA" + offer.LinkToken[44:]}).Want(t, 401, "auth.google_invalid")
	p.Post(t, "/auth/google/link", map[string]any{"link_token": offer.LinkToken}).Want(t, 200)
	p.Post(t, "/auth/google/link", map[string]any{"link_token": offer.LinkToken}).Want(t, 401, "auth.google_invalid")
	if s := tokensOf(t, w.withButton(t, p.Email, "Siti")); s.User.ID != p.ID.String() || !s.User.HasPassword || !s.User.GoogleLinked {
		t.Errorf("%+v", s.User)
	}
	if l := letters(t, w.App, p.Email, 1)[0]; !strings.Contains(l.Subject, "Google") {
		t.Errorf("letter %q", l.Subject)
	}

	t.Run("one identity has one account, one account one identity", func(t *testing.T) {
		p.Post(t, "/auth/google/link", w.proof(t, p.Email, "Siti")).Want(t, 200) // again
		p.Post(t, "/auth/google/link", w.proof(t, "lain@gmail.example", "Siti")).Want(t, 409, "auth.google_linked")
		q := w.SignUp(t)
		q.Post(t, "/auth/google/link", w.proof(t, p.Email, "Siti")).Want(t, 409, "auth.google_in_use")
	})
	t.Run("an account with another address can be linked from a page", func(t *testing.T) {
		q := w.SignUp(t)
		verifier := rand.Text() + rand.Text()
		b := w.begin(t, "?code_challenge="+s256(verifier), "")
		page, err := url.Parse(w.comeBack(t, w.choose(t, b.address, "pribadi@gmail.example", "Q"), b.cookie, "text/html").Want(t, 303).Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		q.Post(t, "/auth/google/link", map[string]any{"exchange_code": page.Query().Get("code"), "code_verifier": verifier}).Want(t, 200)
		if s := tokensOf(t, w.withButton(t, "pribadi@gmail.example", "Q")); s.User.ID != q.ID.String() {
			t.Errorf("%+v", s.User)
		}
	})
}

// TestAuth25_WhoeverRegisteredFirstKeepsNothing tries what Sudhodanan and Paverd (USENIX Security 2022) call pre-hijacking: an account is
// made with the victim's address before the victim comes, here by Google.
func TestAuth25_WhoeverRegisteredFirstKeepsNothing(t *testing.T) {
	t.Parallel()
	w := withGoogle(t)
	const theirs = "kata sandi si penyerang"
	// taken is an address that an attacker has registered, and signed in to.
	taken := func(t *testing.T, email string) apptest.Session {
		t.Helper()
		register(t, w.App, "Penyerang", email, theirs)
		var s apptest.Session
		login(t, w.App, email, theirs).Want(t, 200).Into(t, &s)
		return s
	}
	arrives := func(t *testing.T, email string) string {
		t.Helper()
		s := tokensOf(t, w.withButton(t, email, "Siti"))
		if s.User.Email != email || !s.User.EmailVerified || s.User.HasPassword || !s.User.GoogleLinked {
			t.Errorf("%+v", s.User)
		}
		return s.User.ID
	}
	t.Run("classic-federated merge: the attacker's password is gone", func(t *testing.T) {
		t.Parallel()
		taken(t, "satu@example.com")
		arrives(t, "satu@example.com")
		login(t, w.App, "satu@example.com", theirs).Want(t, 401, "auth.invalid_credentials")
	})
	t.Run("unexpired session: the attacker's sessions are over", func(t *testing.T) {
		t.Parallel()
		s := taken(t, "dua@example.com")
		arrives(t, "dua@example.com")
		w.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 401)
		refresh(t, w.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	})
	t.Run("trojan identifier: nothing can be linked before the owner comes, and nothing that was stays", func(t *testing.T) {
		t.Parallel()
		s := taken(t, "tiga@example.com")
		w.On("").As(s.AccessToken).Post(t, "/auth/google/link", w.proof(t, "penyerang@gmail.example", "P")).Want(t, 403, "auth.email_unverified")
		exec(t, w.App, `insert into central.google_identities select $1, $2, id, 'penyerang@gmail.example', now(), now() from central.users where email = 'tiga@example.com'`,
			w.Config.Identity.Google.Issuer, openid.Subject("penyerang@gmail.example"))
		id := arrives(t, "tiga@example.com")
		if s := tokensOf(t, w.withButton(t, "penyerang@gmail.example", "P")); s.User.ID == id {
			t.Error("the attacker's Google account opens the victim's")
		}
	})
	t.Run("unexpired e-mail change: links of before set no password", func(t *testing.T) {
		t.Parallel()
		taken(t, "empat@example.com")
		arrives(t, "empat@example.com")
		for _, l := range letters(t, w.App, "empat@example.com", 1) {
			verify(t, w.App, l.token(t))
		}
		login(t, w.App, "empat@example.com", theirs).Want(t, 401, "auth.invalid_credentials")
	})
	t.Run("non-verifying provider: an address that it has not verified is nobody's", func(t *testing.T) {
		t.Parallel()
		n := w.nonce(t)
		claims := claimsOf("lima@example.com", "Penyerang", n)
		claims["email_verified"], claims["sub"] = false, "penyerang"
		w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": w.idToken(t, claims), "nonce": n}).Want(t, 401, "auth.google_invalid")
		if n := count(t, w.App, "select count(*) from central.users where email = 'lima@example.com'"); n != 0 {
			t.Error("an account was made")
		}
	})
	t.Run("a disabled account stays shut", func(t *testing.T) {
		t.Parallel()
		p := w.SignUp(t)
		p.Post(t, "/auth/google/link", w.proof(t, "mati@gmail.example", "P")).Want(t, 200)
		if err := w.Identity.Disable(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		w.withButton(t, "mati@gmail.example", "P").Want(t, 401, "auth.invalid_credentials")
	})
}

func TestAuth25_TheLastCredentialCannotBeUnlinked(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	only := tokensOf(t, w.viaBrowser(t, "siti@gmail.example", "Siti"))
	w.On("").As(only.AccessToken).Delete(t, "/auth/google").Want(t, 409, "auth.last_credential")
	tokensOf(t, w.withButton(t, "siti@gmail.example", "Siti"))

	p := w.SignUp(t)
	p.Delete(t, "/auth/google").Want(t, 404, "auth.google_not_linked")
	p.Post(t, "/auth/google/link", w.proof(t, "pribadi@gmail.example", "P")).Want(t, 200)
	clock.forward(16 * time.Minute)
	p.As(refreshed(t, p.Caller, p.RefreshToken).AccessToken).Delete(t, "/auth/google").Want(t, 403, "auth.step_up_required")
	p.SignIn(t)
	p.Delete(t, "/auth/google").Want(t, 200)
	if s := tokensOf(t, w.withButton(t, "pribadi@gmail.example", "P")); s.User.ID == p.ID.String() {
		t.Error("still a way in")
	}
	var me struct {
		User struct {
			GoogleLinked bool `json:"google_linked"`
		} `json:"user"`
	}
	p.Get(t, "/auth/me").Want(t, 200).Into(t, &me)
	if me.User.GoogleLinked {
		t.Error("/auth/me says it is linked")
	}
}

func TestAuth26_RedirectsGoWhereTheConfigurationSays(t *testing.T) {
	t.Parallel()
	w := withGoogle(t)
	for _, to := range []string{
		"https://evil.example", "http://localhost:3000", "http://localhost:3000/google/", "http://localhost:3000/google?x=1", "http://localhost:3000/google#x",
		"HTTP://localhost:3000/google", "http://LOCALHOST:3000/google", "http://localhost:3000/google%2f", "http://localhost:3000//google", "//localhost:3000/google",
		"/google", "http://localhost:3000/google\t", "http://user@localhost:3000/google", "http://localhost:3000\\@evil.example/google", "javascript:alert(1)",
		"http://localhost:3000/settings", googleCallback,
	} {
		w.On("").Get(t, "/auth/google/redirect?redirect_to="+url.QueryEscape(to)).WantField(t, "redirect_to")
		w.On("").Post(t, "/auth/google/login", map[string]any{"code": "x", "code_verifier": strings.Repeat("v", 43), "redirect_uri": to}).
			Want(t, map[bool]int{true: 401, false: 422}[to == googleCallback])
	}
	for _, to := range []string{googlePage, "http://localhost:3000/settings?tab=google"} {
		b := w.begin(t, "?redirect_to="+url.QueryEscape(to), "")
		at := w.comeBack(t, w.choose(t, b.address, "siti@gmail.example", "Siti"), b.cookie, "text/html").Want(t, 303).Header.Get("Location")
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		code := q.Get("code")
		q.Del("code")
		u.RawQuery = q.Encode()
		if u.String() != to || code == "" {
			t.Errorf("to %s, went to %s", to, at)
		}
	}
}

func TestAuth26_NoTokenIsPartOfAnAddress(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	w := withGoogle(t, apptest.WithClock(clock.now))
	const email = "siti@gmail.example"
	verifier := rand.Text() + rand.Text()
	// page goes all the way to the frontend's page, and returns the code that it is given, and the cookie.
	page := func(t *testing.T, challenge string) (code, cookie string) {
		t.Helper()
		query := ""
		if challenge != "" {
			query = "?code_challenge=" + challenge
		}
		b := w.begin(t, query, "")
		r := w.comeBack(t, w.choose(t, b.address, email, "Siti"), b.cookie, "text/html,application/xhtml+xml,*/*;q=0.8").Want(t, 303)
		u, err := url.Parse(r.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if len(u.Query()) != 1 || len(u.Query().Get("code")) != 67 || strings.Contains(u.String(), "eyJ") || strings.Contains(string(r.Raw), "eyJ") {
			t.Errorf("went to %s with %s", u, r.Raw)
		}
		return u.Query().Get("code"), b.cookie
	}
	exchange := func(t *testing.T, code, verifier, cookie string) *apptest.Response {
		t.Helper()
		body := map[string]any{"code": code}
		if verifier != "" {
			body["code_verifier"] = verifier
		}
		return w.On("").Post(t, "/auth/google/exchange", body, "Cookie", cookie)
	}
	t.Run("the page's code is exchanged once, with the page's secret", func(t *testing.T) {
		code, cookie := page(t, s256(verifier))
		tokensOf(t, exchange(t, code, verifier, ""))
		exchange(t, code, verifier, cookie).Want(t, 401, "auth.google_invalid")
		code, cookie = page(t, s256(verifier))
		exchange(t, code, "", cookie).Want(t, 401, "auth.google_invalid")
		exchange(t, code, verifier, cookie).Want(t, 401, "auth.google_invalid") // a wrong try has used it up
		code, cookie = page(t, s256(verifier))
		exchange(t, code, rand.Text()+rand.Text(), cookie).Want(t, 401, "auth.google_invalid")
	})
	t.Run("without one, in the browser that began", func(t *testing.T) {
		code, cookie := page(t, "")
		tokensOf(t, exchange(t, code, "", cookie))
		code, _ = page(t, "")
		exchange(t, code, "", "").Want(t, 401, "auth.google_invalid")
		code, _ = page(t, "")
		exchange(t, code, "", w.begin(t, "", "").cookie).Want(t, 401, "auth.google_invalid") // led there with somebody else's code
	})
	t.Run("for a minute", func(t *testing.T) {
		code, cookie := page(t, "")
		clock.forward(time.Minute + time.Second)
		exchange(t, code, "", cookie).Want(t, 401, "auth.google_invalid")
	})
	t.Run("a refusal is told by its code", func(t *testing.T) {
		b := w.begin(t, "", "")
		at := w.comeBack(t, url.Values{"state": {b.query.Get("state")}, "error": {"<script>"}}, b.cookie, "text/html").Want(t, 303).Header.Get("Location")
		if at != googlePage+"?error=auth.google_invalid" {
			t.Errorf("went to %s", at)
		}
	})
	t.Run("challenges that are none are refused", func(t *testing.T) {
		for _, c := range []string{"x", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("!", 43)} {
			w.On("").Get(t, "/auth/google/redirect?code_challenge="+url.QueryEscape(c)).WantField(t, "code_challenge")
		}
	})
}
