package activity

import (
	"strings"
	"time"

	"github.com/google/uuid"
)

// Event is something that happened. What the request tells of itself (address, agent, request id) is added when it is recorded.
type Event struct {
	Type       string    // "login", "login_failed", "refresh_reused", …
	Outcome    string    // success or failure
	Reason     string    // a stable word: "wrong_password", "unknown_account", …
	UserID     uuid.UUID // whose account; zero: nobody we know
	Identifier string    // the address that was tried, normalised; kept as a keyed hash
	TenantID   uuid.UUID
	SessionID  uuid.UUID
	DeviceID   uuid.UUID // of a remembered device
	ActorID    uuid.UUID // who did it, where that is not the account's owner
	AMR        string
	Note       string // what an operator said who did it
}

// Outcomes.
const (
	Success = "success"
	Failure = "failure"
)

// Types that signals and lists know by name. There are others; they are recorded and listed alike.
const (
	typeLogin       = "login"
	typeLoginFailed = "login_failed"
	typeReuse       = "refresh_reused"
)

// row is an event as it lies in the log.
type row struct {
	ID        uuid.UUID
	At        time.Time
	Type      string
	Outcome   string
	Reason    string
	Note      string
	UserID    *uuid.UUID
	ActorID   *uuid.UUID
	TenantID  *uuid.UUID
	SessionID *uuid.UUID
	RequestID string
	IP        *string `gorm:"column:ip"`
	UserAgent string
	Device    string
	Country   string
	City      string
	Score     int
	Reasons   string // separated by blanks
}

func (row) TableName() string { return "security_activities" }

func (r row) reasons() []string { return strings.Fields(r.Reasons) }

// Activity is an event as the lists show it.
type Activity struct {
	ID        uuid.UUID  `json:"id"`
	Type      string     `json:"type" doc:"What happened, such as login, login_failed or password_changed."`
	Outcome   string     `json:"outcome" enum:"success,failure"`
	Reason    string     `json:"reason,omitempty" doc:"Why it was refused or done; a stable word."`
	Note      string     `json:"note,omitempty" doc:"What the operator said who did it."`
	Score     int        `json:"score" minimum:"0" maximum:"100" doc:"How suspicious it looks."`
	Reasons   []string   `json:"reasons" doc:"The signals that make the score."`
	User      *UserView  `json:"user,omitempty" doc:"Whose account; absent where it is nobody we know."`
	Actor     *ActorView `json:"actor,omitempty" doc:"Who did it, where that is an operator."`
	Tenant    *InTenant  `json:"tenant,omitempty"`
	SessionID *uuid.UUID `json:"session_id,omitempty"`
	IP        string     `json:"ip"`
	UserAgent string     `json:"user_agent"`
	Device    string     `json:"device"`
	Location  *Location  `json:"location,omitempty"`
	RequestID string     `json:"request_id"`
	At        time.Time  `json:"at"`
}

// UserView is an account in a list.
type UserView struct {
	ID    uuid.UUID `json:"id"`
	Name  string    `json:"name"`
	Email string    `json:"email"`
}

// ActorView is an operator in a list.
type ActorView struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

// InTenant is a tenant in a list.
type InTenant struct {
	ID   uuid.UUID `json:"id"`
	Slug string    `json:"slug"`
}

// Location is where an address is thought to be.
type Location struct {
	Country string `json:"country" doc:"ISO 3166-1 alpha-2."`
	City    string `json:"city,omitempty"`
}
