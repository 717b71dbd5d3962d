package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// throttlePassword counts wrong passwords of who is signed in, apart from those of sign-ins.
const throttlePassword = "password"

// Events of an account's password.
const (
	eventPasswordChanged = "password_changed"
	eventPasswordReset   = "password_reset"
	eventConfirmFailed   = "password_confirm_failed"
)

type changePasswordInput struct {
	Body struct {
		CurrentPassword string `json:"current_password,omitempty" doc:"May be absent where the user has confirmed who they are within 15 minutes, or has no password yet."`
		Password        string `json:"password" doc:"The new one."`
	}
}

func (s *Service) handleChangePassword(ctx context.Context, in *changePasswordInput) (*api.Data[struct{}], error) {
	if err := s.ChangePassword(ctx, api.MustPrincipal(ctx), in.Body.CurrentPassword, in.Body.Password); err != nil {
		return nil, err
	}
	return api.Done(), nil
}

// ChangePassword sets a new password for who knows the current one, or has a fresh step-up where none is given. It ends the user's other
// sessions, remembered devices and links to set a password, and mails the owner.
func (s *Service) ChangePassword(ctx context.Context, p api.Principal, current, password string) error {
	u, err := s.account(ctx, p.UserID)
	if err != nil {
		return err
	}
	if err := requireOwner(u); err != nil {
		return err
	}
	if current == "" {
		err = s.requireConfirmed(ctx, p, u)
	} else {
		err = s.provePassword(ctx, p, u, current)
	}
	if err != nil {
		return wrap(err, "change a password")
	}
	if refusal := s.checkPassword(fault.ValidationFailed, "password", password, u); len(refusal.Fields()) > 0 {
		return refusal
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	var ended []uuid.UUID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		now, err := s.lockUser(ctx, &u)
		if err != nil {
			return err
		}
		if now.DisabledAt != nil || !sameTime(now.PasswordSetAt, u.PasswordSetAt) { // another change came first
			return passwordWrong
		}
		// The session that asks may have been ended while the hash was made, by the owner who throws somebody out.
		if _, live, err := s.lockSession(ctx, p.SessionID); err != nil || !live {
			return cmp.Or(err, unlessLive(live))
		}
		if ended, err = s.setPassword(ctx, now, hash, endedPassword, p.SessionID); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventPasswordChanged, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, SessionID: p.SessionID})
	})
	if err != nil {
		return wrap(err, "change a password")
	}
	s.ended.add(ended...)
	s.AccountChanged(u.ID)
	return nil
}

// requireConfirmed asks for more than requireStepUp: a sign-in of a moment ago will not do for somebody who has a password, since the
// screen may have been left since. It does for who signs in otherwise, and has nothing else to show.
func (s *Service) requireConfirmed(ctx context.Context, p api.Principal, u user) error {
	if err := s.requireStepUp(ctx, p); err != nil || u.PasswordHash == nil {
		return err
	}
	var confirmed bool
	err := s.DB.Gorm(ctx).Raw("select exists (select from sessions where id = ? and stepped_up_at > ?)", p.SessionID, s.now().Add(-stepUpFor)).Scan(&confirmed).Error
	if err != nil {
		return fmt.Errorf("ask session %s for a fresh proof: %w", p.SessionID, err)
	}
	if !confirmed {
		return s.refused(ctx, stepUpRequired, Event{Type: eventSteppedUp, UserID: p.UserID, SessionID: p.SessionID})
	}
	return nil
}

type confirmPasswordInput struct {
	Body struct {
		Password string `json:"password"`
		Proof
	}
}

// SteppedUp is the answer of a confirmed password.
type SteppedUp struct {
	ExpiresIn int64 `json:"expires_in" doc:"Seconds for which what asks for a confirmation is allowed."`
}

func (s *Service) handleConfirmPassword(ctx context.Context, in *confirmPasswordInput) (*api.Data[SteppedUp], error) {
	if err := s.ConfirmPassword(ctx, api.MustPrincipal(ctx), in.Body.Password, in.Body.Proof); err != nil {
		return nil, err
	}
	return api.OK(SteppedUp{ExpiresIn: seconds(stepUpFor)}), nil
}

// ConfirmPassword lets the session do what asks for a recent proof, for a quarter of an hour. Where a remembered device stood in for the
// second factor, that has to be shown too.
func (s *Service) ConfirmPassword(ctx context.Context, p api.Principal, password string, proof Proof) error {
	u, err := s.account(ctx, p.UserID)
	if err != nil {
		return err
	}
	if err := s.provePassword(ctx, p, u, password); err != nil {
		return wrap(err, "confirm a password")
	}
	return s.stepUpWith(ctx, p, u, proof)
}

func unlessLive(live bool) error {
	if !live {
		return fault.Unauthorized
	}
	return nil
}

// provePassword returns nil if password is the account's, else auth.invalid_credentials. It is throttled: a stolen session must not become a way to guess.
func (s *Service) provePassword(ctx context.Context, p api.Principal, u user, password string) error {
	if err := s.admit(ctx, throttlePassword, u.Email, uuid.Nil); err != nil {
		return err
	}
	ok, _, err := s.passwords.Verify(ctx, u.storedHash(), password)
	if errors.Is(err, crypto.ErrPasswordHash) {
		s.Log.ErrorContext(ctx, "the stored password hash of an account is unreadable", "user_id", u.ID)
		ok, err = false, nil
	}
	if err != nil {
		return err
	}
	if !ok || u.DisabledAt != nil {
		if err := s.failed(ctx, throttlePassword, u.Email); err != nil {
			return err
		}
		if err := s.record(ctx, Event{Type: eventConfirmFailed, Outcome: outcomeFailure, Reason: "wrong_password", UserID: u.ID, Identifier: u.Email, SessionID: p.SessionID}); err != nil {
			return err
		}
		return passwordWrong
	}
	return s.succeeded(ctx, throttlePassword, u.Email)
}

func (s *Service) account(ctx context.Context, id uuid.UUID) (u user, err error) {
	if err = s.DB.Gorm(ctx).Where("id = ?", id).Take(&u).Error; err != nil {
		return user{}, fmt.Errorf("read account %s: %w", id, err)
	}
	return u, nil
}
