package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/crypto"
)

// linkTokens writes and reads the tokens in mailed links: version, the link's id, and a MAC over its row. The token is computed when
// the mail is sent: neither the row nor the job that sends it can be made into one without the key.
type linkTokens struct{ mac crypto.Authenticator }

const (
	linkVersion = 1
	linkSize    = 1 + 16 + 32
)

var errLinkToken = errors.New("not a link token")

func (t linkTokens) encode(l mailLink) string {
	raw := make([]byte, 0, linkSize)
	raw = append(raw, linkVersion)
	raw = append(raw, l.ID[:]...)
	raw = append(raw, t.mac.Sum(t.parts(l)...)...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (linkTokens) decode(token string) (id uuid.UUID, mac []byte, err error) {
	raw := decodeBase64(token)
	if len(raw) != linkSize || raw[0] != linkVersion {
		return uuid.Nil, nil, errLinkToken
	}
	return uuid.UUID(raw[1:17]), raw[17:], nil
}

func (t linkTokens) verify(mac []byte, l mailLink) bool { return t.mac.Verify(mac, t.parts(l)...) }

func (linkTokens) parts(l mailLink) [][]byte {
	return [][]byte{l.ID[:], []byte(l.Purpose), l.UserID[:], []byte(l.Email)}
}

// verifyURL returns the address in a mail that verifies l's e-mail address.
func (s *Service) verifyURL(l mailLink) string {
	return s.Issuer + "/api/v1/auth/email/verify?token=" + url.QueryEscape(s.links.encode(l))
}

// An account has one row for each purpose that is its own, made good for longer when it is asked for again. Registrations have theirs.
const keepLinkSQL = `
insert into mail_links (id, user_id, purpose, email, created_at, expires_at) values (@id, @user, @purpose, @email, @now, @expires)
on conflict (user_id, purpose, email) where password_hash is null do update set expires_at = excluded.expires_at
returning id`

// keepLink returns the account's link of that purpose, good from now.
func (s *Service) keepLink(ctx context.Context, userID uuid.UUID, email, purpose string) (uuid.UUID, error) {
	var id uuid.UUID
	now := s.now()
	err := s.DB.Gorm(ctx).Raw(keepLinkSQL, map[string]any{"id": newID(), "user": userID, "purpose": purpose, "email": email,
		"now": now, "expires": now.Add(s.linkLife(purpose))}).Row().Scan(&id)
	if err != nil {
		return uuid.Nil, fmt.Errorf("keep a mail link: %w", err)
	}
	return id, nil
}

func (s *Service) linkLife(purpose string) time.Duration {
	if purpose == purposeReset {
		return s.Config.ResetLinkTTL
	}
	return s.Config.VerifyLinkTTL
}

// endResetLinks voids every link that could set the account's password.
func (s *Service) endResetLinks(ctx context.Context, userID uuid.UUID) error {
	if err := s.DB.Gorm(ctx).Exec("delete from mail_links where user_id = ? and purpose = ?", userID, purposeReset).Error; err != nil {
		return fmt.Errorf("void the reset links of %s: %w", userID, err)
	}
	return nil
}

// openLink returns the link a token belongs to, and its account; linkInvalid for any other, an expired one, and one whose account
// has another address by now. These last two come with the account, for the log.
func (s *Service) openLink(ctx context.Context, token, purpose string) (mailLink, user, error) {
	id, mac, err := s.links.decode(token)
	if err != nil {
		return mailLink{}, user{}, linkInvalid
	}
	l, u, err := s.findLink(ctx, id)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return mailLink{}, user{}, linkInvalid
	}
	if err != nil {
		return mailLink{}, user{}, err
	}
	if l.Purpose != purpose || !s.links.verify(mac, l) {
		return mailLink{}, user{}, linkInvalid
	}
	if !s.now().Before(l.ExpiresAt) || l.Email != u.Email || u.DisabledAt != nil {
		return mailLink{}, u, linkInvalid
	}
	return l, u, nil
}

// findLink returns a link and its account, or gorm.ErrRecordNotFound.
func (s *Service) findLink(ctx context.Context, id uuid.UUID) (l mailLink, u user, err error) {
	if err = s.DB.Gorm(ctx).Where("id = ?", id).Take(&l).Error; err == nil {
		err = s.DB.Gorm(ctx).Where("id = ?", l.UserID).Take(&u).Error
	}
	if err != nil {
		return mailLink{}, user{}, fmt.Errorf("find mail link %s: %w", id, err)
	}
	return l, u, nil
}

// encodeBase64 is what decodeBase64 reads.
func encodeBase64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// decodeBase64 returns what token encodes, nil unless it is the only text that does: the library overlooks line breaks.
func decodeBase64(token string) []byte {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || strings.ContainsAny(token, "\r\n") {
		return nil
	}
	return raw
}
