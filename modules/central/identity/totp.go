package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/google/uuid"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
	"gorm.io/gorm"
)

// RFC 6238 as every authenticator app knows it: HMAC-SHA1, six digits, thirty seconds.
const (
	totpPeriod      = 30
	totpSkew        = 1 // steps to either side of now: clocks differ, and people type slowly
	totpSecretBytes = 20
)

// totpFactor is an authenticator app that has been proved.
type totpFactor struct {
	UserID    uuid.UUID `gorm:"primaryKey"`
	Secret    []byte    // sealed
	LastStep  int64
	CreatedAt time.Time
}

func (totpFactor) TableName() string { return "totp_factors" }

func totpStep(t time.Time) int64 { return t.Unix() / totpPeriod }

// totpCode returns the code of one step.
func totpCode(secret []byte, step int64) (string, error) {
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	code, err := hotp.GenerateCodeCustom(text, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}) //nolint:gosec // steps are positive
	if err != nil {
		return "", fmt.Errorf("compute a one-time code: %w", err)
	}
	return code, nil
}

// matchTOTP returns the step whose code it is, the newest first; false where it is the code of none, or of none after last.
// otp.Validate would only say yes or no, and a code that was good once must be known again (RFC 6238 §5.2).
func matchTOTP(secret []byte, code string, now time.Time, last int64) (step int64, ok bool, err error) {
	code = strings.Join(strings.Fields(code), "") // apps show "123 456"
	at := totpStep(now)
	for step := at + totpSkew; step >= at-totpSkew && step > last; step-- {
		want, err := totpCode(secret, step)
		if err != nil {
			return 0, false, err
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true, nil
		}
	}
	return 0, false, nil
}

// checkTOTP judges a code of the user's app. What it accepts is used up in the transaction that goes on with it.
func (s *Service) checkTOTP(ctx context.Context, of uuid.UUID, code string) (provenFactor, error) {
	var f totpFactor
	err := s.DB.Gorm(ctx).Where("user_id = ?", of).Take(&f).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return provenFactor{}, twoFactorInvalid
	}
	if err != nil {
		return provenFactor{}, fmt.Errorf("read the authenticator of %s: %w", of, err)
	}
	secret, err := s.totpSecrets.Open(f.Secret, of[:])
	if err != nil {
		return provenFactor{}, fmt.Errorf("open the authenticator's secret of %s: %w", of, err)
	}
	step, ok, err := matchTOTP(secret, code, s.now(), f.LastStep)
	if err != nil {
		return provenFactor{}, err
	}
	if !ok {
		return provenFactor{}, twoFactorInvalid
	}
	return provenFactor{amr: "otp", use: func(ctx context.Context) error {
		// The one UPDATE that decides among any number of requests with the same code.
		done := s.DB.Gorm(ctx).Exec("update totp_factors set last_step = ? where user_id = ? and secret = ? and last_step < ?", step, of, f.Secret, step)
		if done.Error != nil {
			return fmt.Errorf("use a one-time code of %s: %w", of, done.Error)
		}
		if done.RowsAffected != 1 {
			return twoFactorInvalid
		}
		return nil
	}}, nil
}

// totpURL returns what an authenticator app reads, https://github.com/google/google-authenticator/wiki/Key-Uri-Format.
func totpURL(issuer, account string, secret []byte) (*otp.Key, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: account, Secret: secret, Period: totpPeriod,
		Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return nil, fmt.Errorf("write an otpauth URL: %w", err)
	}
	return key, nil
}

// quietZone is the margin that scanners need around a QR code, in modules (ISO/IEC 18004).
const quietZone = 4

// qrSVG draws text as a QR code: one path of dark modules on white, as large as its place.
func qrSVG(text string) (string, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	n := code.Bounds().Dx()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`,
		n+2*quietZone, n+2*quietZone, n+2*quietZone, n+2*quietZone)
	dark := func(x, y int) bool { r, _, _, _ := code.At(x, y).RGBA(); return r == 0 }
	for y := range n {
		for x := 0; x < n; x++ {
			from := x
			for x < n && dark(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, x-from, x-from)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String(), nil
}
