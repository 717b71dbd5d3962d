package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// SignedIn is the answer of a sign-in.
type SignedIn struct {
	Status string `json:"status" enum:"authenticated"`
	Tokens
}

func (s *Service) handleLogin(ctx context.Context, in *loginInput) (*api.Data[SignedIn], error) {
	tokens, err := s.Login(ctx, in.Body.Email, in.Body.Password, in.Body.DeviceName)
	if err != nil {
		return nil, err
	}
	return api.OK(SignedIn{Status: "authenticated", Tokens: tokens}), nil
}

// amrPassword is RFC 8176's word for a password.
const amrPassword = "pwd"

// Login opens a session for who knows the password. An unknown address, a wrong password, an account without one and a disabled
// account are one answer, auth.invalid_credentials, after the same work.
func (s *Service) Login(ctx context.Context, email, password, device string) (Tokens, error) {
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return Tokens{}, err
	}
	ok, rehash, err := s.passwords.Verify(ctx, u.storedHash(), password)
	if errors.Is(err, crypto.ErrPasswordHash) {
		s.Log.ErrorContext(ctx, "the stored password hash of an account is unreadable", "user_id", u.ID)
		ok, err = false, nil
	}
	if err != nil {
		return Tokens{}, err
	}
	if !ok || u.DisabledAt != nil {
		s.recordRefusal(ctx, u, ok)
		return Tokens{}, invalidCredentials
	}
	var renewed string
	if rehash {
		if renewed, err = s.passwords.Hash(ctx, password); err != nil {
			return Tokens{}, err
		}
	}
	var (
		opened session
		c      chain
	)
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		// The password took a while to check: the account may have been disabled, or its password changed, meanwhile.
		now, err := s.lockUser(ctx, u)
		if err != nil {
			return err
		}
		if now.DisabledAt != nil || !sameTime(now.PasswordSetAt, u.PasswordSetAt) {
			return invalidCredentials
		}
		if renewed != "" && now.storedHash() == u.storedHash() {
			if err := s.DB.Gorm(ctx).Model(&now).Select("password_hash").Updates(user{PasswordHash: &renewed}).Error; err != nil {
				return err
			}
		}
		if opened, err = s.openSession(ctx, now, amrPassword, device); err != nil {
			return err
		}
		c, err = s.openChain(ctx, opened, audienceCentral)
		return err
	})
	if err != nil {
		return Tokens{}, wrap(err, "sign in")
	}
	s.record(ctx, "signed in", slog.String("user_id", u.ID.String()), slog.String("session_id", opened.ID.String()))
	all, err := s.Tenants.Of(ctx, u.ID)
	if err != nil {
		return Tokens{}, fmt.Errorf("sign in: %w", err)
	}
	return s.issue(ctx, *u, opened, c, nil, all)
}

// recordRefusal logs why a sign-in was refused. Of somebody unknown it keeps nothing but that.
func (s *Service) recordRefusal(ctx context.Context, u *user, knew bool) {
	if u == nil {
		s.record(ctx, "sign-in refused", slog.String("reason", "unknown account"))
		return
	}
	reason := "wrong password"
	if knew {
		reason = "disabled"
	}
	s.record(ctx, "sign-in refused", slog.String("reason", reason), slog.String("user_id", u.ID.String()))
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
