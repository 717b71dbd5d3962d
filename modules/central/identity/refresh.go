package identity

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token" maxLength:"512"`
	}
}

func (s *Service) handleRefresh(ctx context.Context, in *refreshInput) (*api.Data[Tokens], error) {
	tokens, err := s.Refresh(ctx, in.Body.RefreshToken)
	if err != nil {
		return nil, err
	}
	return api.OK(tokens), nil
}

// grace is how long after a refresh the token before it still gets the new one: answers get lost, and tabs refresh together.
const grace = 10 * time.Second

// held is a chain and its session, read at once.
type held struct {
	Chain   chain   `gorm:"embedded;embeddedPrefix:c_"`
	Session session `gorm:"embedded;embeddedPrefix:s_"`
}

var findChain = "select " + columnsOf(&chain{}, "c") + ", " + columnsOf(&session{}, "s") +
	" from refresh_chains c join sessions s on s.id = c.session_id where c.id = ?"

// Moves a chain on, if it and its session are still what they were when they were read. The session's row is the lock that renewing
// and revoking share. After waiting for it, Postgres looks at the chain anew too: its conditions are of the moment, not of before.
const moveChain = `
with s as (select id from sessions where id = $2 and revoked_at is null and expires_at > $5 for update)
update refresh_chains c set generation = c.generation + 1, rotated_at = $5, expires_at = $6
from s where c.id = $1 and c.session_id = s.id and c.nonce = $3 and c.generation = $4
returning c.generation`

// Others may move the chain between our reading and our writing; then what they left is read. That many times in a row it does not
// happen: whoever was first makes our token one of the past.
const refreshTries = 5

// Refresh returns new tokens for a refresh token. The current token moves the chain one generation on; the one before it gets
// the current token again for ten seconds, unless that has been used; anything older was copied by somebody: the session ends
// with auth.refresh_reused. Everything else that is wrong is auth.refresh_invalid.
//
// It takes two statements, each a round trip and a transaction by itself: one reads, the other moves the chain on. Account and
// memberships are in memory (known.go), or cost two more.
func (s *Service) Refresh(ctx context.Context, token string) (Tokens, error) {
	presented, err := s.refresh.decode(token)
	if err != nil {
		return Tokens{}, refreshInvalid
	}
	for range refreshTries {
		tokens, moved, err := s.tryRefresh(ctx, presented)
		if err != nil {
			return Tokens{}, wrap(err, "refresh")
		}
		if moved {
			return tokens, nil
		}
	}
	return Tokens{}, fault.ServiceUnavailable
}

// tryRefresh returns false where the chain was moved by somebody else meanwhile.
func (s *Service) tryRefresh(ctx context.Context, presented presentedRefresh) (_ Tokens, moved bool, err error) {
	var h held
	err = s.DB.Gorm(ctx).Raw(findChain, presented.chainID).Take(&h).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return Tokens{}, false, refreshInvalid
	}
	if err != nil {
		return Tokens{}, false, err
	}
	now := s.now()
	if !s.refresh.verify(presented, h.Chain) {
		return Tokens{}, false, refreshInvalid
	}
	defer func() {
		if !isFault(err, refreshReused) { // which is recorded with what it ended
			tenantID, _ := h.Chain.Audience.tenant()
			err = s.refused(ctx, err, Event{Type: eventRefreshed, UserID: h.Session.UserID, SessionID: h.Session.ID, TenantID: tenantID})
		}
	}()
	if h.Session.RevokedAt != nil || !now.Before(h.Session.ExpiresAt) || !now.Before(h.Chain.ExpiresAt) {
		return Tokens{}, false, refreshInvalid
	}
	of, err := s.known.get(ctx, h.Session.UserID)
	if err != nil {
		return Tokens{}, false, err
	}
	m, err := of.renews(h)
	if err != nil {
		return Tokens{}, false, err
	}
	switch behind := h.Chain.Generation - presented.generation; {
	case behind == 0:
		if h.Chain, moved, err = s.moveOn(ctx, h, now); err != nil || !moved {
			return Tokens{}, false, err
		}
	case behind == 1 && now.Sub(h.Chain.RotatedAt) < grace:
	case behind < 0:
		// Signed by us and not issued yet: the database was set back, or the key is in other hands.
		s.Log.ErrorContext(ctx, "a refresh token is ahead of its chain", "session_id", h.Session.ID, "request_id", api.RequestID(ctx))
		return Tokens{}, false, refreshInvalid
	default:
		return Tokens{}, false, s.reused(ctx, h)
	}
	tokens, err := s.issue(ctx, of.user, h.Session, h.Chain, m, of.memberships)
	return tokens, true, err
}

