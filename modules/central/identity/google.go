package identity

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/markbates/goth"
	"github.com/markbates/goth/providers/openidConnect"
	"golang.org/x/oauth2"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// Google is how an installation signs in with Google, or with another OpenID provider in its place.
type Google struct {
	Issuer       string        `env:"ISSUER" envDefault:"https://accounts.google.com"` // The OpenID provider.
	ClientID     string        `env:"CLIENT_ID"`                                       // What the provider calls us; empty: there is no Login with Google.
	ClientSecret crypto.Secret `env:"CLIENT_SECRET"`                                   // Proves to the provider that we are it.
	Redirects    []string      `env:"REDIRECTS"`                                       // Pages that a sign-in may return to, compared exactly; the first is the default.
}

func (g Google) check() error {
	if g.ClientID == "" {
		return nil
	}
	if g.ClientSecret.Reveal() == "" {
		return errors.New("GOOGLE_CLIENT_SECRET: is required with GOOGLE_CLIENT_ID")
	}
	for name, addresses := range map[string][]string{"GOOGLE_ISSUER": {g.Issuer}, "GOOGLE_REDIRECTS": g.Redirects} {
		for _, a := range addresses {
			u, err := url.Parse(a)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
				return fmt.Errorf("%s: want https://… without a fragment", name)
			}
		}
	}
	return nil
}

const (
	googleKeysFresh  = time.Hour        // the provider's keys are read again after this,
	googleAskedAgain = 10 * time.Second // and for a key that nobody knows, at most this often
	googleTolerate   = 24 * time.Hour   // keys of before will do while the provider is away
	googleTimeout    = 5 * time.Second  // for anything that the provider is asked
	maxGoogleAnswer  = 1 << 20
	maxIDToken       = 8 << 10
)

// google is the provider. It is not asked for anything before somebody signs in.
type google struct {
	config   Google
	callback string
	clock    func() time.Time
	http     *http.Client
	meta     snapshot[*oidc.Provider]
	keys     snapshot[*jose.JSONWebKeySet]
}

func newGoogle(config Google, issuer string, clock func() time.Time) *google {
	g := &google{
		config: config, callback: issuer + "/api/v1/auth/google/callback", clock: clock,
		http: &http.Client{
			Timeout: googleTimeout, Transport: bounded{http.DefaultTransport},
			// What a provider says stands at the address it is known by, and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	g.meta.load, g.meta.timeout = g.discover, googleTimeout
	g.keys.load, g.keys.timeout = g.readKeys, 2*googleTimeout
	return g
}

func (g *google) configured() error {
	if g.config.ClientID == "" {
		return googleAbsent
	}
	return nil
}

// bounded reads no more of an answer than any should have.
type bounded struct{ next http.RoundTripper }

// RoundTrip does the request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxGoogleAnswer), answer.Body}
	}
	return answer, err
}

func (g *google) discover(ctx context.Context, _ *oidc.Provider) (*oidc.Provider, error) {
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, g.http), g.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask %s what it offers: %w", g.config.Issuer, err)
	}
	return p, nil
}

// provider returns what the provider offers, or the fault that says it is away.
func (g *google) provider(ctx context.Context) (*oidc.Provider, error) {
	p, err := g.meta.get(ctx, googleKeysFresh, googleTolerate)
	if err != nil {
		return nil, googleAway.WithCause(err)
	}
	return p, nil
}

