package identity

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// What a challenge can be answered with.
const (
	methodTOTP     = "totp"
	methodRecovery = "recovery_code"
	methodPasskey  = "passkey"
)

// Types of these flows' events.
const (
	eventTwoFactorEnabled  = "two_factor_enabled"
	eventTwoFactorDisabled = "two_factor_disabled"
	eventTwoFactorFailed   = "two_factor_failed"
	eventChallenged        = "two_factor_challenged"
	eventRecoveryCodeUsed  = "recovery_code_used"
	eventRecoveryCodesNew  = "recovery_codes_renewed"
	eventDeviceRemembered  = "device_remembered"
	eventDeviceForgotten   = "device_forgotten"
	eventPasskeyAdded      = "passkey_added"
	eventPasskeyRemoved    = "passkey_removed"
)

// Why sessions end.
const endedSecondFactor = "second_factor_changed"

// Proof is a second factor as a request carries it: one of the three.
type Proof struct {
	Code         string         `json:"code,omitempty" maxLength:"16" doc:"From the authenticator app."`
	RecoveryCode string         `json:"recovery_code,omitempty" maxLength:"64" doc:"With or without its dashes, in any case."`
	Passkey      *PasskeyAnswer `json:"passkey,omitempty" doc:"What the browser made of POST /auth/two-factor/passkey/options."`
}

func (p Proof) single() bool {
	n := 0
	for _, given := range []bool{p.Code != "", p.RecoveryCode != "", p.Passkey != nil} {
		if given {
			n++
		}
	}
	return n == 1
}

// provenFactor is a second factor that was judged good and is not used yet.
type provenFactor struct {
	amr string
	// use makes sure that it is good once, in the transaction that goes on with it: twoFactorInvalid where another was faster.
	use               func(ctx context.Context) error
	recoveryCodesLeft *int // after a recovery code, once it is used
}

// checkFactor judges a second factor of u: twoFactorInvalid, whatever is wrong with it. On is what a passkey must have been asked for.
func (s *Service) checkFactor(ctx context.Context, u user, p Proof, on ceremonyFor) (provenFactor, error) {
	switch {
	case p.Code != "":
		return s.checkTOTP(ctx, u.ID, p.Code)
	case p.RecoveryCode != "":
		return s.checkRecoveryCode(ctx, u.ID, p.RecoveryCode, on)
	default:
		return s.checkPasskey(ctx, u, *p.Passkey, on)
	}
}

// proveFactor judges the current second factor of somebody who is signed in, with the throttle of challenges.
func (s *Service) proveFactor(ctx context.Context, p api.Principal, u user, proof Proof) (provenFactor, error) {
	if !proof.single() {
		return provenFactor{}, factorMissing
	}
	if err := s.admit(ctx, throttleChallenge, u.Email, uuid.Nil); err != nil {
		return provenFactor{}, err
	}
	factor, err := s.checkFactor(ctx, u, proof, ceremonyFor{Purpose: ceremonyProve, UserID: u.ID, ID: p.SessionID})
	return factor, s.judged(ctx, u, p.SessionID, err)
}

// judged tells the throttle and the log what became of a second factor, and returns err.
func (s *Service) judged(ctx context.Context, u user, sessionID uuid.UUID, err error) error {
	if err == nil {
		return s.succeeded(ctx, throttleChallenge, u.Email)
	}
	if !isFault(err, twoFactorInvalid) {
		return err
	}
	if err := s.failed(ctx, throttleChallenge, u.Email); err != nil {
		return err
	}
	if err := s.record(ctx, Event{Type: eventTwoFactorFailed, Outcome: outcomeFailure, Reason: "wrong_code", UserID: u.ID, Identifier: u.Email, SessionID: sessionID}); err != nil {
		return err
	}
	return err
}

const factorsOf = `
select exists (select from totp_factors where user_id = @user) as totp,
	exists (select from recovery_codes where user_id = @user and used_at is null) as recovery,
	exists (select from passkeys where user_id = @user) as passkey`

