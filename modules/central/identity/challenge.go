package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type challengeInput struct {
	Authorization string `header:"Authorization" doc:"Bearer, with the challenge token."`
	Body          struct {
		Proof
		DeviceName     string `json:"device_name,omitempty" maxLength:"100"`
		RememberDevice bool   `json:"remember_device,omitempty" doc:"Do not ask for a second factor on this device for a while; the answer has a device_token."`
	}
}

func (s *Service) handleChallenge(ctx context.Context, in *challengeInput) (*api.Data[SignedIn], error) {
	answer, err := s.AnswerChallenge(ctx, api.Bearer(in.Authorization), in.Body.Proof, in.Body.DeviceName, in.Body.RememberDevice)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

const (
	challengeTTL      = 5 * time.Minute
	challengeAttempts = 5 // so many wrong answers end a challenge
)

// challenge is a sign-in that has passed its first factor.
type challenge struct {
	ID        uuid.UUID
	UserID    uuid.UUID
	AMR       string `gorm:"column:amr"`
	Device    string
	Attempts  int
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    *time.Time
}

func (challenge) TableName() string { return "challenges" }

// openChallenge asks for the second factor before w gets a session. What belongs to the first factor is done now: it was proved.
func (s *Service) openChallenge(ctx context.Context, w wayIn, methods []string) (SignedIn, error) {
	at := s.now()
	c := challenge{ID: newID(), UserID: w.user.ID, AMR: w.amr, Device: w.device, CreatedAt: at, ExpiresAt: at.Add(challengeTTL)}
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		// Under the lock of the account: who changes its password or its factors ends the challenges that are open by then.
		now, err := s.lockUser(ctx, &w.user)
		if err != nil {
			return err
		}
		if now.DisabledAt != nil {
			return invalidCredentials
		}
		if w.unchanged != nil {
			if err := w.unchanged(now); err != nil {
				return err
			}
		}
		if w.within != nil {
			if err := w.within(ctx, now); err != nil {
				return err
			}
		}
		if err := s.DB.Gorm(ctx).Create(&c).Error; err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventChallenged, Outcome: outcomeSuccess, UserID: now.ID, Identifier: now.Email, AMR: w.amr})
	})
	if err != nil {
		return SignedIn{}, wrap(err, "ask for a second factor")
	}
	token, err := s.signChallenge(ctx, c)
	if err != nil {
		return SignedIn{}, err
	}
	return SignedIn{Status: statusTwoFactor, ChallengeToken: token, ExpiresIn: seconds(challengeTTL), Methods: methods}, nil
}

// AnswerChallenge opens the session that a challenge was about. Whatever is wrong, with the token, the challenge or the proof, is one
// answer, auth.two_factor_invalid. With remember, the answer has the token of a device that will not be asked again.
func (s *Service) AnswerChallenge(ctx context.Context, token string, proof Proof, device string, remember bool) (SignedIn, error) {
	if !proof.single() {
		return SignedIn{}, factorMissing
	}
	id, userID, err := s.verifyChallenge(ctx, token)
	if err != nil {
		return SignedIn{}, s.refused(ctx, err, Event{Type: eventTwoFactorFailed})
	}
	var u user
	err = s.DB.Gorm(ctx).Where("id = ?", userID).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return SignedIn{}, twoFactorInvalid
	}
	if err != nil {
		return SignedIn{}, fmt.Errorf("read account %s: %w", userID, err)
	}
	// Over all challenges of the account: who knows the password can open as many as they like.
	if err := s.admit(ctx, throttleChallenge, u.Email, uuid.Nil); err != nil {
		return SignedIn{}, err
	}
	c, err := s.countAnswer(ctx, id, userID)
	if err != nil {
		return SignedIn{}, s.judged(ctx, u, uuid.Nil, err)
	}
	factor, err := s.checkFactor(ctx, u, proof, ceremonyFor{Purpose: ceremonyChallenge, UserID: userID, ID: c.ID})
	if err != nil {
		return SignedIn{}, s.judged(ctx, u, uuid.Nil, err)
	}
	answer, err := s.passed(ctx, u, c, factor, device, remember)
	return answer, s.judged(ctx, u, uuid.Nil, err)
}

// passed opens the session: using up the challenge, using up the proof and making the session are one transaction, so that of any
// number of right answers one gets a session.
func (s *Service) passed(ctx context.Context, u user, c challenge, factor provenFactor, device string, remember bool) (SignedIn, error) {
	var deviceToken string
	if device == "" {
		device = c.Device
	}
	answer, err := s.finish(ctx, wayIn{
		user: u, amr: addAMR(c.AMR, factor.amr, amrMultiple), complete: true, device: device,
		unchanged: func(now user) error {
			if now.TwoFactorAt == nil {
				return twoFactorInvalid
			}
			return nil
		},
		within: func(ctx context.Context, now user) (err error) {
			done := s.DB.Gorm(ctx).Model(&challenge{}).Where("id = ? and used_at is null", c.ID).Update("used_at", s.now())
			if done.Error != nil {
				return fmt.Errorf("use challenge %s: %w", c.ID, done.Error)
			}
			if done.RowsAffected != 1 {
				return twoFactorInvalid
			}
			if err := factor.use(ctx); err != nil {
				return err
			}
			if remember {
				deviceToken, err = s.rememberDevice(ctx, now, device)
			}
			return err
		},
	})
	if isFault(err, invalidCredentials) {
		err = twoFactorInvalid // every failure looks the same
	}
	answer.DeviceToken, answer.RecoveryCodesLeft = deviceToken, factor.recoveryCodesLeft
	return answer, err
}

