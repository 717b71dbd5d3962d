package crypto

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	sealVersion = 1
	keyIDSize   = 4
)

// Errors of [Sealer.Open].
var (
	ErrSealedElsewhere = errors.New("sealed under another key")
	ErrSealBroken      = errors.New("the sealed value was altered, or belongs to something else")
)

// Sealer encrypts small values for storage under one derived key (AES-256-GCM, random nonce).
type Sealer struct {
	aead   cipher.AEAD
	prefix []byte // version and the key's id, so that a value says which key opens it
}

// Sealer returns one whose key belongs to purpose alone.
func (k Key) Sealer(purpose string) Sealer {
	derived := k.Derive(purpose)
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(fmt.Sprintf("crypto: %v", err)) // only for a key of another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("crypto: %v", err)) // only for a block of another size
	}
	id := sha256.Sum256(append([]byte("key id\x00"), derived...))
	return Sealer{aead: aead, prefix: append([]byte{sealVersion}, id[:keyIDSize]...)}
}

// Seal encrypts plain. Associated says what the value belongs to (a row's id): it opens for that alone.
func (s Sealer) Seal(plain, associated []byte) []byte {
	return s.aead.Seal(bytes.Clone(s.prefix), nil, plain, associated)
}

// Open decrypts what Seal made: ErrSealedElsewhere under another key, ErrSealBroken where value or associated differ.
func (s Sealer) Open(sealed, associated []byte) ([]byte, error) {
	rest, ours := bytes.CutPrefix(sealed, s.prefix)
	if !ours {
		return nil, ErrSealedElsewhere
	}
	plain, err := s.aead.Open(nil, nil, rest, associated)
	if err != nil {
		return nil, ErrSealBroken
	}
	return plain, nil
}
