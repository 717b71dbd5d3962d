package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
)

// Recovery codes are for who has lost the authenticator: ten, of 60 random bits each. Their letters are the digits and letters that
// nobody takes for another: no 0 and O, no 1 and I.
const (
	recoveryCodes    = 10
	recoveryAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	recoveryLength   = 12
	recoveryGroup    = 4
)

type recoveryCode struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	MAC       []byte     `gorm:"column:mac"`
	SessionID *uuid.UUID // that had it made on the strength of a step-up; nil where the factor it stands in for was proved
	CreatedAt time.Time
	UsedAt    *time.Time
}

func (recoveryCode) TableName() string { return "recovery_codes" }

// newRecoveryCode returns a code as it is shown: ABCD-EFGH-JKLM.
func newRecoveryCode() string {
	var raw [recoveryLength]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	var b strings.Builder
	for i, r := range raw {
		if i > 0 && i%recoveryGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(recoveryAlphabet[int(r)%len(recoveryAlphabet)]) // 32 divides 256: no letter is likelier than another
	}
	return b.String()
}

// plainRecoveryCode returns a code as it is compared, however it was typed: without what divides it, in capitals.
func plainRecoveryCode(typed string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", "\u2010", "", "\u2013", "", " ", "", "\u00a0", "", "\t", "").Replace(typed))
}

// A plain hash of 60 bits could be tried through by who has a dump; a MAC needs the server's key too.
func (s *Service) recoveryMAC(of uuid.UUID, code string) []byte {
	return s.recovery.Sum(of[:], []byte(plainRecoveryCode(code)))
}

// replaceRecoveryCodes voids the user's recovery codes and returns new ones, in the transaction ctx carries. By is the session that wants them
// without having shown the current factor, else zero.
func (s *Service) replaceRecoveryCodes(ctx context.Context, of, by uuid.UUID) ([]string, error) {
	if err := s.DB.Gorm(ctx).Where("user_id = ?", of).Delete(&recoveryCode{}).Error; err != nil {
		return nil, fmt.Errorf("void the recovery codes of %s: %w", of, err)
	}
	codes, rows := make([]string, recoveryCodes), make([]recoveryCode, recoveryCodes)
	for i := range codes {
		codes[i] = newRecoveryCode()
		rows[i] = recoveryCode{ID: newID(), UserID: of, MAC: s.recoveryMAC(of, codes[i]), CreatedAt: s.now()}
		if by != uuid.Nil {
			rows[i].SessionID = &by
		}
	}
	if err := s.DB.Gorm(ctx).Create(&rows).Error; err != nil {
		return nil, fmt.Errorf("keep the recovery codes of %s: %w", of, err)
	}
	return codes, nil
}

// checkRecoveryCode judges a recovery code. Using it tells its owner. To the session that had it made it is no current factor: a session in
// other hands would make its own.
func (s *Service) checkRecoveryCode(ctx context.Context, of uuid.UUID, code string, on ceremonyFor) (provenFactor, error) {
	var row recoveryCode
	err := s.DB.Gorm(ctx).Where("user_id = ? and mac = ? and used_at is null and session_id is distinct from ?", of, s.recoveryMAC(of, code), on.ID).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return provenFactor{}, twoFactorInvalid
	}
	if err != nil {
		return provenFactor{}, fmt.Errorf("look for a recovery code of %s: %w", of, err)
	}
	left := new(int)
	return provenFactor{amr: "otp", recoveryCodesLeft: left, use: func(ctx context.Context) error {
		done := s.DB.Gorm(ctx).Model(&recoveryCode{}).Where("id = ? and used_at is null", row.ID).Update("used_at", s.now())
		if done.Error != nil {
			return fmt.Errorf("use a recovery code of %s: %w", of, done.Error)
		}
		if done.RowsAffected != 1 {
			return twoFactorInvalid
		}
		if *left, err = s.recoveryCodesLeft(ctx, of); err != nil {
			return err
		}
		if err := s.record(ctx, Event{Type: eventRecoveryCodeUsed, Outcome: outcomeSuccess, UserID: of}); err != nil {
			return err
		}
		return s.notify(ctx, letterRecoveryCodeUsed, of, *left)
	}}, nil
}

func (s *Service) recoveryCodesLeft(ctx context.Context, of uuid.UUID) (int, error) {
	var n int64
	if err := s.DB.Gorm(ctx).Model(&recoveryCode{}).Where("user_id = ? and used_at is null", of).Count(&n).Error; err != nil {
		return 0, fmt.Errorf("count the recovery codes of %s: %w", of, err)
	}
	return int(n), nil
}

// RecoveryCodes are shown once.
type RecoveryCodes struct {
	RecoveryCodes []string `json:"recovery_codes" doc:"Each is good once, in place of a code. They are not shown again."`
}

// handleRecoveryCodes voids the caller's recovery codes and shows new ones.
func (s *Service) handleRecoveryCodes(ctx context.Context, _ *struct{}) (*api.Data[RecoveryCodes], error) {
	p := api.MustPrincipal(ctx)
	if err := s.requireStepUp(ctx, p); err != nil {
		return nil, err
	}
	var codes []string
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockUser(ctx, &user{ID: p.UserID})
		if err != nil {
			return err
		}
		if u.TwoFactorAt == nil {
			return twoFactorOff
		}
		if codes, err = s.replaceRecoveryCodes(ctx, u.ID, p.SessionID); err != nil {
			return err
		}
		if err := s.record(ctx, Event{Type: eventRecoveryCodesNew, Outcome: outcomeSuccess, UserID: u.ID, SessionID: p.SessionID}); err != nil {
			return err
		}
		return s.notify(ctx, letterRecoveryCodesNew, u.ID, len(codes))
	})
	if err != nil {
		return nil, wrap(err, "make recovery codes")
	}
	return api.OK(RecoveryCodes{RecoveryCodes: codes}), nil
}
