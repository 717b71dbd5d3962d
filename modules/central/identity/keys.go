package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

const (
	// A change is heard of at once (revocation.go). Where nothing is heard, or read, a key that was withdrawn is believed for keysTolerate at
	// most: five seconds is what is promised.
	keysFresh      = 2 * time.Second
	keysTolerate   = 4 * time.Second
	keysTimeout    = 2 * time.Second
	keysPublic     = 24 * time.Hour // while the database is away the last known keys will do for signing, which needs it for the rest, and for the JWKS
	keysAskedAgain = time.Second    // a kid nobody knows makes us look again, at most this often
	keysLock       = 0x6b657973     // advisory lock of making the first key: "keys"
)

// What becomes of a key: it is published, signs, is only verified with while what it signed may live, and is nothing any more.
const (
	keyNext    = "next"
	keyActive  = "active"
	keyRetired = "retired"
	keyRevoked = "revoked" // withdrawn at once, with everything it signed
)

// keySet is what signs and what verifies, at one moment. It is immutable.
type keySet struct {
	signer   ed25519.PrivateKey
	signerID string
	verify   map[string]verifyKey
	jwks     jwkSet
}

type verifyKey struct {
	method jwt.SigningMethod // the only one this key verifies
	public ed25519.PublicKey
}

// keyring is the signing keys.
type keyring struct {
	db      *database.DB
	sealer  crypto.Sealer
	clock   func() time.Time
	retired time.Duration // how long a retired key still verifies
	set     snapshot[*keySet]
}

func newKeyring(db *database.DB, key crypto.Key, clock func() time.Time, accessTTL time.Duration) *keyring {
	k := &keyring{db: db, sealer: key.Sealer("identity signing keys"), clock: clock, retired: accessTTL + time.Minute}
	k.set.load, k.set.timeout = k.load, keysTimeout
	return k
}

// current returns the keys to sign with and to publish.
func (k *keyring) current(ctx context.Context) (*keySet, error) {
	set, err := k.set.get(ctx, keysFresh, keysPublic)
	if err != nil {
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	return set, nil
}

// find returns the key of that id; false where there is none, and fault.ServiceUnavailable where that cannot be known.
func (k *keyring) find(ctx context.Context, kid string) (verifyKey, bool, error) {
	for _, fresh := range []time.Duration{keysFresh, keysAskedAgain} {
		set, err := k.set.get(ctx, fresh, keysTolerate)
		if ctx.Err() != nil {
			return verifyKey{}, false, ctx.Err()
		}
		if err != nil {
			return verifyKey{}, false, fault.ServiceUnavailable.WithCause(fmt.Errorf("read the signing keys: %w", err))
		}
		if key, ok := set.verify[kid]; ok {
			return key, true, nil
		}
	}
	return verifyKey{}, false, nil
}

func (k *keyring) load(ctx context.Context, _ *keySet) (*keySet, error) {
	var rows []signingKey
	err := k.db.Gorm(ctx).Where("status in ? or status = ? and retired_at > ?", []string{keyNext, keyActive}, keyRetired, k.clock().Add(-k.retired)).Order("created_at").Find(&rows).Error
	if err != nil {
		return nil, err
	}
	set := &keySet{verify: make(map[string]verifyKey, len(rows)), jwks: jwkSet{Keys: make([]jwk, 0, len(rows))}}
	for _, row := range rows {
		if row.Alg != jwt.SigningMethodEdDSA.Alg() || len(row.PublicKey) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("signing key %s: unknown algorithm", row.KID)
		}
		set.verify[row.KID] = verifyKey{method: jwt.SigningMethodEdDSA, public: row.PublicKey}
		set.jwks.Keys = append(set.jwks.Keys, jwk{KTY: "OKP", CRV: "Ed25519", Use: "sig", Alg: row.Alg, KID: row.KID,
			X: base64.RawURLEncoding.EncodeToString(row.PublicKey)})
		if row.Status != keyActive {
			continue
		}
		seed, err := k.sealer.Open(row.PrivateKey, []byte(row.KID))
		if errors.Is(err, crypto.ErrSealedElsewhere) {
			return nil, fmt.Errorf("signing key %s: %w: the server's secret is not the one this database was set up with", row.KID, err)
		}
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("signing key %s: %w", row.KID, errors.Join(err, crypto.ErrSealBroken))
		}
		set.signer, set.signerID = ed25519.NewKeyFromSeed(seed), row.KID
	}
	return set, nil
}

// EnsureKeys makes the first signing key and the next one where there are none, whatever number of processes start at once, and
// reads them.
func (s *Service) EnsureKeys(ctx context.Context) error {
	err := s.keys.change(ctx, func(ctx context.Context) error {
		for _, status := range []string{keyActive, keyNext} {
			if _, err := s.keys.ensure(ctx, status); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the first signing key: %w", err)
	}
	if _, err = s.keys.set.get(ctx, 0, 0); err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	return nil
}

// change runs f in a transaction while nobody else changes the keys.
func (k *keyring) change(ctx context.Context, f func(ctx context.Context) error) error {
	return k.db.Tx(ctx, func(ctx context.Context) error {
		if err := k.db.Gorm(ctx).Exec("select pg_advisory_xact_lock(?)", keysLock).Error; err != nil {
			return err
		}
		return f(ctx)
	})
}

// ensure returns the key of a status that one key has, and makes it where there is none.
func (k *keyring) ensure(ctx context.Context, status string) (signingKey, error) {
	var row signingKey
	err := k.db.Gorm(ctx).Where("status = ?", status).Take(&row).Error
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return row, err
	}
	row = k.make(k.clock().UTC(), status)
	return row, k.db.Gorm(ctx).Create(&row).Error
}

func (k *keyring) make(now time.Time, status string) signingKey {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	kid := crypto.Token(12)
	return signingKey{KID: kid, Alg: jwt.SigningMethodEdDSA.Alg(), PublicKey: public, Status: status, CreatedAt: now,
		PrivateKey: k.sealer.Seal(private.Seed(), []byte(kid))}
}

// jwkSet is the public keys as others read them (RFC 7517, RFC 8037).
type jwkSet struct {
	Keys []jwk `json:"keys"`
}

type jwk struct {
	KTY string `json:"kty"`
	CRV string `json:"crv"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	KID string `json:"kid"`
	X   string `json:"x"`
}

type jwksAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Body         jwkSet
}

func (s *Service) routeKeys(r *api.Router) {
	api.Root(r, "/.well-known/jwks.json", s.handleKeys, "central.jwks", api.Public, api.Summary("Public keys of the access tokens"))
}

func (s *Service) handleKeys(ctx context.Context, _ *struct{}) (*jwksAnswer, error) {
	set, err := s.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	return &jwksAnswer{CacheControl: "public, max-age=60", Body: set.jwks}, nil
}
