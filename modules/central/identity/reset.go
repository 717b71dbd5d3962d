package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type resetInput struct {
	Body struct {
		Token    string `json:"token" maxLength:"512" doc:"From the link in the mail."`
		Password string `json:"password"`
	}
}

// PasswordSet is the answer of a reset. It signs nobody in: whoever reads the mail still has to get past the second factor.
type PasswordSet struct {
	Email string `json:"email" doc:"The account whose password it is."`
}

func (s *Service) handleReset(ctx context.Context, in *resetInput) (*api.Data[PasswordSet], error) {
	email, err := s.ResetPassword(ctx, in.Body.Token, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return api.OK(PasswordSet{Email: email}), nil
}

// ResetPassword sets the password of the account that a mailed link belongs to, once, and returns its address. It ends all sessions,
// remembered devices and links to set a password. An account whose address was not verified, or whose password was a claim, loses what
// whoever had it may have left there; any other keeps its second factor, which the next sign-in asks for.
func (s *Service) ResetPassword(ctx context.Context, token, password string) (email string, err error) {
	if err := s.admit(ctx, throttleReset, "", uuid.Nil); err != nil {
		return "", err
	}
	l, u, err := s.openLink(ctx, token, purposeReset)
	defer func() { err = s.refused(ctx, err, Event{Type: eventPasswordReset, UserID: u.ID, Identifier: u.Email}) }()
	if err != nil {
		return "", wrap(err, "reset a password")
	}
	if refusal := s.checkPassword(fault.ValidationFailed, "password", password, u); len(refusal.Fields()) > 0 {
		return "", refusal
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return "", err
	}
	var ended []uuid.UUID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		now, err := s.lockUser(ctx, &u)
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return linkInvalid
		}
		if err != nil {
			return err
		}
		if now.Email != l.Email || now.DisabledAt != nil {
			return linkInvalid
		}
		// The row is what makes it good once: of two at the same time, the second finds none.
		used := s.DB.Gorm(ctx).Exec("delete from mail_links where id = ?", l.ID)
		if used.Error != nil {
			return fmt.Errorf("use up mail link %s: %w", l.ID, used.Error)
		}
		if used.RowsAffected == 0 {
			return linkInvalid
		}
		if ended, err = s.setPassword(ctx, now, hash, endedReset, uuid.Nil); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventPasswordReset, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email})
	})
	if err != nil {
		return "", wrap(err, "reset a password")
	}
	s.ended.add(ended...)
	s.AccountChanged(u.ID)
	// Who resets has mostly failed before. They have shown more than a password: the new one need not wait for the old ones' failures.
	return u.Email, s.succeeded(ctx, throttleLogin, u.Email)
}

// setPassword gives an account, whose row the transaction holds, a password that its owner chose, and ends what an older one has opened:
// sessions other than keep, remembered devices, links to set a password. It mails the owner, and returns the sessions that ended.
func (s *Service) setPassword(ctx context.Context, u user, hash, why string, keep uuid.UUID) (ended []uuid.UUID, err error) {
	owned := requireOwner(u) == nil
	now := s.now()
	if u.EmailVerifiedAt == nil {
		u.EmailVerifiedAt = &now // whoever comes here has read its mail
	}
	u.PasswordHash, u.PasswordSetAt, u.PasswordClaimed, u.ClaimID, u.UpdatedAt = &hash, &now, false, nil, now
	err = s.DB.Gorm(ctx).Model(&u).Select("email_verified_at", "password_hash", "password_set_at", "password_claimed", "claim_id", "updated_at").Updates(u).Error
	if err != nil {
		return nil, fmt.Errorf("set the password of %s: %w", u.ID, err)
	}
	if !owned {
		if ended, err = s.evict(ctx, u.ID); err != nil {
			return nil, err
		}
	} else {
		if ended, err = s.endSessions(ctx, u.ID, why, "id <> ?", keep); err != nil {
			return nil, err
		}
		if err := s.forgetDevices(ctx, u.ID); err != nil {
			return nil, err
		}
		if err := s.endResetLinks(ctx, u.ID); err != nil {
			return nil, err
		}
	}
	return ended, s.queueEach(ctx, s.telling(ctx, letterPasswordChanged, u.ID))
}

// telling returns a letter that says from where something was done to an account, just now.
func (s *Service) telling(ctx context.Context, letter string, userID uuid.UUID) sendMail {
	client := api.ClientFrom(ctx)
	m := sendMail{Letter: letter, UserID: userID, At: s.now(), Device: deviceName("", client.UserAgent)}
	if client.IP.IsValid() {
		m.IP = client.IP.String()
	}
	return m
}
