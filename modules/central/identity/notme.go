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

// Warning is what an account's owner is told of something suspicious.
type Warning struct {
	ActivityID uuid.UUID
	UserID     uuid.UUID
	Kinds      []string // of the signals, the gravest first
	Device     string
	IP         string
	Place      string
	At         time.Time
}

// notMeFor is how long the link in a warning is good.
const notMeFor = 7 * 24 * time.Hour

// notMeTokens writes and reads the tokens of the link "this was not me": version, the account, the time of what it is about, and a MAC
// over these and the account's address. Nothing of it is stored; another address, or a password set since by a mailed link, makes it void.
type notMeTokens struct{ mac crypto.Authenticator }

const (
	notMeVersion = 1
	notMeSize    = 1 + 16 + 8 + 32
)

func (t notMeTokens) encode(u user, at time.Time) string {
	raw := make([]byte, 0, notMeSize)
	raw = append(raw, notMeVersion)
	raw = append(raw, u.ID[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(at.UnixMicro())) //nolint:gosec // never negative
	raw = append(raw, t.mac.Sum(raw[:25], []byte(u.Email))...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (notMeTokens) decode(token string) (userID uuid.UUID, at time.Time, raw []byte, err error) {
	raw = decodeBase64(token)
	if len(raw) != notMeSize || raw[0] != notMeVersion {
		return uuid.Nil, time.Time{}, nil, errLinkToken
	}
	return uuid.UUID(raw[1:17]), time.UnixMicro(int64(binary.BigEndian.Uint64(raw[17:25]))), raw, nil //nolint:gosec // the MAC is over it
}

func (t notMeTokens) verify(raw []byte, u user) bool {
	return t.mac.Verify(raw[25:], raw[:25], []byte(u.Email))
}

// notMePage is where the link leads: a page with a button. Opening it changes nothing, and it knows nothing of the token.
const notMePage = "/account/not-me"

func (s *Service) notMeURL(u user, at time.Time) string {
	return s.pageURL("", notMePage, s.notMe.encode(u, at))
}

// openNotMe returns the account of such a token; linkInvalid for any other. Done says that the token has done its work.
func (s *Service) openNotMe(ctx context.Context, token string) (u user, done bool, err error) {
	id, at, raw, err := s.notMe.decode(token)
	if err != nil {
		return user{}, false, linkInvalid
	}
	err = s.DB.Gorm(ctx).Where("id = ?", id).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return user{}, false, linkInvalid
	}
	if err != nil {
		return user{}, false, fmt.Errorf("open a link of account %s: %w", id, err)
	}
	if !s.notMe.verify(raw, u) || !s.now().Before(at.Add(notMeFor)) || u.DisabledAt != nil {
		return user{}, false, linkInvalid
	}
	if u.PasswordSetAt == nil || !u.PasswordSetAt.After(at) {
		return u, false, nil
	}
	if u.PasswordHash == nil {
		return u, true, nil
	}
	// Set by a mailed link, it is its owner's: whoever clicks late shall not be thrown out again. Changed by somebody who knew the old
	// one, it may be the intruder's, who would else make the link void before it is read.
	reset, err := s.Activity.Happened(ctx, u.ID, eventPasswordReset, at)
	if err != nil {
		return user{}, false, err
	}
	if reset {
		return user{}, false, linkInvalid
	}
	return u, false, nil
}

type notMeInput struct {
	Body struct {
		Token string `json:"token" maxLength:"512" doc:"From the link in the mail."`
	}
}

func (s *Service) handleNotMe(ctx context.Context, in *notMeInput) (*api.Data[struct{}], error) {
	if err := s.NotMe(ctx, in.Body.Token); err != nil {
		return nil, err
	}
	return api.Done(), nil
}

// endedNotMe is why sessions end whose owner said that a sign-in was not theirs.
const endedNotMe = "not_me"

// NotMe takes the word of who reads the account's mail that something was not them: it ends every session, makes the password useless,
// takes back what an intruder may have added, and mails a link that sets a new one. The same link again does nothing more.
func (s *Service) NotMe(ctx context.Context, token string) (err error) {
	u, done, err := s.openNotMe(ctx, token)
	defer func() { err = s.refused(ctx, err, Event{Type: eventNotMe, UserID: u.ID, Identifier: u.Email}) }()
	if err != nil || done {
		return err
	}
	_, at, _, err := s.notMe.decode(token)
	if err != nil {
		return linkInvalid
	}
	var ended []uuid.UUID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		now, err := s.lockUser(ctx, &u)
		if err != nil {
			return err
		}
		if now.Email != u.Email || now.DisabledAt != nil || !sameTime(now.PasswordSetAt, u.PasswordSetAt) {
			return linkInvalid // changed meanwhile, mostly by the same link
		}
		if ended, err = s.secure(ctx, now, endedNotMe); err != nil {
			return err
		}
		if err := s.takeBack(ctx, now, at); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventNotMe, Outcome: outcomeSuccess, UserID: u.ID})
	})
	if err != nil {
		return wrap(err, "secure an account")
	}
	s.ended.add(ended...)
	s.AccountChanged(u.ID)
	return nil
}

