package identity_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/openid"
)

const (
	googlePage     = "http://localhost:3000/google" // of a frontend
	googleCallback = "http://" + apptest.BaseHost + "/api/v1/auth/google/callback"
)

// googleWorld is an app and the OpenID provider that it takes for Google.
type googleWorld struct {
	*apptest.App
	provider *openid.Provider
	server   *httptest.Server
	asked    *atomic.Int64           // requests the provider got
	says     *atomic.Pointer[string] // members that it adds to its keys, as JSON
}

// withGoogle starts a provider, and an app that signs in with it.
func withGoogle(t *testing.T, options ...apptest.Option) googleWorld {
	t.Helper()
	w := googleWorld{asked: &atomic.Int64{}, says: &atomic.Pointer[string]{}}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		says := w.says.Load()
		if says == nil {
			w.provider.ServeHTTP(rw, r)
			return
		}
		answer := httptest.NewRecorder()
		w.provider.ServeHTTP(answer, r)
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		_, _ = io.WriteString(rw, strings.ReplaceAll(answer.Body.String(), `"kty":`, *says+`,"kty":`))
	}))
	t.Cleanup(w.server.Close)
	issuer := w.server.URL + "/o"
	var err error
	w.provider, err = openid.New(openid.Config{Issuer: issuer, ClientID: "homecore", ClientSecret: "rahasia", RedirectURIs: []string{googleCallback, googlePage}})
	if err != nil {
		t.Fatal(err)
	}
	w.App = apptest.New(t, append([]apptest.Option{apptest.With(func(c *app.Config) {
		g := &c.Identity.Google
		g.Issuer, g.ClientID, g.ClientSecret, g.Redirects = issuer, "homecore", "rahasia", []string{googlePage, "http://localhost:3000/settings?tab=google"}
	})}, options...)...)
	return w
}

// atProvider is the browser's client: it follows no redirect by itself.
var atProvider = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// choose signs in at the provider as somebody, as a browser does that was sent to an address there, and returns what the browser
// is sent back with.
func (w googleWorld) choose(t testing.TB, address, email, name string) url.Values {
	t.Helper()
	at := follow(t, atProvider.Get, address)
	page, err := atProvider.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	id := loginID.FindSubmatch(text)
	if id == nil {
		t.Fatalf("no form at %s: %s", at, text)
	}
	back := follow(t, func(to string) (*http.Response, error) {
		return atProvider.PostForm(to, url.Values{"id": {string(id[1])}, "email": {email}, "name": {name}})
	}, w.server.URL+"/o/login")
	back = follow(t, atProvider.Get, back)
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// follow makes a request and returns where it is redirected to.
func follow(t testing.TB, ask func(string) (*http.Response, error), to string) string {
	t.Helper()
	answer, err := ask(to)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	where, err := answer.Location()
	if err != nil {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s leads nowhere: %d %s", to, answer.StatusCode, text)
	}
	return where.String()
}

// begun is a sign-in that a browser has begun.
type begun struct {
	address string // at the provider
	cookie  string // as the browser sends it back
	query   url.Values
}

// begin asks to sign in; query is what goes with it, cookie what the browser has already.
func (w googleWorld) begin(t testing.TB, query, cookie string) begun {
	t.Helper()
	r := w.On("").Get(t, "/auth/google/redirect"+query, "Cookie", cookie).Want(t, 302)
	b := begun{address: r.Header.Get("Location"), cookie: cookiesOf(r.Header)}
	u, err := url.Parse(b.address)
	if err != nil {
		t.Fatal(err)
	}
	b.query = u.Query()
	return b
}

func cookiesOf(h http.Header) string {
	var out []string
	for _, c := range (&http.Response{Header: h}).Cookies() {
		out = append(out, c.Name+"="+c.Value)
	}
	return strings.Join(out, "; ")
}

// comeBack is the browser's return from the provider.
func (w googleWorld) comeBack(t testing.TB, with url.Values, cookie, accept string) *apptest.Response {
	t.Helper()
	return w.On("").Get(t, "/auth/google/callback?"+with.Encode(), "Cookie", cookie, "Accept", accept)
}

// viaBrowser signs in the whole way, as a program that wants JSON.
func (w googleWorld) viaBrowser(t testing.TB, email, name string) *apptest.Response {
	t.Helper()
	b := w.begin(t, "", "")
	return w.comeBack(t, w.choose(t, b.address, email, name), b.cookie, "application/json")
}

// nonce asks for one.
func (w googleWorld) nonce(t testing.TB) string {
	t.Helper()
	var n struct {
		Nonce string `json:"nonce"`
	}
	w.On("").Get(t, "/auth/google/nonce").Want(t, 200).Into(t, &n)
	return n.Nonce
}

// claims are a good id_token's, but for what the provider adds by itself.
func claimsOf(email, name, nonce string) map[string]any {
	return map[string]any{"sub": openid.Subject(email), "email": email, "email_verified": true, "name": name, "nonce": nonce}
}

func (w googleWorld) idToken(t testing.TB, claims map[string]any) string {
	t.Helper()
	token, err := w.provider.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// withButton signs in as a Google button does.
func (w googleWorld) withButton(t testing.TB, email, name string) *apptest.Response {
	t.Helper()
	n := w.nonce(t)
	return w.On("").Post(t, "/auth/google/login", map[string]any{"id_token": w.idToken(t, claimsOf(email, name, n)), "nonce": n})
}

// googleProof is what links an account to somebody at the provider.
func (w googleWorld) proof(t testing.TB, email, name string) map[string]any {
	t.Helper()
	n := w.nonce(t)
	return map[string]any{"id_token": w.idToken(t, claimsOf(email, name, n)), "nonce": n}
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// tokensOf returns the tokens of an answer that signs in.
func tokensOf(t testing.TB, r *apptest.Response) (s struct {
	apptest.Session
	Status string `json:"status"`
	User   struct {
		ID            string `json:"id"`
		Name          string `json:"name"`
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
		HasPassword   bool   `json:"has_password"`
		GoogleLinked  bool   `json:"google_linked"`
	} `json:"user"`
}) {
	t.Helper()
	r.Want(t, 200).Into(t, &s)
	if s.Status != "authenticated" || s.AccessToken == "" {
		t.Fatalf("not signed in: %s", r.Raw)
	}
	return s
}
