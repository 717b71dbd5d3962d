package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

const testIssuer = "http://localhost:8080"

// signedBy returns access tokens whose only active key is made here, and a clock to move.
func signedBy(t *testing.T) (tokens *accessTokens, set *keySet, clock *atomic.Int64) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	set = &keySet{signer: private, signerID: "k1", verify: map[string]verifyKey{"k1": {jwt.SigningMethodEdDSA, public}}}
	clock = &atomic.Int64{}
	clock.Store(time.Date(2026, 3, 3, 16, 0, 16, 0, time.UTC).Unix())
	now := func() time.Time { return time.Unix(clock.Load(), 0).UTC() }
	keys := &keyring{clock: now}
	keys.set.timeout = time.Minute
	keys.set.load = func(context.Context, *keySet) (*keySet, error) { return set, nil }
	return newAccessTokens(testIssuer, keys, now), set, clock
}

func centralClaims(now time.Time) claims {
	return claims{
		Subject: newID(), Audience: audienceCentral, SessionID: newID(), AMR: []string{"pwd"},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(10 * time.Minute)), AuthTime: jwt.NewNumericDate(now),
	}
}

func tenantClaims(now time.Time) claims {
	c, tenant := centralClaims(now), newID()
	c.Audience, c.TenantID, c.Slug, c.Version = tenantAudience(tenant), &tenant, "konveksi", 3
	return c
}

