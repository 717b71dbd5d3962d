package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// wayIn is a first factor that has been proved: where every way to sign in meets.
type wayIn struct {
	user        user
	amr         string // RFC 8176, separated by blanks: "pwd"; "fed" for Google; "hwk user" for a passkey; after a challenge "pwd otp mfa"
	complete    bool   // is two factors by itself: a passkey with user verification, an answered challenge
	device      string // what the client calls itself
	deviceToken string // of a remembered device; "" where the client has none
	// unchanged is asked under the lock of the user's row whether what was proved still holds; nil: nothing to ask.
	unchanged func(now user) error
	// within does what belongs to this way in, in the transaction that opens the session; nil: nothing.
	within func(ctx context.Context, now user) error
}

// What SignedIn.Status says.
const (
	statusAuthenticated = "authenticated"
	statusTwoFactor     = "two_factor_required"
)

// SignedIn is the answer of every way in: the tokens, or what is asked for before there are any.
type SignedIn struct {
	Status string `json:"status" enum:"authenticated,two_factor_required"`

	AccessToken      string        `json:"access_token,omitempty"`
	TokenType        string        `json:"token_type,omitempty" enum:"Bearer"`
	ExpiresIn        int64         `json:"expires_in" doc:"Seconds the access token lives, or the challenge."`
	RefreshToken     string        `json:"refresh_token,omitempty"`
	RefreshExpiresIn int64         `json:"refresh_expires_in,omitempty" doc:"Seconds the refresh token lives unless it is used."`
	User             *User         `json:"user,omitempty"`
	Tenants          *[]TenantView `json:"tenants,omitempty"`

	DeviceToken       string `json:"device_token,omitempty" doc:"Of a device that is to be remembered; to be sent in later sign-ins."`
	RecoveryCodesLeft *int   `json:"recovery_codes_left,omitempty" doc:"After a recovery code."`

	ChallengeToken string   `json:"challenge_token,omitempty" doc:"For the second factor alone."`
	Methods        []string `json:"methods,omitempty" doc:"Second factors that would do."`
}

// authenticated is the answer that carries tokens.
func authenticated(t Tokens) SignedIn {
	return SignedIn{
		Status: statusAuthenticated, AccessToken: t.AccessToken, TokenType: t.TokenType, ExpiresIn: t.ExpiresIn,
		RefreshToken: t.RefreshToken, RefreshExpiresIn: t.RefreshExpiresIn, User: &t.User, Tenants: &t.Tenants,
	}
}

// finish is the one door that every way in goes through. It opens a session, or asks for the second factor that the account has;
// a disabled account is refused like a wrong password, since the caller may not have been told yet that there is one.
func (s *Service) finish(ctx context.Context, w wayIn) (SignedIn, error) {
	if w.user.DisabledAt != nil {
		return SignedIn{}, s.refuse(ctx, w, "disabled")
	}
	var deviceID uuid.UUID
	if !w.complete {
		methods, err := s.secondFactors(ctx, w.user)
		if err != nil {
			return SignedIn{}, wrap(err, "sign in")
		}
		if len(methods) > 0 {
			id, known, err := s.remembered(ctx, w.user, w.deviceToken)
			if err != nil {
				return SignedIn{}, wrap(err, "sign in")
			}
			if !known {
				return s.openChallenge(ctx, w, methods)
			}
			deviceID = id
		}
	}
	return s.open(ctx, w, deviceID)
}

// open opens the session that has been earned.
func (s *Service) open(ctx context.Context, w wayIn, deviceID uuid.UUID) (SignedIn, error) {
	var (
		now    user
		opened session
		c      chain
	)
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		// Proving it took a while: the account may have been disabled, or what was proved changed, meanwhile.
		if now, err = s.lockUser(ctx, &w.user); err != nil {
			return err
		}
		if now.DisabledAt != nil || !w.complete && !sameTime(now.TwoFactorAt, w.user.TwoFactorAt) {
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
		if opened, err = s.openSession(ctx, now, w.amr, w.device, deviceID); err != nil {
			return err
		}
		if c, err = s.openChain(ctx, opened, audienceCentral); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventLogin, Outcome: outcomeSuccess, UserID: now.ID, Identifier: now.Email,
			SessionID: opened.ID, DeviceID: deviceID, AMR: w.amr})
	})
	if err != nil {
		return SignedIn{}, wrap(err, "sign in")
	}
	all, err := s.Tenants.Of(ctx, now.ID)
	if err != nil {
		return SignedIn{}, fmt.Errorf("sign in: %w", err)
	}
	tokens, err := s.issue(ctx, now, opened, c, nil, all)
	if err != nil {
		return SignedIn{}, err
	}
	return authenticated(tokens), nil
}

// refuse records why a way in is refused, and refuses it without saying why.
func (s *Service) refuse(ctx context.Context, w wayIn, reason string) error {
	if err := s.record(ctx, Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: reason, UserID: w.user.ID, Identifier: w.user.Email, AMR: w.amr}); err != nil {
		return err
	}
	return invalidCredentials
}

// amrPassword and amrMultiple are RFC 8176's words for a password and for more than one factor.
const (
	amrPassword = "pwd"
	amrMultiple = "mfa"
)

// multiple reports whether more than one factor was proved.
func (s session) multiple() bool { return slices.Contains(strings.Fields(s.AMR), amrMultiple) }
