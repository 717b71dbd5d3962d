package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

// keysPublished is how long a key stands in the JWKS before it signs: every process of ours has read it by then. Others read the keys
// again when they meet one that they do not know.
const keysPublished = 5 * time.Second

var keyUnknown = fault.New(fault.NotFound, "auth.key_unknown", "Tidak ada kunci dengan id itu.", "There is no key of that id.")

// Keys is the signing keys as operators see them.
type Keys struct {
	ring     *keyring
	activity Activity
}

// NewKeys returns them. It needs the server's secret, under which private keys lie sealed.
func NewKeys(db *database.DB, key crypto.Key, accessTTL time.Duration, activity Activity, clock func() time.Time) *Keys {
	return &Keys{ring: newKeyring(db, key, clock, accessTTL), activity: activity}
}

// SigningKey is one key, without anything secret.
type SigningKey struct {
	KID       string     `json:"kid"`
	Alg       string     `json:"alg"`
	Status    string     `json:"status"` // next, active, retired or revoked
	CreatedAt time.Time  `json:"created_at"`
	RetiredAt *time.Time `json:"retired_at,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// Rotation is which key a rotation gave which part.
type Rotation struct {
	Active  string `json:"active"`  // signs from now on
	Next    string `json:"next"`    // is published, for the next rotation
	Retired string `json:"retired"` // verifies until what it signed has expired
}

// List returns all keys, the oldest first.
func (k *Keys) List(ctx context.Context) ([]SigningKey, error) {
	var rows []signingKey
	if err := k.ring.db.Gorm(ctx).Order("created_at, kid").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the signing keys: %w", err)
	}
	out := make([]SigningKey, len(rows))
	for i, r := range rows {
		out[i] = SigningKey{KID: r.KID, Alg: r.Alg, Status: r.Status, CreatedAt: r.CreatedAt, RetiredAt: r.RetiredAt, RevokedAt: r.RevokedAt}
	}
	return out, nil
}

// Rotate lets the next key sign, retires the one that did, and publishes a new next one. Where the next key is too young for every
// process to know it, it waits a few seconds.
func (k *Keys) Rotate(ctx context.Context) (r Rotation, err error) {
	var next signingKey
	err = k.ring.change(ctx, func(ctx context.Context) error {
		next, err = k.ring.ensure(ctx, keyNext)
		return err
	})
	if err == nil {
		err = wait(ctx, next.CreatedAt.Add(keysPublished).Sub(k.ring.clock()))
	}
	if err == nil {
		err = k.ring.change(ctx, func(ctx context.Context) error {
			if r, err = k.ring.promote(ctx, keyRetired); err != nil {
				return err
			}
			return k.activity.Record(ctx, Event{Type: eventKeyRotated, Outcome: outcomeSuccess, Note: r.Retired + " made way for " + r.Active})
		})
	}
	if err != nil {
		return Rotation{}, wrap(err, "rotate the signing keys")
	}
	return r, nil
}

// wait waits for d, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// promote gives the active key another status and the next one its place. The private half of what does not sign any more is erased.
func (k *keyring) promote(ctx context.Context, leaves string) (Rotation, error) {
	db, now := k.db.Gorm(ctx), k.clock().UTC()
	old, err := k.ensure(ctx, keyActive)
	if err != nil {
		return Rotation{}, err
	}
	next, err := k.ensure(ctx, keyNext)
	if err != nil {
		return Rotation{}, err
	}
	if err := k.leave(ctx, old, leaves, now); err != nil {
		return Rotation{}, err
	}
	if err := db.Model(&signingKey{}).Where("kid = ?", next.KID).Update("status", keyActive).Error; err != nil {
		return Rotation{}, err
	}
	fresh, err := k.ensure(ctx, keyNext)
	return Rotation{Active: next.KID, Next: fresh.KID, Retired: old.KID}, err
}

func (k *keyring) leave(ctx context.Context, key signingKey, status string, now time.Time) error {
	changed := signingKey{Status: status, PrivateKey: []byte{}, RetiredAt: key.RetiredAt}
	if status == keyRevoked {
		changed.RevokedAt = &now
	} else {
		changed.RetiredAt = &now
	}
	return k.db.Gorm(ctx).Model(&signingKey{}).Where("kid = ?", key.KID).Select("status", "private_key", "retired_at", "revoked_at").Updates(changed).Error
}

// Revoke withdraws a key at once: within five seconds no process believes anything it signed, which signs its users' access tokens
// out; their sessions go on with a refresh. In place of the active key the next one signs from now on. It returns the fault auth.key_unknown
// where there is no such key.
func (k *Keys) Revoke(ctx context.Context, kid string) error {
	err := k.ring.change(ctx, func(ctx context.Context) error {
		var row signingKey
		err := k.ring.db.Gorm(ctx).Where("kid = ?", kid).Take(&row).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound):
			return keyUnknown
		case err != nil || row.Status == keyRevoked:
			return err
		case row.Status == keyActive:
			_, err = k.ring.promote(ctx, keyRevoked)
		default:
			if err = k.ring.leave(ctx, row, keyRevoked, k.ring.clock().UTC()); err == nil {
				_, err = k.ring.ensure(ctx, keyNext)
			}
		}
		if err != nil {
			return err
		}
		return k.activity.Record(ctx, Event{Type: eventKeyRevoked, Outcome: outcomeSuccess, Note: kid})
	})
	return wrap(err, "revoke a signing key")
}
