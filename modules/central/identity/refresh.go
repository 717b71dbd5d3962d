package identity

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
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

// held is a chain, its session and its user, read at once and locked.
type held struct {
	Chain   chain   `gorm:"embedded;embeddedPrefix:c_"`
	Session session `gorm:"embedded;embeddedPrefix:s_"`
	User    user    `gorm:"embedded;embeddedPrefix:u_"`
}

// The session's row is the lock that refreshing and revoking share; it is taken first. The chain's is locked too, for what it
// makes Postgres do: after waiting for the session, rows that are not locked are still those of before the wait.
const holdChain = `
select c.id c_id, c.session_id c_session_id, c.audience c_audience, c.nonce c_nonce, c.generation c_generation,
	c.rotated_at c_rotated_at, c.expires_at c_expires_at,
	s.id s_id, s.user_id s_user_id, s.auth_time s_auth_time, s.amr s_amr, s.expires_at s_expires_at, s.revoked_at s_revoked_at,
	s.device_id s_device_id,
	u.id u_id, u.name u_name, u.email u_email, u.email_verified_at u_email_verified_at, u.password_hash u_password_hash,
	u.locale u_locale, u.disabled_at u_disabled_at, u.two_factor_at u_two_factor_at, u.operator u_operator, u.google_linked_at u_google_linked_at
from refresh_chains c join sessions s on s.id = c.session_id join users u on u.id = s.user_id
where c.id = ? for update of s, c`

// Refresh returns new tokens for a refresh token. The current token moves the chain one generation on; the one before it gets
// the current token again for ten seconds, unless that has been used; anything older was copied by somebody: the session ends
// with auth.refresh_reused. Everything else that is wrong is auth.refresh_invalid.
func (s *Service) Refresh(ctx context.Context, token string) (Tokens, error) {
	presented, err := s.refresh.decode(token)
	if err != nil {
		return Tokens{}, refreshInvalid
	}
	var (
		h       held
		of      *Membership
		all     []Membership
		refused error // an answer that is no reason to roll back
		ended   []uuid.UUID
	)
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		err := s.DB.Gorm(ctx).Raw(holdChain, presented.chainID).Take(&h).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refreshInvalid
		}
		if err != nil {
			return err
		}
		now := s.now()
		if !s.refresh.verify(presented, h.Chain) || h.Session.RevokedAt != nil || h.User.DisabledAt != nil ||
			!now.Before(h.Session.ExpiresAt) || !now.Before(h.Chain.ExpiresAt) {
			return refreshInvalid
		}
		tenantID, _ := h.Chain.Audience.tenant()
		if tenantID != uuid.Nil {
			if all, of, err = s.memberOf(ctx, h.User.ID, tenantID); err != nil {
				return err
			}
			if of == nil {
				return refreshInvalid
			}
			if err := of.letIn(h.User, h.Session); err != nil {
				return err
			}
		}
		switch behind := h.Chain.Generation - presented.generation; {
		case behind == 0:
			h.Chain.Generation++
			h.Chain.RotatedAt, h.Chain.ExpiresAt = now, s.idleUntil(now, h.Session)
			return s.DB.Gorm(ctx).Model(&h.Chain).Select("generation", "rotated_at", "expires_at").Updates(h.Chain).Error
		case behind == 1 && now.Sub(h.Chain.RotatedAt) < grace:
			return nil
		case behind < 0:
			// Signed by us and not issued yet: the database was set back, or the key is in other hands.
			s.Log.ErrorContext(ctx, "a refresh token is ahead of its chain", "session_id", h.Session.ID, "request_id", api.RequestID(ctx))
			return refreshInvalid
		default:
			refused = refreshReused
			if ended, err = s.endSessions(ctx, h.User.ID, endedReuse, "id = ?", h.Session.ID); err != nil {
				return err
			}
			return s.record(ctx, Event{Type: eventRefreshReused, Outcome: outcomeFailure, Reason: "refresh_reused",
				UserID: h.User.ID, SessionID: h.Session.ID, TenantID: tenantID})
		}
	})
	if err != nil {
		return Tokens{}, wrap(err, "refresh")
	}
	if refused != nil {
		s.ended.add(ended...)
		return Tokens{}, refused
	}
	if of == nil {
		if all, err = s.Tenants.Of(ctx, h.User.ID); err != nil {
			return Tokens{}, fmt.Errorf("refresh: %w", err)
		}
	}
	return s.issue(ctx, h.User, h.Session, h.Chain, of, all)
}

// memberOf returns the user's memberships, and the one in tenantID if a token may be issued for it.
func (s *Service) memberOf(ctx context.Context, userID, tenantID uuid.UUID) (all []Membership, of *Membership, err error) {
	all, err = s.Tenants.Of(ctx, userID)
	if err != nil {
		return nil, nil, fmt.Errorf("read the memberships of %s: %w", userID, err)
	}
	for i := range all {
		if all[i].TenantID == tenantID && all[i].open() {
			of = &all[i]
		}
	}
	return all, of, nil
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
