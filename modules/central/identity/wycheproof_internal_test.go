package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"garment.id/homecore/platform/fault"
)

// jwsVectors is a file of Wycheproof's about JSON Web Signatures.
type jwsVectors struct {
	TestGroups []struct {
		Comment string          `json:"comment"`
		Public  json.RawMessage `json:"public"`
		Private json.RawMessage `json:"private"`
		Tests   []struct {
			ID      int    `json:"tcId"`
			Comment string `json:"comment"`
			JWS     text   `json:"jws"`
			Result  string `json:"result"`
		} `json:"tests"`
	} `json:"testGroups"`
}

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "wycheproof", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// text is a JWS as it is; one in the JSON form, which is no text, keeps that.
type text string

func (x *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	*x = text(s)
	return nil
}

// keysOf returns the public halves of a group's keys that can be read; symmetric ones have none.
func keysOf(public, private json.RawMessage) (keys []jose.JSONWebKey) {
	raw := public
	if raw == nil {
		raw = private
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil || set.Keys == nil {
		set.Keys = []json.RawMessage{raw}
	}
	for _, k := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(k, &key) == nil {
			if !key.IsPublic() {
				key = key.Public()
			}
			keys = append(keys, key)
		}
	}
	return keys
}

// TestAuth21_WycheproofVectors runs C2SP Wycheproof's vectors against what verifies tokens here.
func TestAuth21_WycheproofVectors(t *testing.T) {
	t.Parallel()
	files := []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"}

	t.Run("no access token is one that another algorithm's key has signed", func(t *testing.T) {
		t.Parallel()
		tokens, set, _ := signedBy(t)
		seen := 0
		for _, file := range files {
			var v jwsVectors
			readVectors(t, file, &v)
			for _, g := range v.TestGroups {
				for _, k := range keysOf(g.Public, g.Private) {
					set.verify[k.KeyID] = set.verify["k1"]
				}
				for _, test := range g.Tests {
					seen++
					if _, err := tokens.verify(t.Context(), string(test.JWS)); !errors.Is(err, fault.Unauthorized) {
						t.Errorf("%s %d (%s): %v", file, test.ID, test.Comment, err)
					}
				}
			}
		}
		if seen < 450 {
			t.Errorf("only %d vectors", seen)
		}
	})

	t.Run("id_tokens: RS256 as it should be, and nothing else", func(t *testing.T) {
		t.Parallel()
		good, bad := 0, 0
		// All three are about a key that the provider has published. Whoever can publish one among the provider's is the provider.
		const faultyChip = "the key is of a chip that made guessable ones (ROCA): a judgement of keys, not of tokens"
		excepted := map[string]string{
			"json_web_key_test.json 7":         faultyChip,
			"json_web_crypto_test.json 46":     faultyChip, // the same key
			"json_web_signature_test.json 355": "the key's key_ops, which no provider writes and go-jose does not read, say that it is for encryption; use is heeded",
		}
		for _, file := range files {
			var v jwsVectors
			readVectors(t, file, &v)
			for _, g := range v.TestGroups {
				keys := keysOf(g.Public, g.Private)
				for _, test := range g.Tests {
					accepted := verifiesRS256(string(test.JWS), keys)
					// An id_token has claims: one without a payload is none, whoever signed it.
					wanted := test.Result == "valid" && isRS256(string(test.JWS)) && !strings.Contains(string(test.JWS), "..")
					if reason, other := excepted[fmt.Sprint(file, " ", test.ID)]; (accepted != wanted) != other {
						t.Errorf("%s %d (%s, %s): accepted %v, want %v %s", file, test.ID, g.Comment, test.Comment, accepted, wanted, reason)
					}
					if accepted {
						good++
					} else {
						bad++
					}
				}
			}
		}
		if good < 8 || bad < 400 {
			t.Errorf("%d were taken and %d refused", good, bad)
		}
	})

	t.Run("Ed25519, as access tokens are signed", func(t *testing.T) {
		t.Parallel()
		var v struct {
			TestGroups []struct {
				PublicKey struct {
					PK string `json:"pk"`
				} `json:"publicKey"`
				Tests []struct {
					ID      int    `json:"tcId"`
					Comment string `json:"comment"`
					Msg     string `json:"msg"`
					Sig     string `json:"sig"`
					Result  string `json:"result"`
				} `json:"tests"`
			} `json:"testGroups"`
		}
		readVectors(t, "ed25519_test.json", &v)
		seen := 0
		for _, g := range v.TestGroups {
			public := unhex(t, g.PublicKey.PK)
			for _, test := range g.Tests {
				seen++
				err := jwt.SigningMethodEdDSA.Verify(string(unhex(t, test.Msg)), unhex(t, test.Sig), ed25519.PublicKey(public))
				if (err == nil) != (test.Result == "valid") {
					t.Errorf("%d (%s): %v, want %s", test.ID, test.Comment, err, test.Result)
				}
			}
		}
		if seen < 140 {
			t.Errorf("only %d vectors", seen)
		}
	})
}

// verifiesRS256 reports whether a JWS would be an id_token's, as far as its spelling and its signature go.
func verifiesRS256(token string, keys []jose.JSONWebKey) bool {
	if !strictJWS(token) {
		return false
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return false
	}
	_, err = verifyWith(signed, keys)
	return err == nil
}

func isRS256(token string) bool {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	return err == nil && signed.Signatures[0].Protected.Algorithm == string(jose.RS256)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestProviderKeysAreAskedForSparingly holds what an unknown key of a token's can make us do: ask the provider once in ten seconds.
func TestProviderKeysAreAskedForSparingly(t *testing.T) {
	t.Parallel()
	asked := 0
	g := newGoogle(Google{Issuer: "http://127.0.0.1:1", ClientID: "homecore"}, testIssuer, time.Now)
	g.keys.load = func(context.Context, *jose.JSONWebKeySet) (*jose.JSONWebKeySet, error) {
		asked++
		return &jose.JSONWebKeySet{}, nil
	}
	token := "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.e30.AAAA" // RS256, kid x
	for range 100 {
		if _, err := g.verify(t.Context(), token, ""); !errors.Is(err, googleRefused) {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
