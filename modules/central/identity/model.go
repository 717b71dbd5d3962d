package identity

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/locale"
)

type user struct {
	ID              uuid.UUID
	Name            string
	Email           string
	EmailVerifiedAt *time.Time
	PasswordHash    *string
	PasswordSetAt   *time.Time
	PasswordClaimed bool       // see claims.go
	ClaimID         *uuid.UUID // the registration that the password came with
	Locale          locale.Language
	TwoFactorAt     *time.Time
	Operator        bool // has a role on the platform
	GoogleLinkedAt  *time.Time
	DisabledAt      *time.Time
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

func (user) TableName() string { return "users" }

// storedHash returns the password's hash, or "" for a user that is not there or has none.
func (u *user) storedHash() string {
	if u == nil || u.PasswordHash == nil {
		return ""
	}
	return *u.PasswordHash
}

type session struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	AuthTime   time.Time
	AMR        string `gorm:"column:amr"`
	Device     string
	IP         string `gorm:"column:ip"`
	UserAgent  string
	CreatedAt  time.Time
	ExpiresAt  time.Time
	RevokedAt  *time.Time
	RevokedFor *string
	// SteppedUpAt is when the user last proved anew who they are; DeviceID the remembered device that stood in for the second factor.
	SteppedUpAt *time.Time
	DeviceID    *uuid.UUID
	ActorID     *uuid.UUID // the operator whose hands it is in; nil: the user's own
}

func (session) TableName() string { return "sessions" }

func (s session) methods() []string { return strings.Fields(s.AMR) }

type chain struct {
	ID         uuid.UUID
	SessionID  uuid.UUID
	Audience   audience
	Nonce      []byte
	Generation int64
	RotatedAt  time.Time
	ExpiresAt  time.Time
}

func (chain) TableName() string { return "refresh_chains" }

type mailLink struct {
	ID           uuid.UUID
	UserID       uuid.UUID
	Purpose      string
	Email        string
	Name         *string
	PasswordHash *string
	// Of a registration: where it came from. Of every link: where it was opened.
	ClaimedFrom   string
	ClaimedDevice string
	OpenedFrom    string
	CreatedAt     time.Time
	ExpiresAt     time.Time
}

func (mailLink) TableName() string { return "mail_links" }

// What a mailed link is for.
const (
	purposeVerify = "verify_email"
	purposeReset  = "reset_password"
)

type signingKey struct {
	KID        string `gorm:"column:kid"`
	Alg        string
	PublicKey  []byte
	PrivateKey []byte // sealed
	Status     string
	CreatedAt  time.Time
	RetiredAt  *time.Time
	RevokedAt  *time.Time
}

func (signingKey) TableName() string { return "signing_keys" }

type platformRole struct {
	UserID    uuid.UUID
	Role      string
	GrantedAt time.Time
	GrantedBy string
}

func (platformRole) TableName() string { return "platform_roles" }

// audience is whom a token is for, as in its aud claim: the Core API, or one tenant's.
type audience string

const (
	audienceCentral      audience = "homecore:central"
	audienceTenantPrefix string   = "homecore:tenant:"
)

func tenantAudience(tenantID uuid.UUID) audience {
	return audience(audienceTenantPrefix + tenantID.String())
}

// tenant returns the tenant's id, zero for the Core API; ok is false for anything else than one of the two in its exact form.
func (a audience) tenant() (id uuid.UUID, ok bool) {
	if a == audienceCentral {
		return uuid.Nil, true
	}
	text, found := strings.CutPrefix(string(a), audienceTenantPrefix)
	id, err := uuid.Parse(text)
	return id, found && err == nil && id != uuid.Nil && id.String() == text
}

// newID returns a fresh UUIDv7.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