// takeBack removes the ways in that whoever came at a time may use again, or may have added since: Google, whoever's it is, and every
// second factor younger than that. Factors of before stay, and with them what the next sign-in asks for.
func (s *Service) takeBack(ctx context.Context, u user, since time.Time) error {
	for _, t := range []struct{ table, where, event string }{
		{"google_identities", "true", eventGoogleUnlinked},
		{"passkeys", "created_at >= @since", eventPasskeyRemoved},
		{"totp_factors", "created_at >= @since", eventTwoFactorDisabled},
		{"recovery_codes", "created_at >= @since", ""}, // known to whoever made them
		{"totp_enrolments", "true", ""},
	} {
		done := s.DB.Gorm(ctx).Exec("delete from "+t.table+" where user_id = @user and "+t.where, map[string]any{"user": u.ID, "since": since})
		if done.Error != nil {
			return fmt.Errorf("take back what was added to account %s: %w", u.ID, done.Error)
		}
		if done.RowsAffected == 0 || t.event == "" {
			continue
		}
		if err := s.record(ctx, Event{Type: t.event, Outcome: outcomeSuccess, Reason: endedNotMe, UserID: u.ID, Identifier: u.Email}); err != nil {
			return err
		}
	}
	err := s.DB.Gorm(ctx).Exec(`update users set google_linked_at = null, two_factor_at = case
		when exists (select from totp_factors where user_id = users.id) or exists (select from passkeys where user_id = users.id) then two_factor_at end
		where id = ?`, u.ID).Error
	if err != nil {
		return fmt.Errorf("take back what was added to account %s: %w", u.ID, err)
	}
	return nil
}

// secure makes an account safe that may be in other hands, and whose row the transaction holds: it ends every session, forgets every
// remembered device, takes the password away and mails the link that sets a new one. It returns the sessions that ended.
func (s *Service) secure(ctx context.Context, u user, why string) ([]uuid.UUID, error) {
	ended, err := s.endSessions(ctx, u.ID, why, "true")
	if err != nil {
		return nil, err
	}
	if err := s.forgetDevices(ctx, u.ID); err != nil {
		return nil, err
	}
	// No hash fits: sign-ins fail as with a wrong password, those under way too, since the time is another.
	now := s.now()
	err = s.DB.Gorm(ctx).Model(&u).Select("password_hash", "password_set_at", "updated_at").
		Updates(user{PasswordHash: nil, PasswordSetAt: &now, UpdatedAt: now}).Error
	if err != nil {
		return nil, fmt.Errorf("take the password of %s away: %w", u.ID, err)
	}
	return ended, s.offerReset(ctx, u, letterSecured)
}