func TestAccessToken(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tokens, _, clock := signedBy(t)

	t.Run("carries what the contract says", func(t *testing.T) {
		t.Parallel()
		c := tenantClaims(tokens.clock())
		token, err := tokens.sign(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		header, payload := map[string]any{}, map[string]any{}
		for i, into := range []*map[string]any{&header, &payload} {
			raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
			if err != nil || json.Unmarshal(raw, into) != nil {
				t.Fatal(err)
			}
		}
		if header["typ"] != "at+jwt" || header["kid"] != "k1" || header["alg"] != "EdDSA" || len(header) != 3 {
			t.Errorf("header %v", header)
		}
		for name, want := range map[string]any{
			"iss": testIssuer, "sub": c.Subject.String(), "aud": "homecore:tenant:" + c.TenantID.String(), "sid": c.SessionID.String(),
			"tid": c.TenantID.String(), "slug": "konveksi", "ver": 3.0, "iat": float64(clock.Load()), "exp": float64(clock.Load() + 600), "auth_time": float64(clock.Load()),
		} {
			if payload[name] != want {
				t.Errorf("%s is %v, want %v", name, payload[name], want)
			}
		}
		if payload["jti"] == "" || fmt.Sprint(payload["amr"]) != "[pwd]" || len(payload) != 12 {
			t.Errorf("payload %v", payload)
		}
	})
	t.Run("says who it speaks for, each time", func(t *testing.T) {
		t.Parallel()
		for _, c := range []claims{centralClaims(tokens.clock()), tenantClaims(tokens.clock())} {
			token, err := tokens.sign(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time from memory
				p, err := tokens.verify(ctx, token)
				if err != nil || p.UserID != c.Subject || p.SessionID != c.SessionID || p.MembershipVersion != c.Version || p.TenantSlug != c.Slug ||
					p.Central() != (c.TenantID == nil) || !p.ExpiresAt.Equal(c.ExpiresAt.Time) || len(p.AMR) != 1 {
					t.Errorf("%+v, %v", p, err)
				}
			}
		}
	})
}

// TestAuth21_ForgedTokensAreRefused is the table of what has been tried on such tokens.
func TestAuth21_ForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	outside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer outside.Close()

	otherPublic, otherPrivate, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(nil, 2048)
	if err != nil {
		t.Fatal(err)
	}
	type attempt struct {
		method jwt.SigningMethod
		key    any
		header map[string]any
		claims map[string]any
	}
	for name, change := range map[string]func(a *attempt, public ed25519.PublicKey){
		"alg none": func(a *attempt, _ ed25519.PublicKey) {
			a.method, a.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
		},
		"HS256 with the public key": func(a *attempt, public ed25519.PublicKey) { a.method, a.key = jwt.SigningMethodHS256, []byte(public) },
		"HS256 with the public key as PEM": func(a *attempt, public ed25519.PublicKey) {
			der, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			a.method, a.key = jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		},
		"RS256 under the same kid":       func(a *attempt, _ ed25519.PublicKey) { a.method, a.key = jwt.SigningMethodRS256, rsaKey },
		"another key under the same kid": func(a *attempt, _ ed25519.PublicKey) { a.key = otherPrivate },
		"an unknown kid":                 func(a *attempt, _ ed25519.PublicKey) { a.header["kid"] = "k2" },
		"no kid":                         func(a *attempt, _ ed25519.PublicKey) { delete(a.header, "kid") },
		"a kid that is no text":          func(a *attempt, _ ed25519.PublicKey) { a.header["kid"] = 1 },
		"typ JWT":                        func(a *attempt, _ ed25519.PublicKey) { a.header["typ"] = "JWT" },
		"typ mfa+jwt":                    func(a *attempt, _ ed25519.PublicKey) { a.header["typ"] = "mfa+jwt" },
		"no typ":                         func(a *attempt, _ ed25519.PublicKey) { delete(a.header, "typ") },
		"jku":                            func(a *attempt, _ ed25519.PublicKey) { a.key, a.header["jku"] = otherPrivate, outside.URL },
		"x5u":                            func(a *attempt, _ ed25519.PublicKey) { a.key, a.header["x5u"] = otherPrivate, outside.URL },
		"jku, well signed":               func(a *attempt, _ ed25519.PublicKey) { a.header["jku"] = outside.URL },
		"crit, well signed":              func(a *attempt, _ ed25519.PublicKey) { a.header["crit"] = []string{"exp"} },
		"jwk": func(a *attempt, _ ed25519.PublicKey) {
			a.key = otherPrivate
			a.header["jwk"] = jwk{KTY: "OKP", CRV: "Ed25519", X: base64.RawURLEncoding.EncodeToString(otherPublic)}
		},
		"x5c": func(a *attempt, _ ed25519.PublicKey) {
			a.key, a.header["x5c"] = otherPrivate, []string{base64.StdEncoding.EncodeToString(otherPublic)}
		},
		"an unencoded payload, well signed (RFC 7797)": func(a *attempt, _ ed25519.PublicKey) { a.header["b64"], a.header["crit"] = false, []string{"b64"} },
		"zip, well signed":                    func(a *attempt, _ ed25519.PublicKey) { a.header["zip"] = "DEF" },
		"cty JWT, well signed":                func(a *attempt, _ ed25519.PublicKey) { a.header["cty"] = "JWT" },
		"typ at+JWT, well signed":             func(a *attempt, _ ed25519.PublicKey) { a.header["typ"] = "at+JWT" },
		"typ application/at+jwt, well signed": func(a *attempt, _ ed25519.PublicKey) { a.header["typ"] = "application/at+jwt" },
		"a kid that is a path":                func(a *attempt, _ ed25519.PublicKey) { a.header["kid"] = "../../k1" },
		"a kid that is SQL":                   func(a *attempt, _ ed25519.PublicKey) { a.header["kid"] = "k1' or '1'='1" },
		"an empty kid":                        func(a *attempt, _ ed25519.PublicKey) { a.header["kid"] = "" },
		"HS256 with an empty key":             func(a *attempt, _ ed25519.PublicKey) { a.method, a.key = jwt.SigningMethodHS256, []byte{} },
		"no auth_time":                        func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "auth_time") },
		"a sub that is no id":                 func(a *attempt, _ ed25519.PublicKey) { a.claims["sub"] = "admin" },
		"a tenant's audience in capitals": func(a *attempt, _ ed25519.PublicKey) {
			asTenant(a.claims)
			a.claims["aud"] = strings.ToUpper(a.claims["aud"].(string))
		},
		"another issuer":             func(a *attempt, _ ed25519.PublicKey) { a.claims["iss"] = "http://localhost:8081" },
		"no issuer":                  func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "iss") },
		"another audience":           func(a *attempt, _ ed25519.PublicKey) { a.claims["aud"] = "homecore" },
		"no audience":                func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "aud") },
		"two audiences":              func(a *attempt, _ ed25519.PublicKey) { a.claims["aud"] = []string{"homecore:central", "x"} },
		"a tenant that is no id":     func(a *attempt, _ ed25519.PublicKey) { a.claims["aud"] = "homecore:tenant:konveksi" },
		"a tenant without tid":       func(a *attempt, _ ed25519.PublicKey) { a.claims["aud"] = "homecore:tenant:" + newID().String() },
		"tid on a central token":     func(a *attempt, _ ed25519.PublicKey) { a.claims["tid"] = newID().String() },
		"tid other than the aud's":   func(a *attempt, _ ed25519.PublicKey) { asTenant(a.claims); a.claims["tid"] = newID().String() },
		"a tenant token without ver": func(a *attempt, _ ed25519.PublicKey) { asTenant(a.claims); delete(a.claims, "ver") },
		"no exp":                     func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "exp") },
		"no iat":                     func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "iat") },
		"exp as text":                func(a *attempt, _ ed25519.PublicKey) { a.claims["exp"] = fmt.Sprint(a.claims["exp"]) },
		"iat as text":                func(a *attempt, _ ed25519.PublicKey) { a.claims["iat"] = fmt.Sprint(a.claims["iat"]) },
		"auth_time as text":          func(a *attempt, _ ed25519.PublicKey) { a.claims["auth_time"] = fmt.Sprint(a.claims["auth_time"]) },
		"exp that is null":           func(a *attempt, _ ed25519.PublicKey) { a.claims["exp"] = nil },
		"iat half a minute ahead":    func(a *attempt, _ ed25519.PublicKey) { a.claims["iat"] = a.claims["iat"].(int64) + 31 },
		"no jti":                     func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "jti") },
		"no sid":                     func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "sid") },
		"no sub":                     func(a *attempt, _ ed25519.PublicKey) { delete(a.claims, "sub") },
		"expired and another issuer": func(a *attempt, _ ed25519.PublicKey) { a.claims["exp"], a.claims["iss"] = int64(1), "x" },
		"expired and another key":    func(a *attempt, _ ed25519.PublicKey) { a.claims["exp"], a.key = int64(1), otherPrivate },
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			tokens, set, clock := signedBy(t)
			a := attempt{
				method: jwt.SigningMethodEdDSA, key: set.signer,
				header: map[string]any{"typ": "at+jwt", "kid": "k1"},
				claims: map[string]any{
					"iss": testIssuer, "sub": newID().String(), "aud": "homecore:central", "sid": newID().String(), "jti": "x", "amr": []string{"pwd"},
					"iat": clock.Load(), "exp": clock.Load() + 600, "auth_time": clock.Load(),
				},
			}
			if _, err := tokens.verify(t.Context(), mint(t, a.method, a.key, a.header, a.claims)); err != nil {
				t.Fatalf("the token is not even good before the attack: %v", err)
			}
			change(&a, set.verify["k1"].public)
			if _, err := tokens.verify(t.Context(), mint(t, a.method, a.key, a.header, a.claims)); !errors.Is(err, fault.Unauthorized) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Cleanup(func() {
		if calls.Load() > 0 {
			t.Error("a token made us call its sender")
		}
	})
}

