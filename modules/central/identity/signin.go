package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
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

// Locks the account, and opens a session with its first refresh tokens unless it is disabled. Read committed: the account is as
// whoever held the lock before left it.
var openSessionSQL = "with u as (select * from users where id = @user for no key update), " + `
s as (insert into sessions (id, user_id, auth_time, amr, device, ip, user_agent, created_at, expires_at, device_id)
	select @session, u.id, @now, @amr, @device, @ip, @agent, @now, @expires, @remembered from u where u.disabled_at is null),
c as (insert into refresh_chains (id, session_id, audience, nonce, generation, rotated_at, expires_at)
	select @chain, @session, @audience, @nonce, 1, @now, @idle from u where u.disabled_at is null)
select ` + columnsOf(&user{}, "u") + ", " + rolesColumn + " from u"

// open opens the session that has been earned: two statements in a transaction, the second for the event.
func (s *Service) open(ctx context.Context, w wayIn, deviceID uuid.UUID) (SignedIn, error) {
	var (
		row struct {
			User  user `gorm:"embedded;embeddedPrefix:u_"`
			Roles string
		}
		in, c   = s.newSession(ctx, w, deviceID)
		changes = s.known.now()
	)
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		err := s.DB.Gorm(ctx).Raw(openSessionSQL, map[string]any{
			"user": in.UserID, "session": in.ID, "now": in.CreatedAt, "amr": in.AMR, "device": in.Device, "ip": in.IP, "agent": in.UserAgent,
			"expires": in.ExpiresAt, "remembered": in.DeviceID, "chain": c.ID, "audience": c.Audience, "nonce": c.Nonce, "idle": c.ExpiresAt,
		}).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return invalidCredentials
		}
		if err != nil {
			return err
		}
		// Proving it took a while: the account may have been disabled, or what was proved changed, meanwhile. Then nothing of this stays.
		now := row.User
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
		return s.record(ctx, Event{Type: eventLogin, Outcome: outcomeSuccess, UserID: now.ID, Identifier: now.Email,
			SessionID: in.ID, DeviceID: deviceID, AMR: w.amr})
	})
	if err != nil {
		return SignedIn{}, wrap(err, "sign in")
	}
	of := newKnown(row.User, row.Roles, nil)
	if w.within != nil { // it may have changed the account
		if err := s.DB.Gorm(ctx).Where("id = ?", in.UserID).Take(&of.user).Error; err != nil {
			return SignedIn{}, fmt.Errorf("sign in: %w", err)
		}
	}
	if before, ok := s.known.peek(in.UserID); ok {
		of.memberships = before.memberships
	} else {
		if of.memberships, err = s.Tenants.Of(ctx, in.UserID); err != nil {
			return SignedIn{}, fmt.Errorf("sign in: %w", err)
		}
		s.known.keep(of, changes)
	}
	tokens, err := s.issue(ctx, of.user, in, c, nil, of.memberships)
	if err != nil {
		return SignedIn{}, err
	}
	return authenticated(tokens), nil
}

// newSession is the session of a way in, and its tokens for the Core API, not kept yet.
func (s *Service) newSession(ctx context.Context, w wayIn, deviceID uuid.UUID) (session, chain) {
	now, client := s.now(), api.ClientFrom(ctx)
	in := session{
		ID: newID(), UserID: w.user.ID, AuthTime: now, AMR: w.amr, Device: deviceName(w.device, client.UserAgent),
		UserAgent: client.UserAgent, CreatedAt: now, ExpiresAt: now.Add(s.Config.SessionLifetime),
	}
	if client.IP.IsValid() {
		in.IP = client.IP.String()
	}
	if deviceID != uuid.Nil {
		in.DeviceID = &deviceID
	}
	return in, chain{ID: newID(), SessionID: in.ID, Audience: audienceCentral, Nonce: crypto.Bytes(nonceBytes), Generation: 1,
		RotatedAt: now, ExpiresAt: s.idleUntil(now, in)}
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
