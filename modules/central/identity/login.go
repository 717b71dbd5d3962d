package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

type loginInput struct {
	Body struct {
		Email       string `json:"email" maxLength:"320"`
		Password    string `json:"password"`
		DeviceName  string `json:"device_name,omitempty" maxLength:"100"`
		DeviceToken string `json:"device_token,omitempty" maxLength:"512" doc:"From an earlier second factor that was to be remembered."`
	}
}

func (s *Service) handleLogin(ctx context.Context, in *loginInput) (*api.Data[SignedIn], error) {
	answer, err := s.Login(ctx, in.Body.Email, in.Body.Password, in.Body.DeviceName, in.Body.DeviceToken)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

// Login signs in who knows the password. An unknown address, a wrong password, an account without one and a disabled account are
// one answer, auth.invalid_credentials, after the same work. DeviceToken is of a remembered device, "" where there is none.
func (s *Service) Login(ctx context.Context, email, password, device, deviceToken string) (SignedIn, error) {
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return SignedIn{}, err
	}
	ok, rehash, err := s.passwords.Verify(ctx, u.storedHash(), password)
	if errors.Is(err, crypto.ErrPasswordHash) {
		s.Log.ErrorContext(ctx, "the stored password hash of an account is unreadable", "user_id", u.ID)
		ok, err = false, nil
	}
	if err != nil {
		return SignedIn{}, err
	}
	if !ok {
		return SignedIn{}, s.refuseLogin(ctx, u, email)
	}
	if u.DisabledAt == nil {
		if err := s.confirmClaim(ctx, u); err != nil {
			return SignedIn{}, err
		}
	}
	var renewed string
	if rehash && u.DisabledAt == nil {
		if renewed, err = s.passwords.Hash(ctx, password); err != nil {
			return SignedIn{}, err
		}
	}
	return s.finish(ctx, wayIn{
		user: *u, amr: amrPassword, device: device, deviceToken: deviceToken,
		unchanged: func(now user) error {
			if !sameTime(now.PasswordSetAt, u.PasswordSetAt) || claimChanged(*u, now) {
				return invalidCredentials
			}
			return nil
		},
		within: func(ctx context.Context, now user) error {
			if renewed == "" || now.storedHash() != u.storedHash() {
				return nil
			}
			return s.DB.Gorm(ctx).Model(&now).Select("password_hash").Updates(user{PasswordHash: &renewed}).Error
		},
	})
}

// refuseLogin records a password that was not the account's, or had none to be. The caller learns nothing of the difference.
func (s *Service) refuseLogin(ctx context.Context, u *user, email string) error {
	e := Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: "unknown_account", AMR: amrPassword}
	e.Identifier, _ = normaliseEmail(email)
	if u != nil {
		e.UserID, e.Reason = u.ID, "wrong_password"
	}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return invalidCredentials
}

// findByEmail returns the account of an address, however it is written; nil where there is none.
func (s *Service) findByEmail(ctx context.Context, email string) (*user, error) {
	email, err := normaliseEmail(email)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // what is no address has no account
	}
	var u user
	err = s.DB.Gorm(ctx).Where("email = ?", email).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("find an account: %w", err)
	}
	return &u, nil
}

// lockUser reads u again, locked against changes; sessions may still refer to it.
func (s *Service) lockUser(ctx context.Context, u *user) (user, error) {
	var now user
	err := s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", u.ID).Take(&now).Error
	if err != nil {
		return user{}, fmt.Errorf("lock account %s: %w", u.ID, err)
	}
	return now, nil
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// wrap says what was being done when err came up, unless err is a refusal, which says it all.
func wrap(err error, doing string) error {
	if _, ok := fault.From(err); ok || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}
