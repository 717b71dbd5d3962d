// Package identity is who you are: accounts, signing in, sessions and their tokens, and the platform's operators.
//
// A sign-in makes a session, and the session is what everything hangs from:
//
//	user ─┬─ session ─┬─ refresh chain "homecore:central"
//	      │           └─ refresh chain "homecore:tenant:<id>"     one per tenant selected
//	      └─ session …
//
// Access tokens (token.go) are signed, short and checked without the database: a process remembers which tokens it has verified
// and which sessions have ended (revocation.go). Refresh tokens (refresh.go) are computed, not stored: a chain has one row,
// whatever number of times it is renewed. Links in mails (links.go) are computed likewise, so that a dump of the database holds
// nothing that can be used.
//
// An opened link proves that a mailbox is read, and nothing about who chose the password that was registered for it: claims.go says
// when that becomes the account's, and what goes when the owner of an address takes over from a stranger.
//
// Nothing here tells whether an address has an account: register.go and login.go answer alike and hash one password in every branch,
// forgot.go leaves all that differs to a job; what differs goes into a mail.
//
// One flow per file; each begins with its route's input and handler.
package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"github.com/riverqueue/river"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/mail"
)

// Config is what an installation may choose.
type Config struct {
	PasswordMinLength int           `env:"PASSWORD_MIN_LENGTH" envDefault:"12"` // Characters a new password has at least; NIST advises 15 where it is the only factor.
	PasswordMemoryMiB uint32        `env:"PASSWORD_MEMORY_MIB" envDefault:"19"` // Memory of one password hash (argon2id).
	PasswordPasses    uint32        `env:"PASSWORD_PASSES" envDefault:"2"`      // Passes of one password hash.
	AccessTTL         time.Duration `env:"ACCESS_TTL" envDefault:"10m"`         // Life of an access token.
	RefreshIdle       time.Duration `env:"REFRESH_IDLE" envDefault:"720h"`      // A session not renewed for this long is over.
	SessionLifetime   time.Duration `env:"SESSION_LIFETIME" envDefault:"2160h"` // A session is over after this long, however busy.
	VerifyLinkTTL     time.Duration `env:"VERIFY_LINK_TTL" envDefault:"48h"`    // Life of a link that verifies an address.
	ResetLinkTTL      time.Duration `env:"RESET_LINK_TTL" envDefault:"1h"`      // Life of a link that sets a new password.
	InvitationTTL     time.Duration `env:"INVITATION_TTL" envDefault:"168h"`    // Life of an invitation.
	ResetURL          string        `env:"RESET_URL"`                           // The frontend's page that sets a new password, given ?token=; empty: one of our own.
	InvitationURL     string        `env:"INVITATION_URL"`                      // The frontend's page that accepts an invitation, given ?token=; empty: one of our own.
	DeviceLifetime    time.Duration `env:"DEVICE_LIFETIME" envDefault:"720h"`   // How long a remembered device is spared the second factor; 0 remembers none.
	Throttle          string        `env:"THROTTLE" envDefault:"on"`            // on or off: whether sign-ins, registrations and the like are throttled.
	WizardURL         string        `env:"WIZARD_URL"`                          // Where a browser lands after opening such a link; empty: the issuer's front page.

	OperatorsNeedTwoFactor bool   `env:"OPERATORS_NEED_TWO_FACTOR" envDefault:"true"` // Whether a role on the platform counts only with a second factor.
	Google                 Google `envPrefix:"GOOGLE_"`
}

// Queue inserts jobs, in the transaction that ctx carries.
type Queue interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) error
}

// Tenants is what identity needs to know of tenants: which ones a user belongs to.
type Tenants interface {
	// Of returns the user's active memberships, by the tenant's name.
	Of(ctx context.Context, userID uuid.UUID) ([]Membership, error)
	// Find returns the user's active membership in the tenant with this slug or id; false where there is none, for whatever reason.
	Find(ctx context.Context, userID uuid.UUID, slugOrID string) (Membership, bool, error)
}

// Membership is a user's place in a tenant.
type Membership struct {
	TenantID uuid.UUID
	Slug     string
	Name     string
	Status   string // the tenant's; tokens are issued for "active", "read_only" and "maintenance" alone
	Role     string // the role's key
	Version  int64  // grows with every change of the membership; the token carries it
	APIURL   string // where the tenant's API answers

	TwoFactorRequired          bool // members need a second factor
	RememberedDevicesForbidden bool // members are asked for it at every sign-in
}

