package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Authenticator makes and checks message authentication codes (HMAC-SHA256) under one derived key.
type Authenticator struct{ key []byte }

// Authenticator returns one whose key belongs to purpose alone.
func (k Key) Authenticator(purpose string) Authenticator {
	return Authenticator{key: k.Derive(purpose)}
}

// Sum returns the 32 bytes that only a holder of the key can compute for these parts, in this order.
func (a Authenticator) Sum(parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, a.key)
	var length [8]byte
	for _, part := range parts {
		// Without its length before each part, ("ab", "c") and ("a", "bc") would be one message.
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// Verify reports, in constant time, whether sum belongs to these parts.
func (a Authenticator) Verify(sum []byte, parts ...[]byte) bool {
	return hmac.Equal(sum, a.Sum(parts...))
}