// renews returns the membership that a tenant's chain renews tokens for, nil for the Core API's, or refuses.
func (k *known) renews(h held) (*Membership, error) {
	if k.user.DisabledAt != nil {
		return nil, refreshInvalid
	}
	tenantID, _ := h.Chain.Audience.tenant()
	if tenantID == uuid.Nil {
		return nil, nil //nolint:nilnil // there is none to be
	}
	m := k.membership(tenantID)
	if m == nil || !m.open() {
		return nil, refreshInvalid
	}
	return m, m.letIn(k.user, h.Session)
}

// moveOn moves a chain one generation on; false where it or its session is not as it was any more.
func (s *Service) moveOn(ctx context.Context, h held, now time.Time) (chain, bool, error) {
	c := h.Chain
	c.RotatedAt, c.ExpiresAt = now, s.idleUntil(now, h.Session)
	err := s.DB.Ask(ctx, moveChain, []any{c.ID, h.Session.ID, c.Nonce, c.Generation, c.RotatedAt, c.ExpiresAt}, &c.Generation)
	if errors.Is(err, database.ErrNoRow) {
		return chain{}, false, nil
	}
	return c, err == nil, err
}

// reused ends the session of a token that somebody has copied: its owner, or who took it, has moved on since.
func (s *Service) reused(ctx context.Context, h held) error {
	var ended []uuid.UUID
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		// Whoever copied it may have copied what else the client keeps.
		if err := s.forgetDevices(ctx, h.Session.UserID); err != nil {
			return err
		}
		if ended, err = s.endSessions(ctx, h.Session.UserID, endedReuse, "id = ?", h.Session.ID); err != nil {
			return err
		}
		tenantID, _ := h.Chain.Audience.tenant()
		return s.record(ctx, Event{Type: eventRefreshReused, Outcome: outcomeFailure, Reason: "refresh_reused",
			UserID: h.Session.UserID, SessionID: h.Session.ID, TenantID: tenantID})
	})
	if err != nil {
		return err
	}
	s.ended.add(ended...)
	return refreshReused
}

// open reports whether tokens are issued for the tenant. One in maintenance says so itself, at its own door.
func (m Membership) open() bool {
	return m.Status == "active" || m.Status == "read_only" || m.Status == "maintenance"
}

// refreshTokens writes and reads refresh tokens: version, chain, generation, and a MAC over these and the chain's nonce. A dump of
// the database lacks the key, and who holds a token can make no other.
type refreshTokens struct{ mac crypto.Authenticator }

const (
	refreshVersion = 1
	refreshMACSize = 32
	refreshSize    = 1 + 16 + 8 + refreshMACSize
)

type presentedRefresh struct {
	chainID    uuid.UUID
	generation int64
	mac        []byte
}

var errRefreshToken = errors.New("not a refresh token")

func (t refreshTokens) encode(c chain) string {
	raw := make([]byte, 0, refreshSize)
	raw = append(raw, refreshVersion)
	raw = append(raw, c.ID[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(c.Generation)) //nolint:gosec // never negative
	raw = append(raw, t.sum(c, c.Generation)...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (refreshTokens) decode(token string) (presentedRefresh, error) {
	raw := decodeBase64(token)
	if len(raw) != refreshSize || raw[0] != refreshVersion {
		return presentedRefresh{}, errRefreshToken
	}
	generation := binary.BigEndian.Uint64(raw[17:25])
	if generation == 0 || generation > 1<<62 {
		return presentedRefresh{}, errRefreshToken
	}
	return presentedRefresh{chainID: uuid.UUID(raw[1:17]), generation: int64(generation), mac: raw[25:]}, nil
}

func (t refreshTokens) verify(p presentedRefresh, c chain) bool {
	return p.chainID == c.ID && t.mac.Verify(p.mac, t.parts(c, p.generation)...)
}

func (t refreshTokens) sum(c chain, generation int64) []byte {
	return t.mac.Sum(t.parts(c, generation)...)
}

func (refreshTokens) parts(c chain, generation int64) [][]byte {
	return [][]byte{c.ID[:], c.Nonce, binary.BigEndian.AppendUint64(nil, uint64(generation))} //nolint:gosec // never negative
}