func (g *google) readKeys(ctx context.Context, _ *jose.JSONWebKeySet) (*jose.JSONWebKeySet, error) {
	p, err := g.meta.get(ctx, googleKeysFresh, googleTolerate)
	if err != nil {
		return nil, err
	}
	var says struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&says); err != nil {
		return nil, fmt.Errorf("read what %s offers: %w", g.config.Issuer, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, says.Keys, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its keys: %w", g.config.Issuer, err)
	}
	answer, err := g.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its keys: %w", g.config.Issuer, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask %s for its keys: status %d", g.config.Issuer, answer.StatusCode)
	}
	var published struct {
		Keys []providerKey `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&published); err != nil {
		return nil, fmt.Errorf("read the keys of %s: %w", g.config.Issuer, err)
	}
	var set jose.JSONWebKeySet
	for _, key := range published.Keys {
		if key.verifies {
			set.Keys = append(set.Keys, key.JSONWebKey)
		}
	}
	return &set, nil
}

// providerKey is a key as a provider publishes it. The library keeps use, and forgets key_ops (RFC 7517 §4.3), which says the same.
type providerKey struct {
	jose.JSONWebKey
	verifies bool // is for verifying, as far as key_ops says
}

// UnmarshalJSON reads a key.
func (k *providerKey) UnmarshalJSON(raw []byte) error {
	var says struct {
		Operations []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &says); err != nil {
		return err
	}
	k.verifies = says.Operations == nil || slices.Contains(says.Operations, "verify")
	return k.JSONWebKey.UnmarshalJSON(raw)
}

// address returns where a browser goes to sign in. What goth's provider for Google lacks, nonce and PKCE, its general one can be told.
func (g *google) address(ctx context.Context, state, nonce, verifier string) (string, error) {
	client, err := g.client(ctx)
	if err != nil {
		return "", err
	}
	client.SetAuthCodeOptions(map[string]string{
		"nonce": nonce, "code_challenge": challengeOf(verifier), "code_challenge_method": "S256", "prompt": "select_account",
	})
	begun, err := client.BeginAuth(state)
	if err != nil {
		return "", fmt.Errorf("begin a sign-in with Google: %w", err)
	}
	return begun.GetAuthURL()
}

// challengeOf is PKCE's S256 (RFC 7636 §4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (g *google) client(ctx context.Context) (*openidConnect.Provider, error) {
	p, err := g.provider(ctx)
	if err != nil {
		return nil, err
	}
	at := p.Endpoint()
	client, err := openidConnect.NewCustomisedURL(g.config.ClientID, g.config.ClientSecret.Reveal(), g.callback, at.AuthURL, at.TokenURL, g.config.Issuer, "", "",
		oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile)
	if err != nil {
		return nil, googleAway.WithCause(err)
	}
	client.HTTPClient = g.http
	return client, nil
}

// exchange returns the id_token that the provider gives for a code: googleRefused for a code that is not good here.
func (g *google) exchange(ctx context.Context, code, verifier, redirectURI string) (string, error) {
	client, err := g.client(ctx)
	if err != nil {
		return "", err
	}
	var got openidConnect.Session
	_, err = got.Authorize(client, goth.Params(url.Values{"code": {code}, "code_verifier": {verifier}, "redirect_uri": {redirectURI}}))
	var said *oauth2.RetrieveError
	if errors.As(err, &said) && (said.ErrorCode == "invalid_grant" || said.ErrorCode == "invalid_request") {
		return "", googleRefused
	}
	if err != nil {
		return "", googleAway.WithCause(fmt.Errorf("exchange a code: %w", withoutBody(err)))
	}
	if got.IDToken == "" {
		return "", googleAway.WithCause(errors.New("exchange a code: the provider gave no id_token"))
	}
	return got.IDToken, nil
}

// withoutBody keeps what a provider answered out of the log.
func withoutBody(err error) error {
	var said *oauth2.RetrieveError
	if errors.As(err, &said) {
		return fmt.Errorf("status %d %s", said.Response.StatusCode, said.ErrorCode)
	}
	return err
}

// person is somebody the provider vouches for.
type person struct {
	Subject string
	Email   string // normalised; the provider says that it is theirs
	Name    string
	// Of the token that said so.
	hash    []byte
	expires time.Time
}

// verify returns whom an id_token speaks of: googleRefused for one that is not good here and now, another fault only where the
// provider's keys cannot be had. The nonce must be the token's; "" where PKCE alone binds the token to who asked for it.
func (g *google) verify(ctx context.Context, raw, nonce string) (person, error) {
	if !strictJWS(raw) {
		return person{}, googleRefused
	}
	keys := &providerKeys{google: g}
	// RS256 is what OpenID Connect obliges every provider to (Core §3.1.3.7); nothing else is needed, and so nothing else is taken.
	verifier := oidc.NewVerifier(g.config.Issuer, keys, &oidc.Config{ClientID: g.config.ClientID, SupportedSigningAlgs: []string{oidc.RS256}, Now: g.clock})
	token, err := verifier.Verify(ctx, raw)
	if keys.err != nil {
		return person{}, keys.err
	}
	if err != nil {
		return person{}, googleRefused
	}
	var c struct {
		Email         string          `json:"email"`
		EmailVerified json.RawMessage `json:"email_verified"`
		Name          string          `json:"name"`
	}
	if token.Claims(&c) != nil {
		return person{}, googleRefused
	}
	email, err := normaliseEmail(c.Email)
	switch {
	case err != nil, string(c.EmailVerified) != "true", // the text "false" is true to many
		token.Subject == "", len(token.Subject) > 255, !isPlainText(token.Subject),
		len(token.Audience) != 1,
		token.IssuedAt.IsZero(), token.IssuedAt.After(g.clock().Add(issuedLeeway)),
		nonce != "" && subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return person{}, googleRefused
	}
	signed := sha256.Sum256([]byte(raw[:strings.LastIndexByte(raw, '.')]))
	return person{Subject: token.Subject, Email: email, Name: strings.TrimSpace(c.Name), hash: signed[:], expires: token.Expiry}, nil
}

func isPlainText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) // OpenID Connect Core §2: ASCII
}

// strictJWS reports whether token is a JWS in its compact form, spelt in the one way: libraries overlook blanks and stray bits.
func strictJWS(token string) bool {
	if len(token) > maxIDToken {
		return false
	}
	parts := strings.Split(token, ".")
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool { return len(decodeBase64(p)) == 0 })
}

// providerKeys verifies signatures with the provider's keys. It remembers that these could not be had, which go-oidc takes for a bad signature.
type providerKeys struct {
	google *google
	err    error
}

var errSignature = errors.New("no key of the provider's has signed this")

// VerifySignature returns what was signed.
func (k *providerKeys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, err
	}
	kid := signed.Signatures[0].Protected.KeyID
	if kid == "" {
		return nil, errSignature
	}
	set, err := k.google.keys.get(ctx, googleKeysFresh, googleTolerate)
	if err == nil && len(set.Key(kid)) == 0 {
		set, err = k.google.keys.get(ctx, googleAskedAgain, googleTolerate)
	}
	if err != nil {
		k.err = googleAway.WithCause(err)
		return nil, k.err
	}
	return verifyWith(signed, set.Key(kid))
}

// verifyWith tries the keys of one id that are for RS256 signatures. Which key it is says the provider; what the token's header
// brings along is not looked at.
func verifyWith(signed *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	for _, key := range keys {
		public, ok := key.Key.(*rsa.PublicKey)
		if !ok || public.N.BitLen() < 2048 || public.E < 65537 { // RFC 7518 §3.3; an exponent of 1 signs everything
			continue
		}
		if !key.Valid() || key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != string(jose.RS256) {
			continue
		}
		if payload, err := signed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// What signing in with Google refuses.
var (
	googleAbsent  = fault.New(fault.NotFound, "auth.google_unavailable", "Masuk dengan Google tidak tersedia di sini.", "Signing in with Google is not offered here.")
	googleRefused = fault.New(fault.Unauthenticated, "auth.google_invalid", "Masuk dengan Google gagal. Silakan coba lagi.",
		"The sign-in with Google did not succeed. Please try again.")
	googleCancelled = fault.New(fault.Unauthenticated, "auth.google_cancelled", "Masuk dengan Google dibatalkan.", "The sign-in with Google was cancelled.")
	googleAway      = fault.New(fault.Unavailable, "service.unavailable", "Google sedang tidak dapat dihubungi. Coba lagi sebentar lagi, atau masuk dengan kata sandi.",
		"Google cannot be reached just now. Try again shortly, or sign in with your password.")
	googleLinkRequired = fault.New(fault.Conflict, "auth.google_link_required",
		"Alamat email ini sudah memiliki akun. Masuk dengan kata sandi Anda, lalu hubungkan Google.",
		"This e-mail address already has an account. Sign in with your password, then link Google.")
	googleInUse    = fault.New(fault.Conflict, "auth.google_in_use", "Akun Google ini sudah terhubung dengan akun lain.", "This Google account is linked to another account.")
	googleLinked   = fault.New(fault.Conflict, "auth.google_linked", "Akun Anda sudah terhubung dengan akun Google lain. Putuskan dahulu.", "Your account is linked to another Google account. Unlink that one first.")
	googleUnlinked = fault.New(fault.NotFound, "auth.google_not_linked", "Akun Anda tidak terhubung dengan Google.", "Your account is not linked to Google.")
	lastCredential = fault.New(fault.Conflict, "auth.last_credential", "Ini satu-satunya cara Anda masuk. Tetapkan kata sandi terlebih dahulu.",
		"This is the only way you can sign in. Set a password first.")
)
