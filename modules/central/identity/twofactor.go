package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
)

// enrolmentTTL is how long a secret that has been shown waits to be proved.
const enrolmentTTL = 10 * time.Minute

// enrolment is an authenticator app that has not been proved yet. The factor of before, if there is one, goes on until it is.
type enrolment struct {
	UserID    uuid.UUID `gorm:"primaryKey"`
	SessionID uuid.UUID
	Secret    []byte // sealed
	CreatedAt time.Time
	ExpiresAt time.Time
}

func (enrolment) TableName() string { return "totp_enrolments" }

type startTwoFactorInput struct {
	Body *Proof `required:"false" doc:"Where a second factor is on already: one of it."`
}

// Enrolment is what an authenticator app needs. It is shown once.
type Enrolment struct {
	Secret     string `json:"secret" doc:"In base32, for typing it."`
	OTPAuthURL string `json:"otpauth_url"`
	QRSVG      string `json:"qr_svg" doc:"The URL as a QR code."`
}

// handleStartTwoFactor makes a secret for an authenticator app. Nothing changes until a code of it is confirmed.
func (s *Service) handleStartTwoFactor(ctx context.Context, in *startTwoFactorInput) (*api.Data[Enrolment], error) {
	p := api.MustPrincipal(ctx)
	u, factor, err := s.currentFactor(ctx, p, in.Body)
	if err != nil {
		return nil, wrap(err, "start an enrolment")
	}
	secret, at := crypto.Bytes(totpSecretBytes), s.now()
	row := enrolment{UserID: u.ID, SessionID: p.SessionID, Secret: s.totpSecrets.Seal(secret, u.ID[:]), CreatedAt: at, ExpiresAt: at.Add(enrolmentTTL)}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.useCurrentFactor(ctx, u, factor); err != nil {
			return err
		}
		return s.DB.Gorm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "user_id"}}, UpdateAll: true}).Create(&row).Error
	})
	if err != nil {
		return nil, wrap(err, "start an enrolment")
	}
	key, err := totpURL(s.Brand.Name, u.Email, secret)
	if err != nil {
		return nil, err
	}
	svg, err := qrSVG(key.URL())
	if err != nil {
		return nil, err
	}
	return api.OK(Enrolment{Secret: key.Secret(), OTPAuthURL: key.URL(), QRSVG: svg}), nil
}

// currentFactor asks for a step-up and, of an account that has a second factor, for that too: it is judged, to be used by the caller.
func (s *Service) currentFactor(ctx context.Context, p api.Principal, proof *Proof) (user, provenFactor, error) {
	if err := s.requireStepUp(ctx, p); err != nil {
		return user{}, provenFactor{}, err
	}
	u, err := s.account(ctx, p.UserID)
	if err != nil {
		return user{}, provenFactor{}, err
	}
	if err := requireOwner(u); err != nil {
		return user{}, provenFactor{}, err
	}
	if u.TwoFactorAt == nil {
		return u, provenFactor{}, nil
	}
	if proof == nil {
		return user{}, provenFactor{}, factorMissing
	}
	factor, err := s.proveFactor(ctx, p, u, *proof)
	return u, factor, err
}

// useCurrentFactor uses up what currentFactor has judged, in the transaction ctx carries.
func (s *Service) useCurrentFactor(ctx context.Context, u user, factor provenFactor) error {
	now, err := s.lockUser(ctx, &u)
	if err != nil {
		return err
	}
	if !sameTime(now.TwoFactorAt, u.TwoFactorAt) {
		return twoFactorInvalid
	}
	if factor.use == nil {
		return nil
	}
	return factor.use(ctx)
}

type confirmTwoFactorInput struct {
	Body struct {
		Code string `json:"code" minLength:"1" maxLength:"16"`
	}
}

// handleConfirmTwoFactor turns the authenticator app on that a code shows to be set up, and shows the recovery codes.
func (s *Service) handleConfirmTwoFactor(ctx context.Context, in *confirmTwoFactorInput) (*api.Data[RecoveryCodes], error) {
	p := api.MustPrincipal(ctx)
	if err := s.requireStepUp(ctx, p); err != nil {
		return nil, err
	}
	var codes []string
	_, err := s.changeFactors(ctx, p, factorChange{event: eventTwoFactorEnabled, letter: letterTwoFactorOn, do: func(ctx context.Context, u *user) error {
		row, step, err := s.provedEnrolment(ctx, p, in.Body.Code)
		if err != nil {
			return err
		}
		// The code has been accepted: what it is the code of is the last step already.
		factor := totpFactor{UserID: u.ID, Secret: row.Secret, LastStep: step, CreatedAt: s.now()}
		err = s.DB.Gorm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "user_id"}}, UpdateAll: true}).Create(&factor).Error
		if err != nil {
			return fmt.Errorf("keep the authenticator of %s: %w", u.ID, err)
		}
		if err := s.DB.Gorm(ctx).Where("user_id = ?", u.ID).Delete(&enrolment{}).Error; err != nil {
			return err
		}
		if codes, err = s.replaceRecoveryCodes(ctx, u.ID, uuid.Nil); err != nil {
			return err
		}
		return s.gainedFactor(ctx, p, u, "otp")
	}})
	if err != nil {
		return nil, wrap(err, "confirm an enrolment")
	}
	return api.OK(RecoveryCodes{RecoveryCodes: codes}), nil
}

// provedEnrolment returns the enrolment that the caller's session has begun, and the step of the code that proves it.
func (s *Service) provedEnrolment(ctx context.Context, p api.Principal, code string) (enrolment, int64, error) {
	var row enrolment
	err := s.DB.Gorm(ctx).Where("user_id = ? and session_id = ? and expires_at > ?", p.UserID, p.SessionID, s.now()).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, 0, twoFactorNotStarted
	}
	if err != nil {
		return row, 0, err
	}
	secret, err := s.totpSecrets.Open(row.Secret, p.UserID[:])
	if err != nil {
		return row, 0, fmt.Errorf("open the enrolment of %s: %w", p.UserID, err)
	}
	step, ok, err := matchTOTP(secret, code, s.now(), 0)
	if err == nil && !ok {
		err = enrolmentInvalid
	}
	return row, step, err
}

type stopTwoFactorInput struct {
	Body *Proof `required:"false" doc:"The current second factor."`
}

// handleStopTwoFactor takes the authenticator app off the account, and the recovery codes where no passkey is left that they stand in for.
func (s *Service) handleStopTwoFactor(ctx context.Context, in *stopTwoFactorInput) (*api.Data[TwoFactor], error) {
	p := api.MustPrincipal(ctx)
	u, factor, err := s.currentFactor(ctx, p, in.Body)
	if err != nil {
		return nil, wrap(err, "turn two-factor off")
	}
	if u.TwoFactorAt == nil {
		return nil, twoFactorOff
	}
	u, err = s.changeFactors(ctx, p, factorChange{event: eventTwoFactorDisabled, letter: letterTwoFactorOff, proof: factor, do: func(ctx context.Context, u *user) error {
		done := s.DB.Gorm(ctx).Where("user_id = ?", u.ID).Delete(&totpFactor{})
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return twoFactorOff // only passkeys, which are taken off one by one
		}
		return s.lostFactor(ctx, u)
	}})
	if err != nil {
		return nil, wrap(err, "turn two-factor off")
	}
	required, err := s.secondFactorRequired(ctx, u)
	if err != nil {
		return nil, err
	}
	return api.OK(TwoFactor{Enabled: u.TwoFactorAt != nil, Required: required}), nil
}