// Deps is everything the module uses.
type Deps struct {
	Config  Config
	DB      *database.DB
	Queue   Queue
	Mail    mail.Sender
	Brand   mail.Brand
	Key     crypto.Key
	Issuer  string // scheme, host and port of the Core API; links in mails are built from it, never from a request
	Tenants Tenants
	// Permissions returns the member's permissions in the tenant, sorted.
	Permissions func(ctx context.Context, tenantID, userID uuid.UUID) ([]string, error)
	// Join makes the user an active member of the tenant, with the role of that key. It may be repeated.
	Join     func(ctx context.Context, tenantID, userID uuid.UUID, role string) error
	Activity Activity
	Clock    func() time.Time
	Log      *slog.Logger
}

// Service is the module.
type Service struct {
	Deps
	passwords *crypto.Passwords
	keys      *keyring
	ended     *endedSessions
	known     *knownAccounts
	permitted *otter.Cache[permitted, []string]
	shown     *otter.Cache[uuid.UUID, shown]
	access    *accessTokens
	refresh   refreshTokens
	links     linkTokens
	notMe     notMeTokens
	throttle  throttle
	refusals  *otter.Cache[refusal, struct{}]

	totpSecrets crypto.Sealer
	recovery    crypto.Authenticator
	passkeySeal crypto.Sealer
	ceremonies  ceremonies
	flows       flowTokens
	google      *google
}

// New makes the module. It does not touch the database; call EnsureKeys before serving.
func New(d Deps) (*Service, error) {
	c := d.Config
	switch {
	case d.Issuer == "":
		return nil, errors.New("identity: no issuer")
	case c.PasswordMinLength < 8 || c.PasswordMinLength > 64:
		return nil, errors.New("PASSWORD_MIN_LENGTH: want 8 to 64")
	case c.AccessTTL < time.Minute || c.AccessTTL > time.Hour:
		return nil, errors.New("ACCESS_TTL: want 1m to 1h")
	case c.RefreshIdle < c.AccessTTL || c.SessionLifetime < c.RefreshIdle:
		return nil, errors.New("REFRESH_IDLE, SESSION_LIFETIME: want ACCESS_TTL ≤ REFRESH_IDLE ≤ SESSION_LIFETIME")
	case c.Throttle != "on" && c.Throttle != "off":
		return nil, errThrottle
	case c.VerifyLinkTTL < time.Minute:
		return nil, errors.New("VERIFY_LINK_TTL: want 1m or more")
	case c.ResetLinkTTL < time.Minute || c.ResetLinkTTL > 24*time.Hour:
		return nil, errors.New("RESET_LINK_TTL: want 1m to 24h")
	case c.InvitationTTL < time.Hour:
		return nil, errors.New("INVITATION_TTL: want 1h or more")
	case c.DeviceLifetime < 0:
		return nil, errors.New("DEVICE_LIFETIME: want 0 or more")
	}
	if err := c.Google.check(); err != nil {
		return nil, err
	}
	passwords, err := crypto.NewPasswords(crypto.Argon2{MemoryKiB: c.PasswordMemoryMiB << 10, Passes: c.PasswordPasses, Lanes: 1})
	if err != nil {
		return nil, fmt.Errorf("PASSWORD_MEMORY_MIB, PASSWORD_PASSES: %w", err)
	}
	s := &Service{
		Deps:      d,
		passwords: passwords,
		keys:      newKeyring(d.DB, d.Key, d.Clock, c.AccessTTL),
		refresh:   refreshTokens{mac: d.Key.Authenticator("identity refresh tokens")},
		permitted: newPermitted(),
		refusals:  newRefusals(),
		shown:     newShown(c.AccessTTL),
		throttle:  throttle{mac: d.Key.Authenticator("identity throttles"), off: c.Throttle == "off"},
		links:     linkTokens{mac: d.Key.Authenticator("identity mail links")},
		notMe:     notMeTokens{mac: d.Key.Authenticator("identity not-me links")},

		totpSecrets: d.Key.Sealer("identity authenticator secrets"),
		recovery:    d.Key.Authenticator("identity recovery codes"),
		passkeySeal: d.Key.Sealer("identity passkeys"),
		ceremonies:  ceremonies{sealer: d.Key.Sealer("identity passkey ceremonies")},
		flows:       flowTokens{mac: d.Key.Authenticator("identity google flows")},
		google:      newGoogle(c.Google, d.Issuer, d.Clock),
	}
	s.known = newKnownAccounts(s.loadKnown)
	s.ended = newEndedSessions(d.DB, c.AccessTTL, s.known)
	s.access = newAccessTokens(d.Issuer, s.keys, d.Clock)
	return s, nil
}