// countAnswer counts an answer before it is judged, so that it stays counted, and returns the challenge; twoFactorInvalid where it may not
// be answered any more.
func (s *Service) countAnswer(ctx context.Context, id, userID uuid.UUID) (challenge, error) {
	var found []challenge
	err := s.DB.Gorm(ctx).Raw(`update challenges set attempts = attempts + 1
		where id = ? and user_id = ? and used_at is null and expires_at > ? and attempts < ? returning *`,
		id, userID, s.now(), challengeAttempts).Scan(&found).Error
	if err != nil {
		return challenge{}, fmt.Errorf("count an answer to challenge %s: %w", id, err)
	}
	if len(found) == 0 {
		return challenge{}, twoFactorInvalid
	}
	return found[0], nil
}

// Challenge tokens are signed like access tokens, and taken for one by nobody: their type and their audience are others.
const (
	challengeType              = "mfa+jwt"
	audienceChallenge audience = "homecore:challenge"
)

type challengeClaims struct {
	Issuer    string           `json:"iss"`
	Subject   uuid.UUID        `json:"sub"`
	Audience  audience         `json:"aud"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	ExpiresAt *jwt.NumericDate `json:"exp"`
	ID        uuid.UUID        `json:"jti"`
}

// UnmarshalJSON reads claims whose dates are dates.
func (c *challengeClaims) UnmarshalJSON(raw []byte) error {
	if err := numericDates(raw); err != nil {
		return err
	}
	type plain challengeClaims
	return json.Unmarshal(raw, (*plain)(c))
}

// The methods jwt asks for. It does not get to validate: verifyChallenge does.
func (c *challengeClaims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt, nil }
func (c *challengeClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt, nil }
func (c *challengeClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *challengeClaims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *challengeClaims) GetSubject() (string, error)                  { return c.Subject.String(), nil }
func (c *challengeClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{string(c.Audience)}, nil
}

func (s *Service) signChallenge(ctx context.Context, c challenge) (string, error) {
	set, err := s.keys.current(ctx)
	if err != nil {
		return "", err
	}
	if set.signer == nil {
		return "", errors.New("there is no active signing key")
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, &challengeClaims{
		Issuer: s.Issuer, Subject: c.UserID, Audience: audienceChallenge, ID: c.ID,
		IssuedAt: jwt.NewNumericDate(c.CreatedAt), ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
	})
	token.Header["typ"], token.Header["kid"] = challengeType, set.signerID
	signed, err := token.SignedString(set.signer)
	if err != nil {
		return "", fmt.Errorf("sign a challenge token: %w", err)
	}
	return signed, nil
}

// verifyChallenge returns which challenge token is for, and whose; twoFactorInvalid for anything that is no challenge token of ours.
func (s *Service) verifyChallenge(ctx context.Context, token string) (id, userID uuid.UUID, err error) {
	if len(token) > maxTokenBytes || strings.ContainsAny(token, "\r\n") {
		return uuid.Nil, uuid.Nil, twoFactorInvalid
	}
	var (
		c      challengeClaims
		keyErr error
	)
	_, err = s.access.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if len(t.Header) != 3 || t.Header["typ"] != challengeType {
			return nil, errClaims
		}
		kid, _ := t.Header["kid"].(string)
		key, ok, err := s.keys.find(ctx, kid)
		if err != nil {
			keyErr = err
			return nil, err
		}
		if !ok || t.Method != key.method {
			return nil, errClaims
		}
		return key.public, nil
	})
	if keyErr != nil {
		return uuid.Nil, uuid.Nil, keyErr
	}
	now := s.now()
	if err != nil || c.Issuer != s.Issuer || c.Audience != audienceChallenge || c.Subject == uuid.Nil || c.ID == uuid.Nil ||
		c.IssuedAt == nil || c.ExpiresAt == nil || c.IssuedAt.After(now.Add(issuedLeeway)) || !now.Before(c.ExpiresAt.Time) {
		return uuid.Nil, uuid.Nil, twoFactorInvalid
	}
	return c.ID, c.Subject, nil
}

// addAMR adds words to the methods of a sign-in, each once.
func addAMR(amr string, words ...string) string {
	all := strings.Fields(amr)
	for _, w := range words {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	return strings.Join(all, " ")
}

// isFault reports whether err is that refusal.
func isFault(err error, f *fault.Fault) bool { return err != nil && errors.Is(err, f) }