// secondFactors returns the methods the user could answer a challenge with: totp, recovery_code, passkey. None: no challenge.
func (s *Service) secondFactors(ctx context.Context, u user) ([]string, error) {
	if u.TwoFactorAt == nil {
		return nil, nil
	}
	var has struct{ TOTP, Recovery, Passkey bool }
	if err := s.DB.Gorm(ctx).Raw(factorsOf, map[string]any{"user": u.ID}).Scan(&has).Error; err != nil {
		return nil, fmt.Errorf("read the second factors of %s: %w", u.ID, err)
	}
	var methods []string
	for _, m := range []struct {
		has  bool
		name string
	}{{has.TOTP, methodTOTP}, {has.Recovery, methodRecovery}, {has.Passkey, methodPasskey}} {
		if m.has {
			methods = append(methods, m.name)
		}
	}
	return methods, nil
}

// secondFactorRequired reports whether the user's platform roles or one of their tenants ask for a second factor.
func (s *Service) secondFactorRequired(ctx context.Context, u user) (bool, error) {
	if s.operatorsNeedTwoFactor(u) {
		return true, nil
	}
	all, err := s.Tenants.Of(ctx, u.ID)
	if err != nil {
		return false, fmt.Errorf("read the memberships of %s: %w", u.ID, err)
	}
	return s.twoFactorAsked(u, all), nil
}

func (s *Service) operatorsNeedTwoFactor(u user) bool {
	return s.Config.OperatorsNeedTwoFactor && u.Operator
}

// twoFactorAsked is secondFactorRequired for who knows the user's memberships already.
func (s *Service) twoFactorAsked(u user, all []Membership) bool {
	return s.operatorsNeedTwoFactor(u) || slices.ContainsFunc(all, func(m Membership) bool { return m.TwoFactorRequired })
}

// stepUpWith notes that the caller has just proved who they are, by the password. A session that a remembered device spared the second
// factor has to show that too, and counts as two factors from then on: a stolen device with a stolen password must not become more.
func (s *Service) stepUpWith(ctx context.Context, p api.Principal, u user, proof Proof) error {
	var in session
	if err := s.DB.Gorm(ctx).Select("id", "device_id").Where("id = ?", p.SessionID).Take(&in).Error; err != nil {
		return fmt.Errorf("read session %s: %w", p.SessionID, err)
	}
	if in.DeviceID == nil || u.TwoFactorAt == nil {
		return s.stepUp(ctx, p, amrPassword)
	}
	factor, err := s.proveFactor(ctx, p, u, proof)
	if err != nil {
		return wrap(err, "step up")
	}
	return s.stepUpBy(ctx, p, u, factor)
}

// stepUpBy uses a factor that was judged good as the fresh proof of who the caller is.
func (s *Service) stepUpBy(ctx context.Context, p api.Principal, u user, factor provenFactor) error {
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		if _, err := s.lockUser(ctx, &u); err != nil {
			return err
		}
		if err := factor.use(ctx); err != nil {
			return err
		}
		if err := s.countFactor(ctx, p.SessionID, factor.amr); err != nil {
			return err
		}
		return s.stepUp(ctx, p, factor.amr)
	})
	s.shown.Invalidate(p.SessionID)
	return wrap(err, "step up")
}

// countFactor notes on a session, in the transaction ctx carries, that a second factor was proved in it; fault.Unauthorized where it has
// ended meanwhile.
func (s *Service) countFactor(ctx context.Context, sessionID uuid.UUID, amr string) error {
	in, live, err := s.lockSession(ctx, sessionID)
	if err != nil {
		return err
	}
	if !live {
		return fault.Unauthorized
	}
	if err := s.DB.Gorm(ctx).Model(&in).Select("amr", "device_id").Updates(session{AMR: addAMR(in.AMR, amr, amrMultiple)}).Error; err != nil {
		return fmt.Errorf("note the second factor on session %s: %w", sessionID, err)
	}
	return nil
}

