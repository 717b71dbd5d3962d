// Package crypto holds the few cryptographic tools of HomeCore, each a thin layer over the standard library or golang.org/x/crypto.
//
// Everything secret hangs from one [Key] of 32 bytes, HOMECORE_SECRET. It is never used itself: each use derives a key of its
// own, so that what leaks from one use says nothing about another:
//
//	mac := key.Authenticator("identity refresh tokens") // HMAC-SHA256 over length-prefixed parts
//	box := key.Sealer("identity signing keys")          // AES-256-GCM, bound to what it belongs to
//
// [Passwords] hashes with argon2id inside a bound of memory. [Secret] is a string that does not print.
package crypto

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// KeySize is the length of a [Key] in bytes.
const KeySize = 32

// hidden is what a secret shows of itself.
const hidden = "[secret]"

// Errors of [ParseKey]. They name nothing of the key.
var (
	ErrKeyEncoding = errors.New("the key is neither hexadecimal nor base64")
	ErrKeyLength   = errors.New("the key must be 32 bytes (64 hexadecimal digits, or 44 characters of base64)")
	ErrKeyWeak     = errors.New("the key is a single byte repeated: make one with `openssl rand -base64 32`")
)

// Key is the server's secret. It prints as [secret].
type Key struct{ bytes [KeySize]byte }

// NewKey makes a key from the system's randomness.
func NewKey() Key {
	var k Key
	rand.Read(k.bytes[:]) // never fails: crypto/rand ends the program instead
	return k
}

// ParseKey reads a key from hexadecimal or base64 (either alphabet, padded or not).
func ParseKey(s string) (Key, error) {
	raw, err := decodeKey(strings.TrimSpace(s))
	if err != nil {
		return Key{}, err
	}
	if len(raw) != KeySize {
		return Key{}, ErrKeyLength
	}
	if bytes.Count(raw, raw[:1]) == KeySize {
		return Key{}, ErrKeyWeak
	}
	return Key{bytes: [KeySize]byte(raw)}, nil
}

func decodeKey(s string) ([]byte, error) {
	if len(s) == hex.EncodedLen(KeySize) {
		if raw, err := hex.DecodeString(s); err == nil {
			return raw, nil
		}
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	raw, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, ErrKeyEncoding // err would quote the key
	}
	return raw, nil
}

// UnmarshalText makes a Key readable from configuration.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// IsZero reports whether the key was never set.
func (k Key) IsZero() bool { return k == Key{} }

// Encode returns the key as base64, for the file or the variable it is kept in and for nothing else.
func (k Key) Encode() Secret { return Secret(base64.StdEncoding.EncodeToString(k.bytes[:])) }

// Derive returns 32 bytes that belong to purpose alone (HKDF-SHA256). It panics on a key that was never set.
func (k Key) Derive(purpose string) []byte {
	if k.IsZero() {
		panic("crypto: a key that was never set")
	}
	derived, err := hkdf.Key(sha256.New, k.bytes[:], nil, "homecore "+purpose, KeySize)
	if err != nil { // only for lengths above 8,160 bytes
		panic(fmt.Sprintf("crypto: derive: %v", err))
	}
	return derived
}

// String hides the key.
func (Key) String() string { return hidden }

// Format hides the key from every verb of fmt, %x and %#v too.
func (Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalText hides the key from JSON and its like.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the key from slog.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// Secret is a string that neither prints, logs nor marshals. [Secret.Reveal] gives it up.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (Secret) String() string { return hidden }

// Format hides the secret from every verb of fmt, %x and %#v too.
func (Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// MarshalText hides the secret from JSON and its like. Reading one is left as it is, for configuration and requests.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Bytes returns n random bytes.
func Bytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

// Token returns n random bytes as text that is safe in a URL (base64url, unpadded).
func Token(n int) string { return base64.RawURLEncoding.EncodeToString(Bytes(n)) }
