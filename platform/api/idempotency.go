package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
)

// ErrKeyReused refuses an Idempotency-Key that came before with another request.
var ErrKeyReused = fault.New(fault.Conflict, "idempotency.key_reused",
	"Idempotency-Key ini sudah dipakai untuk permintaan lain.", "This Idempotency-Key was used for another request.")

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255
)

// IdempotencyStore remembers the first answer to a keyed request, for 24 hours.
type IdempotencyStore interface {
	// Once runs fn in a transaction that also records its result under key; a later call with the same key and hash returns the
	// recorded result (replayed = true) without running fn; with another hash it returns ErrKeyReused. fn's error is returned and
	// records nothing.
	Once(ctx context.Context, owner, operation, key string, hash []byte, fn func(ctx context.Context) ([]byte, error)) (result []byte, replayed bool, err error)
}

// Idempotency documents the header; embed it in the input of a handler that [Once] wraps.
type Idempotency struct {
	IdempotencyKey string `header:"Idempotency-Key" json:"-" maxLength:"255" doc:"Your own id of this request. Sent again within 24 hours it gets the first answer again."`
}

// Once makes h safe to repeat: with an Idempotency-Key it runs once for each caller and operation, and the same request again gets
// the first answer again, marked Idempotent-Replayed: true. Without a key h runs as it is. Input and output must survive JSON:
// what has no JSON form is neither compared nor replayed.
func Once[I, O any](store IdempotencyStore, h func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		x := exchangeFrom(ctx)
		key := x.header.Get(idempotencyHeader)
		if key == "" {
			return h(ctx, in)
		}
		if !isKey(key) {
			return nil, badKey
		}
		input, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("hash the input of %s: %w", x.operation.Name, err)
		}
		hash := sha256.Sum256(input)

		var out *O
		result, replayed, err := store.Once(ctx, x.owner(), x.operation.Name, key, hash[:], func(ctx context.Context) ([]byte, error) {
			var err error
			if out, err = h(ctx, in); err != nil {
				return nil, err
			}
			return json.Marshal(out)
		})
		if err != nil {
			return nil, err
		}
		if !replayed {
			return out, nil
		}
		first := new(O)
		if err := json.Unmarshal(result, first); err != nil {
			return nil, fmt.Errorf("replay the answer of %s: %w", x.operation.Name, err)
		}
		x.ResponseWriter.Header().Set("Idempotent-Replayed", "true")
		return first, nil
	}
}

// owner is whose key it is: two callers never share one. Callers without a token are told apart by tenant and address.
func (x *exchange) owner() string {
	owner := "address:" + x.client.IP.String()
	if x.principal != nil {
		owner = "user:" + x.principal.UserID.String()
	}
	switch {
	case x.tenant != nil:
		owner += " tenant:" + x.tenant.ID.String()
	case x.principal != nil && !x.principal.Central():
		owner += " tenant:" + x.principal.TenantID.String()
	}
	return owner
}

var badKey = fault.ValidationFailed.WithField(idempotencyHeader, textKey.ID, textKey.EN)

var textKey = locale.Text{
	ID: "Harus 1–255 karakter ASCII yang terlihat.", EN: "Must be 1–255 visible ASCII characters.",
}

func isKey(key string) bool {
	if len(key) > maxIdempotencyKey {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}