// A challenge's dates are numbers as well.
func TestAuth21_ChallengeTokensHaveDates(t *testing.T) {
	t.Parallel()
	tokens, set, clock := signedBy(t)
	s := &Service{Deps: Deps{Issuer: testIssuer, Clock: tokens.clock}, keys: tokens.keys, access: tokens}
	for _, text := range []string{"", "iat", "exp"} {
		c := map[string]any{"iss": testIssuer, "sub": newID().String(), "aud": "homecore:challenge", "jti": newID().String(), "iat": clock.Load(), "exp": clock.Load() + 300}
		if text != "" {
			c[text] = fmt.Sprint(c[text])
		}
		token := mint(t, jwt.SigningMethodEdDSA, set.signer, map[string]any{"typ": "mfa+jwt", "kid": "k1"}, c)
		if _, _, err := s.verifyChallenge(t.Context(), token); (err == nil) != (text == "") || err != nil && !errors.Is(err, twoFactorInvalid) {
			t.Errorf("%q as text: %v", text, err)
		}
	}
}

func asTenant(c map[string]any) {
	id := newID().String()
	c["aud"], c["tid"], c["slug"], c["ver"] = "homecore:tenant:"+id, id, "konveksi", 1
}

func mint(t *testing.T, method jwt.SigningMethod, key any, header, body map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(body))
	token.Header = map[string]any{"alg": method.Alg()}
	for k, v := range header {
		token.Header[k] = v
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestAccessTokenTampered(t *testing.T) {
	t.Parallel()
	tokens, _, _ := signedBy(t)
	token, err := tokens.sign(t.Context(), tenantClaims(tokens.clock()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(token) {
		other := "A"
		if token[i] == 'A' {
			other = "B"
		}
		altered := token[:i] + other + token[i+1:]
		if _, err := tokens.verify(t.Context(), altered); !errors.Is(err, fault.Unauthorized) {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	for _, s := range []string{"", ".", "..", token + ".", token + "=", token + "\n", token[:len(token)-1], strings.Repeat("a", 1<<20), strings.Repeat("a.", 1000)} {
		if _, err := tokens.verify(t.Context(), s); !errors.Is(err, fault.Unauthorized) {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

func TestAccessTokenExpires(t *testing.T) {
	t.Parallel()
	for _, remembered := range []bool{false, true} {
		tokens, _, clock := signedBy(t)
		token, err := tokens.sign(t.Context(), centralClaims(tokens.clock()))
		if err != nil {
			t.Fatal(err)
		}
		if remembered {
			if _, err := tokens.verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		clock.Add(600)
		if _, err := tokens.verify(t.Context(), token); !errors.Is(err, tokenExpired) {
			t.Errorf("remembered %v: %v", remembered, err)
		}
	}
}

func TestAccessTokenOfWithdrawnKey(t *testing.T) {
	t.Parallel()
	tokens, set, _ := signedBy(t)
	token, err := tokens.sign(t.Context(), centralClaims(tokens.clock()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	withdrawn := &keySet{verify: map[string]verifyKey{"k2": set.verify["k1"]}}
	tokens.keys.set.load = func(context.Context, *keySet) (*keySet, error) { return withdrawn, nil }
	if _, err := tokens.keys.set.get(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.verify(t.Context(), token); !errors.Is(err, fault.Unauthorized) {
		t.Errorf("remembered past its key: %v", err)
	}
}

func mustKey() (ed25519.PublicKey, ed25519.PrivateKey) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return public, private
}

var jwtEdDSA = jwt.SigningMethodEdDSA

func FuzzAccessToken(f *testing.F) {
	public, private := mustKey()
	set := &keySet{signer: private, signerID: "k1", verify: map[string]verifyKey{"k1": {jwtEdDSA, public}}}
	keys := &keyring{clock: time.Now}
	keys.set.timeout = time.Minute
	keys.set.load = func(context.Context, *keySet) (*keySet, error) { return set, nil }
	tokens := newAccessTokens(testIssuer, keys, time.Now)
	c := centralClaims(time.Now())
	c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(24 * time.Hour))
	own, err := tokens.sign(f.Context(), c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Fuzz(func(t *testing.T, token string) {
		_, err := tokens.verify(t.Context(), token)
		switch {
		case token == own && err != nil:
			t.Errorf("its own is refused: %v", err)
		case token != own && !errors.Is(err, fault.Unauthorized):
			t.Errorf("%q: %v", token, err)
		}
	})
}

func TestRefreshToken(t *testing.T) {
	t.Parallel()
	tokens := refreshTokens{mac: crypto.NewKey().Authenticator("test")}
	c := chain{ID: newID(), Nonce: crypto.Bytes(nonceBytes), Generation: 7}
	token := tokens.encode(c)

	t.Run("comes back as it was made", func(t *testing.T) {
		t.Parallel()
		p, err := tokens.decode(token)
		if err != nil || p.chainID != c.ID || p.generation != 7 || !tokens.verify(p, c) {
			t.Errorf("%+v, %v", p, err)
		}
		if token != tokens.encode(c) {
			t.Error("the current token is not the same when asked for again")
		}
	})
	t.Run("is good for its chain, nonce, key and generation alone", func(t *testing.T) {
		t.Parallel()
		p, err := tokens.decode(token)
		if err != nil {
			t.Fatal(err)
		}
		other, renewed := c, c
		other.ID, renewed.Nonce = newID(), crypto.Bytes(nonceBytes)
		next := p
		next.generation++
		if tokens.verify(p, other) || tokens.verify(p, renewed) || tokens.verify(next, c) ||
			(refreshTokens{mac: crypto.NewKey().Authenticator("test")}).verify(p, c) {
			t.Error("taken where it does not belong")
		}
	})
	t.Run("is refused with any character altered, cut or added", func(t *testing.T) {
		t.Parallel()
		for i := range len(token) {
			other := "A"
			if token[i] == 'A' {
				other = "B"
			}
			if p, err := tokens.decode(token[:i] + other + token[i+1:]); err == nil && tokens.verify(p, c) {
				t.Errorf("character %d altered", i)
			}
			if _, err := tokens.decode(token[:i]); err == nil {
				t.Errorf("cut to %d", i)
			}
		}
		for _, tail := range []string{"A", "=", "\n"} {
			if _, err := tokens.decode(token + tail); err == nil {
				t.Errorf("lengthened by %q", tail)
			}
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	tokens := refreshTokens{mac: crypto.NewKey().Authenticator("test")}
	c := chain{ID: newID(), Nonce: crypto.Bytes(nonceBytes), Generation: 1}
	f.Add(refreshTokens{mac: crypto.NewKey().Authenticator("other")}.encode(c))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := tokens.decode(token)
		if err != nil {
			return
		}
		c.ID = p.chainID
		if tokens.verify(p, c) {
			t.Errorf("%q was taken", token)
		}
	})
}

func TestLinkToken(t *testing.T) {
	t.Parallel()
	tokens := linkTokens{mac: crypto.NewKey().Authenticator("test")}
	l := mailLink{ID: newID(), UserID: newID(), Purpose: purposeVerify, Email: "siti@example.com"}
	id, mac, err := tokens.decode(tokens.encode(l))
	if err != nil || id != l.ID || !tokens.verify(mac, l) {
		t.Fatal(id, err)
	}
	for name, change := range map[string]func(*mailLink){
		"another link": func(l *mailLink) { l.ID = newID() }, "another account": func(l *mailLink) { l.UserID = newID() },
		"another purpose": func(l *mailLink) { l.Purpose = "reset_password" }, "another address": func(l *mailLink) { l.Email = "budi@example.com" },
	} {
		other := l
		change(&other)
		if tokens.verify(mac, other) {
			t.Error("good for " + name)
		}
	}
}

func TestAudience(t *testing.T) {
	t.Parallel()
	id := newID()
	for a, want := range map[audience]uuid.UUID{audienceCentral: uuid.Nil, tenantAudience(id): id} {
		if got, ok := a.tenant(); !ok || got != want {
			t.Errorf("%s: %s %v", a, got, ok)
		}
	}
	for _, a := range []audience{"", "homecore", "homecore:tenant:", "homecore:tenant:x", audience("homecore:tenant:" + strings.ToUpper(id.String())),
		audience("homecore:tenant:{" + id.String() + "}"), audience("homecore:tenant:" + uuid.Nil.String()), audience(id.String())} {
		if _, ok := a.tenant(); ok {
			t.Errorf("took %q", a)
		}
	}
}
