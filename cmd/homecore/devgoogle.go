package main

import (
	_ "embed"
	"net/http"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/openid"
)

// Where dev has its stand-in for Google, and a page that signs in with it as a frontend would.
const (
	devIssuer     = "/dev/openid"
	devGooglePage = "/dev/google"
)

var (
	//go:embed google.html
	googleHTML []byte
	//go:embed google.js
	googleJS []byte
)

// devGoogle gives dev an OpenID provider of its own in place of Google, unless one is configured, and returns the pages that this takes.
// Nothing else calls it: whoever reaches such a provider can be anybody.
func devGoogle(c *app.Config) (func(*http.ServeMux), error) {
	g := &c.Identity.Google
	if g.ClientID != "" {
		return nil, nil
	}
	g.Issuer, g.ClientID, g.ClientSecret = c.Origin()+devIssuer, "homecore", crypto.Secret(crypto.Token(32))
	if len(g.Redirects) == 0 {
		g.Redirects = []string{c.Origin() + devGooglePage}
	}
	provider, err := openid.New(openid.Config{
		Issuer: g.Issuer, ClientID: g.ClientID, ClientSecret: g.ClientSecret.Reveal(),
		RedirectURIs: append([]string{c.Origin() + "/api/v1/auth/google/callback"}, g.Redirects...),
		Accounts:     []openid.Account{{Email: "siti.aminah@gmail.example", Name: "Siti Aminah"}, {Email: "budi.santoso@gmail.example", Name: "Budi Santoso"}},
	})
	if err != nil {
		return nil, err
	}
	return func(mux *http.ServeMux) {
		mux.Handle(devIssuer+"/", provider)
		mux.HandleFunc("GET "+devGooglePage, devPage("text/html; charset=utf-8", googleHTML))
		mux.HandleFunc("GET "+devGooglePage+".js", devPage("text/javascript; charset=utf-8", googleJS))
	}, nil
}

func devPage(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'")
		_, _ = w.Write(content) // a reader who left
	}
}
