package identity

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"garment.id/homecore/platform/crypto"
)

// Every parser of what comes from outside is fuzzed; the other targets stand beside what they test. Seeds are in testdata/fuzz.

func FuzzChallengeToken(f *testing.F) {
	public, private := mustKey()
	set := &keySet{signer: private, signerID: "k1", verify: map[string]verifyKey{"k1": {jwtEdDSA, public}}}
	keys := &keyring{clock: time.Now}
	keys.set.timeout = time.Minute
	keys.set.load = func(context.Context, *keySet) (*keySet, error) { return set, nil }
	s := &Service{Deps: Deps{Issuer: testIssuer, Clock: time.Now}, keys: keys, access: newAccessTokens(testIssuer, keys, time.Now)}
	now := time.Now()
	own, err := s.signChallenge(f.Context(), challenge{ID: newID(), UserID: newID(), CreatedAt: now, ExpiresAt: now.Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	access, err := s.access.sign(f.Context(), centralClaims(now))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add(access)
	f.Fuzz(func(t *testing.T, token string) {
		_, _, err := s.verifyChallenge(t.Context(), token)
		switch {
		case token == own && err != nil:
			t.Errorf("its own is refused: %v", err)
		case token != own && !errors.Is(err, twoFactorInvalid):
			t.Errorf("%q: %v", token, err)
		}
	})
}

func FuzzFlowToken(f *testing.F) {
	tokens := flowTokens{mac: crypto.NewKey().Authenticator("test")}
	kinds := []tokenKind{tokenState, tokenNonce, tokenBrowser, tokenProof, tokenLink}
	own := map[string]tokenKind{}
	for _, kind := range kinds {
		token := tokens.encode(kind, newID())
		own[token] = kind
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		for _, kind := range kinds {
			_, err := tokens.decode(kind, token)
			if good := own[token] == kind; good != (err == nil) {
				t.Errorf("%q as kind %d: %v", token, kind, err)
			}
		}
	})
}

func FuzzMailLink(f *testing.F) {
	tokens := linkTokens{mac: crypto.NewKey().Authenticator("test")}
	l := mailLink{ID: newID(), UserID: newID(), Purpose: purposeVerify, Email: "siti@example.com"}
	own := tokens.encode(l)
	f.Add(own)
	f.Fuzz(func(t *testing.T, token string) {
		id, mac, err := tokens.decode(token)
		if err != nil {
			if id != uuid.Nil || mac != nil {
				t.Errorf("%q: gives %s although it refuses", token, id)
			}
			return
		}
		forged := l
		forged.ID = id // whatever row it names, the MAC must be of that row
		if tokens.verify(mac, forged) != (token == own) {
			t.Errorf("%q was taken, or its own was not", token)
		}
	})
}

func FuzzIDToken(f *testing.F) {
	g := newGoogle(Google{Issuer: "http://127.0.0.1:1", ClientID: "homecore"}, testIssuer, time.Now)
	g.keys.load = func(context.Context, *jose.JSONWebKeySet) (*jose.JSONWebKeySet, error) {
		return &jose.JSONWebKeySet{}, nil
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := g.verify(t.Context(), token, ""); !errors.Is(err, googleRefused) {
			t.Errorf("%q: %v", token, err)
		}
	})
}