// Routes registers what the module serves.
func (s *Service) Routes(r *api.Router) {
	api.Post(r, "/auth/register", s.handleRegister, "central.auth.register", api.Public, api.Both, api.Status(202), api.Summary("Register"))
	api.Get(r, "/auth/email/verify", s.handleVerify, "central.auth.email.verify", api.Public, api.Both, api.Status(200, 303), api.Summary("Verify an e-mail address"))
	api.Post(r, "/auth/email/resend", s.handleResend, "central.auth.email.resend", api.Public, api.Both, api.Status(202), api.Summary("Send the verification mail again"))
	api.Post(r, "/auth/password/forgot", s.handleForgot, "central.auth.password.forgot", api.Public, api.Both, api.Status(202), api.Summary("Ask for a link that sets a new password"))
	api.Post(r, "/auth/password/reset", s.handleReset, "central.auth.password.reset", api.Public, api.Both, api.Summary("Set a new password by a mailed link"))
	api.Put(r, "/auth/password", s.handleChangePassword, "central.auth.password", api.User, api.Both, api.Summary("Change the password"))
	api.Post(r, "/auth/password/confirm", s.handleConfirmPassword, "central.auth.password.confirm", api.User, api.Both, api.Summary("Confirm the password, for what asks for a recent proof"))
	api.Post(r, "/auth/login", s.handleLogin, "central.auth.login", api.Public, api.Both, api.Summary("Sign in"))
	api.Get(r, "/auth/google/redirect", s.handleGoogleRedirect, "central.auth.google.redirect", api.Public, api.Both, api.Status(302), api.Summary("Begin a sign-in with Google"))
	api.Get(r, "/auth/google/callback", s.handleGoogleCallback, "central.auth.google.callback", api.Public, api.Both, api.Status(200, 303), api.AnyQuery, api.Summary("Come back from Google"))
	api.Get(r, "/auth/google/nonce", s.handleGoogleNonce, "central.auth.google.nonce", api.Public, api.Both, api.Summary("Nonce for a Google button"))
	api.Post(r, "/auth/google/login", s.handleGoogleLogin, "central.auth.google.login", api.Public, api.Both, api.Summary("Sign in with Google"))
	api.Post(r, "/auth/google/exchange", s.handleGoogleExchange, "central.auth.google.exchange", api.Public, api.Both, api.Summary("Exchange the code of a sign-in with Google"))
	api.Post(r, "/auth/google/link", s.handleGoogleLink, "central.auth.google.link", api.User, api.Both, api.Summary("Link Google"))
	api.Delete(r, "/auth/google", s.handleGoogleUnlink, "central.auth.google.delete", api.User, api.Both, api.Summary("Unlink Google"))
	api.Post(r, "/auth/refresh", s.handleRefresh, "central.auth.refresh", api.Public, api.Both, api.Summary("Renew the tokens"))
	api.Post(r, "/auth/logout", s.handleLogout, "central.auth.logout", api.User, api.Both, api.Summary("Sign out"))
	api.Post(r, "/auth/logout-all", s.handleLogoutAll, "central.auth.logout-all", api.User, api.Both, api.Summary("Sign out everywhere"))
	api.Get(r, "/auth/me", s.handleMe, "central.auth.me", api.User, api.Both, api.Summary("The signed-in user"))
	api.Put(r, "/auth/me", s.handleUpdateMe, "central.auth.me.update", api.User, api.Both, api.Summary("Change the own profile"))
	api.Get(r, "/auth/sessions", s.handleSessions, "central.auth.sessions.list", api.User, api.Both, api.Summary("The user's sessions"))
	api.Delete(r, "/auth/sessions/{session}", s.handleEndSession, "central.auth.sessions.delete", api.User, api.Both, api.Summary("End a session"))
	api.Post(r, "/auth/select-tenant", s.handleSelectTenant, "central.auth.select-tenant", api.User, api.Both, api.Summary("Get tokens for a tenant"))
	api.Post(r, "/auth/invitations/accept", s.handleAccept, "central.auth.invitations.accept", api.Public, api.Summary("Accept an invitation to a workspace"))

	api.Post(r, "/auth/two-factor/challenge", s.handleChallenge, "central.auth.two-factor.challenge", api.Public, api.Both, api.Summary("Answer a challenge with the second factor"))
	api.Post(r, "/auth/two-factor/passkey/options", s.handlePasskeyProofOptions, "central.auth.two-factor.passkey.options", api.Public, api.Both, api.Summary("Begin the use of a passkey as the second factor"))
	api.Post(r, "/auth/two-factor", s.handleStartTwoFactor, "central.auth.two-factor.create", api.User, api.Both, api.Summary("Start setting up an authenticator app"))
	api.Post(r, "/auth/two-factor/confirm", s.handleConfirmTwoFactor, "central.auth.two-factor.confirm", api.User, api.Both, api.Summary("Turn the authenticator app on"))
	api.Delete(r, "/auth/two-factor", s.handleStopTwoFactor, "central.auth.two-factor.delete", api.User, api.Both, api.Summary("Take the authenticator app off"))
	api.Post(r, "/auth/two-factor/recovery-codes", s.handleRecoveryCodes, "central.auth.two-factor.recovery-codes", api.User, api.Both, api.Summary("Make new recovery codes"))
	api.Get(r, "/auth/devices", s.handleDevices, "central.auth.devices.list", api.User, api.Both, api.Summary("The user's remembered devices"))
	api.Delete(r, "/auth/devices/{device}", s.handleForgetDevice, "central.auth.devices.delete", api.User, api.Both, api.Summary("Forget a remembered device"))
	api.Post(r, "/auth/passkeys/register/options", s.handleRegisterPasskeyOptions, "central.auth.passkeys.register.options", api.User, api.Both, api.Summary("Begin the making of a passkey"))
	api.Post(r, "/auth/passkeys", s.handleRegisterPasskey, "central.auth.passkeys.create", api.User, api.Both, api.Status(201), api.MaxBody(64<<10), api.Summary("Keep a passkey"))
	api.Get(r, "/auth/passkeys", s.handlePasskeys, "central.auth.passkeys.list", api.User, api.Both, api.Summary("The user's passkeys"))
	api.Delete(r, "/auth/passkeys/{passkey}", s.handleRemovePasskey, "central.auth.passkeys.delete", api.User, api.Both, api.Summary("Remove a passkey"))
	api.Post(r, "/auth/passkeys/login/options", s.handleLoginPasskeyOptions, "central.auth.passkeys.login.options", api.Public, api.Both, api.Summary("Begin signing in with a passkey"))
	api.Post(r, "/auth/passkeys/login", s.handleLoginPasskey, "central.auth.passkeys.login", api.Public, api.Both, api.MaxBody(64<<10), api.Summary("Sign in with a passkey"))
	api.Post(r, "/auth/passkeys/confirm/options", s.handleConfirmPasskeyOptions, "central.auth.passkeys.confirm.options", api.User, api.Both, api.Summary("Begin a confirmation by passkey"))
	api.Post(r, "/auth/passkeys/confirm", s.handleConfirmPasskey, "central.auth.passkeys.confirm", api.User, api.Both, api.MaxBody(64<<10), api.Summary("Confirm by passkey, for what asks for a recent proof"))
	api.Post(r, "/auth/not-me", s.handleNotMe, "central.auth.not-me", api.Public, api.Both, api.Summary("Say that something was not you: ends every session and starts a reset"))

	api.Get(r, "/users", s.handleAccounts, "central.users.list", api.Can("users.read"), api.Summary("List accounts"))
	api.Get(r, "/users/{user}", s.handleAccount, "central.users.show", api.Can("users.read"), api.Summary("Show an account"))
	api.Post(r, "/users/{user}/sessions/end", s.handleEndSessions, "central.users.sessions.end", api.Can("users.write"), api.Summary("End every session of a user's"))
	api.Post(r, "/users/{user}/force-reset", s.handleForceReset, "central.users.force-reset", api.Can("users.write"), api.Status(202), api.Summary("Make a user choose a new password"))
	api.Post(r, "/users/{user}/impersonate", s.handleImpersonate, "central.users.impersonate", api.Can("users.impersonate"), api.Status(201), api.Summary("Look at what a user sees"))
	s.routeKeys(r)
}

// Jobs registers what the module works on.
func (s *Service) Jobs(w *river.Workers) {
	river.AddWorker(w, &sendMailWorker{s: s})
	river.AddWorker(w, &sendInvitationWorker{s: s})
	river.AddWorker(w, &joinWorker{s: s})
	river.AddWorker(w, &noticeWorker{s: s})
	river.AddWorker(w, &purgeWorker{s: s})
}

// Periodic returns the jobs that come by the clock.
func (s *Service) Periodic() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(time.Hour), func() (river.JobArgs, *river.InsertOpts) { return purge{}, nil },
			&river.PeriodicJobOpts{RunOnStart: true}),
	}
}

func (s *Service) now() time.Time { return s.Clock().UTC() }
