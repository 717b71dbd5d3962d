package crypto_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"garment.id/homecore/platform/crypto"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	raw := crypto.Bytes(crypto.KeySize)
	want, err := crypto.ParseKey(hex.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("reads hexadecimal and every base64 alike", func(t *testing.T) {
		t.Parallel()
		for _, s := range []string{
			strings.ToUpper(hex.EncodeToString(raw)), "  " + hex.EncodeToString(raw) + "\n",
			base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
			base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), want.Encode().Reveal(),
		} {
			if got, err := crypto.ParseKey(s); err != nil || got != want {
				t.Errorf("ParseKey of one form: %v", err)
			}
		}
	})
	t.Run("refuses anything else without repeating it", func(t *testing.T) {
		t.Parallel()
		for s, wanted := range map[string]error{
			"":                              crypto.ErrKeyLength,
			"c2hvcnQ=":                      crypto.ErrKeyLength,
			"hunter2 is not base64 at all!": crypto.ErrKeyEncoding,
			strings.Repeat("00", 32):        crypto.ErrKeyWeak,
			hex.EncodeToString(raw) + "00":  crypto.ErrKeyLength,
		} {
			_, err := crypto.ParseKey(s)
			if !errors.Is(err, wanted) {
				t.Errorf("%q: got %v, want %v", s, err, wanted)
			}
			if len(s) > 4 && err != nil && strings.Contains(err.Error(), s) {
				t.Errorf("the error repeats the key: %v", err)
			}
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	key := crypto.NewKey()
	secret := crypto.Secret("hunter2")
	plain := []string{"hunter2", hex.EncodeToString([]byte("hunter2")), key.Encode().Reveal()}
	type holder struct {
		Key    crypto.Key
		Secret crypto.Secret
	}
	for _, v := range []any{key, secret, holder{key, secret}, &holder{key, secret}} {
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(encoded)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		for _, p := range plain {
			if strings.Contains(strings.ToLower(out.String()), strings.ToLower(p)) {
				t.Errorf("%T prints its secret", v)
			}
		}
		if !strings.Contains(out.String(), "[secret]") {
			t.Errorf("%T prints %q", v, out.String())
		}
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	a, b := crypto.NewKey(), crypto.NewKey()
	if !bytes.Equal(a.Derive("x"), a.Derive("x")) {
		t.Error("one purpose gave two keys")
	}
	if bytes.Equal(a.Derive("x"), a.Derive("y")) || bytes.Equal(a.Derive("x"), b.Derive("x")) {
		t.Error("two purposes, or two keys, gave one")
	}
	defer func() {
		if recover() == nil {
			t.Error("a key that was never set derived something")
		}
	}()
	crypto.Key{}.Derive("x")
}

func TestAuthenticator(t *testing.T) {
	t.Parallel()
	mac := crypto.NewKey().Authenticator("test")
	sum := mac.Sum([]byte("ab"), []byte("c"))
	if !mac.Verify(sum, []byte("ab"), []byte("c")) {
		t.Error("refused its own sum")
	}
	if mac.Verify(sum, []byte("a"), []byte("bc")) {
		t.Error("took parts that are cut elsewhere")
	}
	if mac.Verify(sum[:16], []byte("ab"), []byte("c")) || mac.Verify(nil, []byte("ab"), []byte("c")) {
		t.Error("took a sum cut short")
	}
}

func TestSealer(t *testing.T) {
	t.Parallel()
	key := crypto.NewKey()
	box := key.Sealer("test")
	sealed := box.Seal([]byte("plain"), []byte("row 1"))

	t.Run("opens what it sealed", func(t *testing.T) {
		t.Parallel()
		if plain, err := key.Sealer("test").Open(sealed, []byte("row 1")); err != nil || string(plain) != "plain" {
			t.Errorf("%q, %v", plain, err)
		}
		if bytes.Equal(sealed, box.Seal([]byte("plain"), []byte("row 1"))) {
			t.Error("sealing twice gave the same: the nonce is not random")
		}
	})
	t.Run("refuses another row's", func(t *testing.T) {
		t.Parallel()
		if _, err := box.Open(sealed, []byte("row 2")); !errors.Is(err, crypto.ErrSealBroken) {
			t.Error(err)
		}
	})
	t.Run("says when another key sealed it", func(t *testing.T) {
		t.Parallel()
		for _, other := range []crypto.Sealer{key.Sealer("other"), crypto.NewKey().Sealer("test")} {
			if _, err := other.Open(sealed, []byte("row 1")); !errors.Is(err, crypto.ErrSealedElsewhere) {
				t.Error(err)
			}
		}
	})
	t.Run("refuses every altered byte and every shorter value", func(t *testing.T) {
		t.Parallel()
		for i := range sealed {
			altered := bytes.Clone(sealed)
			altered[i] ^= 1
			if _, err := box.Open(altered, []byte("row 1")); err == nil {
				t.Fatalf("took byte %d altered", i)
			}
			if _, err := box.Open(sealed[:i], []byte("row 1")); err == nil {
				t.Fatalf("took %d bytes", i)
			}
		}
	})
}
