package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/locale"
)

// CreateVerified makes an account whose address counts as verified, and returns its id. One that exists already and is verified is
// left as it is; one that is not gets this name and password, and loses its sessions: nobody had shown that the address was theirs.
// For operators, demonstration data and tests: it sends no mail.
func (s *Service) CreateVerified(ctx context.Context, name, email, password string, language locale.Language) (uuid.UUID, error) {
	known, err := s.findByEmail(ctx, email)
	if err != nil {
		return uuid.Nil, err
	}
	if known != nil && known.EmailVerifiedAt != nil {
		return known.ID, nil
	}
	made, err := s.newUser(ctx, name, email, password, language)
	if err != nil {
		return uuid.Nil, err
	}
	made.EmailVerifiedAt = &made.CreatedAt
	var ended []uuid.UUID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		ended, err = s.createVerified(ctx, &made)
		return err
	})
	if err != nil {
		return uuid.Nil, wrap(err, "create a verified account")
	}
	s.ended.add(ended...)
	s.AccountChanged(made.ID)
	return made.ID, nil
}

const upsertVerified = `
insert into users (id, name, email, email_verified_at, password_hash, password_set_at, locale, created_at, updated_at)
values (@id, @name, @email, @now, @hash, @now, @locale, @now, @now)
on conflict (email) do update set name = excluded.name, email_verified_at = excluded.email_verified_at,
	password_hash = excluded.password_hash, password_set_at = excluded.password_set_at,
	password_claimed = false, claim_id = null, updated_at = excluded.updated_at
	where users.email_verified_at is null
returning id`

func (s *Service) createVerified(ctx context.Context, made *user) (ended []uuid.UUID, err error) {
	var ids []uuid.UUID
	err = s.DB.Gorm(ctx).Raw(upsertVerified, map[string]any{"id": made.ID, "name": made.Name, "email": made.Email, "now": made.CreatedAt,
		"hash": made.PasswordHash, "locale": made.Locale}).Scan(&ids).Error
	if err != nil {
		return nil, err
	}
	if len(ids) == 1 {
		made.ID = ids[0]
		return s.evict(ctx, made.ID)
	}
	// Somebody else verified it between our look and our insert.
	return nil, s.DB.Gorm(ctx).Model(&user{}).Select("id").Where("email = ?", made.Email).Take(&made.ID).Error
}

// Disable shuts an account: its sessions end, and signing in is refused like a wrong password. It returns the fault
// auth.account_unknown where there is no such account.
func (s *Service) Disable(ctx context.Context, userID uuid.UUID) error {
	var ended []uuid.UUID
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockUser(ctx, &user{ID: userID})
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return accountUnknown
		}
		if err != nil {
			return err
		}
		now := s.now()
		if err := s.DB.Gorm(ctx).Model(&u).Select("disabled_at", "updated_at").Updates(user{DisabledAt: &now, UpdatedAt: now}).Error; err != nil {
			return fmt.Errorf("disable account %s: %w", userID, err)
		}
		ended, err = s.endSessions(ctx, userID, endedDisabled, "true")
		return err
	})
	if err != nil {
		return wrap(err, "disable an account")
	}
	s.ended.add(ended...)
	s.AccountChanged(userID)
	return nil
}