// factorChange is a change of an account's second factors.
type factorChange struct {
	event  string
	letter string
	proof  provenFactor // the current factor, to be used up; none where the account had none, or it was used up before
	// do makes the change, in the transaction that holds the account's row and its session's.
	do func(ctx context.Context, u *user) error
}

// changeFactors makes a change. What was opened under the factors of before ends, except for the caller's session; it is recorded, and the
// owner is told.
func (s *Service) changeFactors(ctx context.Context, p api.Principal, c factorChange) (user, error) {
	var (
		u     user
		ended []uuid.UUID
	)
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		if u, err = s.lockUser(ctx, &user{ID: p.UserID}); err != nil {
			return err
		}
		if err := requireOwner(u); err != nil {
			return err
		}
		// The session that asks may have been ended meanwhile, by the owner who throws somebody out.
		if _, live, err := s.lockSession(ctx, p.SessionID); err != nil || !live {
			return cmp.Or(err, unlessLive(live))
		}
		if c.proof.use != nil {
			if err := c.proof.use(ctx); err != nil {
				return err
			}
		}
		if err := c.do(ctx, &u); err != nil {
			return err
		}
		if err := s.forgetDevices(ctx, u.ID); err != nil {
			return err
		}
		if ended, err = s.endSessions(ctx, u.ID, endedSecondFactor, "id <> ?", p.SessionID); err != nil {
			return err
		}
		if err := s.record(ctx, Event{Type: c.event, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, SessionID: p.SessionID, AMR: c.proof.amr}); err != nil {
			return err
		}
		return s.notify(ctx, c.letter, u.ID, 0)
	})
	if err != nil {
		return user{}, err
	}
	s.ended.add(ended...)
	s.AccountChanged(p.UserID)
	s.shown.Invalidate(p.SessionID)
	return u, nil
}

// gainedFactor notes, for factorChange.do, that the caller has set up a factor and proved it.
func (s *Service) gainedFactor(ctx context.Context, p api.Principal, u *user, amr string) error {
	if u.TwoFactorAt == nil {
		u.TwoFactorAt = new(s.now())
		if err := s.setTwoFactorAt(ctx, u.ID, u.TwoFactorAt); err != nil {
			return err
		}
	}
	return s.countFactor(ctx, p.SessionID, amr)
}

// lostFactor looks, for factorChange.do, whether u has a second factor left; the last one goes only where none is required, and takes the
// recovery codes along.
func (s *Service) lostFactor(ctx context.Context, u *user) error {
	methods, err := s.secondFactors(ctx, *u)
	if err != nil {
		return err
	}
	for _, m := range methods {
		if m != methodRecovery {
			return nil
		}
	}
	required, err := s.secondFactorRequired(ctx, *u)
	if err != nil {
		return err
	}
	if required {
		return twoFactorMandatory
	}
	for _, leftover := range []any{&recoveryCode{}, &enrolment{}} {
		if err := s.DB.Gorm(ctx).Where("user_id = ?", u.ID).Delete(leftover).Error; err != nil {
			return fmt.Errorf("clear the second factors of %s: %w", u.ID, err)
		}
	}
	u.TwoFactorAt = nil
	return s.setTwoFactorAt(ctx, u.ID, nil)
}

func (s *Service) setTwoFactorAt(ctx context.Context, of uuid.UUID, at *time.Time) error {
	if err := s.DB.Gorm(ctx).Model(&user{}).Where("id = ?", of).Update("two_factor_at", at).Error; err != nil {
		return fmt.Errorf("note the second factor of %s: %w", of, err)
	}
	return nil
}

// viewAccount is an account as its owner sees it, who has these memberships.
func (s *Service) viewAccount(u user, all []Membership) User {
	view := viewUser(u)
	view.TwoFactor.Required = s.twoFactorAsked(u, all)
	return view
}
