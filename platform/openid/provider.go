// Package openid is a small OpenID provider for development and tests: it stands in for Google where Google is out of reach. It speaks
// the whole protocol (zitadel/oidc does: discovery, authorization code, PKCE, nonce, signed id_tokens, keys) and believes everybody who
// says who they are, so it must never be reachable where that matters.
//
//	p, err := openid.New(openid.Config{Issuer: "http://localhost:8080/dev/google", ClientID: "homecore", ClientSecret: "…", RedirectURIs: […]})
//	http.Handle("/dev/google/", p)
package openid

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Config is what the provider is told. Issuer, ClientID and ClientSecret are mandatory.
type Config struct {
	Issuer       string   // where it is reached; it serves what lies below the path
	ClientID     string   // of its one client
	ClientSecret string   // likewise
	RedirectURIs []string // where that may send browsers back to, exactly
	Accounts     []Account
}

// Account is somebody who can be chosen on the provider's page.
type Account struct {
	Email string
	Name  string
}

// Subject is the lasting name of an address at the provider: the same in every process, and not the address.
func Subject(email string) string {
	sum := sha256.Sum256([]byte("openid subject\x00" + email))
	return hex.EncodeToString(sum[:12])
}

// Provider is an OpenID provider.
type Provider struct {
	config  Config
	prefix  string
	storage *storage
	mux     *http.ServeMux
}

// New makes a provider, with a signing key of its own.
func New(config Config) (*Provider, error) {
	issuer, err := url.Parse(config.Issuer)
	if err != nil || issuer.Host == "" || config.ClientID == "" || config.ClientSecret == "" {
		return nil, fmt.Errorf("openid: want an issuer, a client and its secret")
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the provider's key: %w", err)
	}
	p := &Provider{config: config, prefix: strings.TrimSuffix(issuer.Path, "/"), mux: http.NewServeMux()}
	p.storage = newStorage(config, signingKey{id: rand.Text(), key: key})
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte(rand.Text())), CodeMethodS256: true, AuthMethodPost: true,
		SupportedScopes: []string{"openid", "profile", "email"},
	}, p.storage, op.StaticIssuer(config.Issuer), op.WithAllowInsecure())
	if err != nil {
		return nil, fmt.Errorf("make the provider: %w", err)
	}
	back := op.AuthCallbackURL(provider)
	p.mux.HandleFunc("GET /login", p.showLogin)
	p.mux.HandleFunc("POST /login", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.login(w, r, back)
	}))
	p.mux.Handle("/", provider)
	return p, nil
}

// ServeHTTP serves what lies below the issuer's path.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.StripPrefix(p.prefix, p.mux).ServeHTTP(w, r)
}

// Sign returns a token with these claims under the provider's key, for tests of what a provider might say. The issuer, the audience and
// the times are a good id_token's unless given; a claim of nil is left out.
func (p *Provider) Sign(claims map[string]any) (string, error) {
	now := time.Now()
	all := map[string]any{"iss": p.config.Issuer, "aud": p.config.ClientID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	body, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	key := p.storage.key
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key.key, KeyID: key.id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed.CompactSerialize()
}

// PublicKey returns the key that verifies what the provider signs, and its id.
func (p *Provider) PublicKey() (*rsa.PublicKey, string) {
	return &p.storage.key.key.PublicKey, p.storage.key.id
}

func (p *Provider) showLogin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = loginPage.Execute(w, map[string]any{ // a reader who left
		"Action": p.prefix + "/login", "ID": r.URL.Query().Get("id"), "Accounts": p.config.Accounts,
	})
}

// login believes who somebody says they are.
func (p *Provider) login(w http.ResponseWriter, r *http.Request, back func(context.Context, string) string) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	email, name, ok := strings.Cut(r.PostFormValue("account"), "|")
	if !ok {
		email, name = r.PostFormValue("email"), r.PostFormValue("name")
	}
	id := r.PostFormValue("id")
	if email == "" || !p.storage.authenticate(id, Account{Email: email, Name: name}) {
		http.Error(w, "There is nobody to sign in, or the sign-in was not begun here. Go back and start again.", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, back(r.Context(), id), http.StatusFound)
}

var loginPage = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Choose an account</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}
button,input{font:inherit;display:block;width:100%;box-sizing:border-box;padding:.6rem;margin:.4rem 0;text-align:left}</style>
<h1>Choose an account</h1>
<p>This stands in for Google in development. It asks for no password.</p>
<form method="post" action="{{.Action}}"><input type="hidden" name="id" value="{{.ID}}">
{{range .Accounts}}<button name="account" value="{{.Email}}|{{.Name}}">{{.Name}}<br><small>{{.Email}}</small></button>
{{end}}</form>
<form method="post" action="{{.Action}}"><input type="hidden" name="id" value="{{.ID}}">
<label>Another e-mail address<input name="email" type="email" required></label>
<label>Name<input name="name" required></label><button>Continue</button></form>
</html>
`))
