// Package activity is the security log: what happened to accounts, who did it, from where, and how suspicious it looks.
//
//	identity ── Record ──▶ one INSERT … SELECT ──▶ security_activities ──▶ four lists
//	                              │
//	                              └─ a signal fired: a job ──▶ a mail, once an hour, with "this was not me"
//
// A row is scored by the statement that writes it (signals.go): the signals are conditions over the account's earlier rows, which
// Postgres has at hand. So a sign-in pays for one statement, there is no row that waits to be judged, and nothing ever has to change
// a row afterwards, which the application's role could not do: it may insert and select. Old rows are deleted by the owner's role.
//
// Of somebody unknown the log keeps a keyed hash of what was typed: it tells that two tries were for one address, not for which.
package activity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
)

// Config is what an installation may choose.
type Config struct {
	GeoIPFile    string        `env:"GEOIP_FILE"`                       // A GeoIP or GeoLite2 City or Country file (.mmdb), for places in the security log; read at the start.
	ActivityKept time.Duration `env:"ACTIVITY_KEPT" envDefault:"9600h"` // How long the security log keeps a row.
}

// Queue inserts jobs, in the transaction that ctx carries.
type Queue interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) error
}

// Person is an account, as the log names it.
type Person struct {
	ID    uuid.UUID
	Name  string
	Email string
}

// Deps is everything the module uses.
type Deps struct {
	Config Config
	DB     *database.DB
	Queue  Queue
	Key    crypto.Key
	// People returns the accounts with these ids; those that are gone are missing.
	People func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]Person, error)
	// Slugs returns the slugs of the tenants with these ids.
	Slugs func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]string, error)
	// Members returns which of these users belong to the tenant, or did.
	Members func(ctx context.Context, tenantID uuid.UUID, users []uuid.UUID) (map[uuid.UUID]bool, error)
	// MemberIDs is the query for the ids of the users who have a place in the tenant, whatever its state.
	MemberIDs func(ctx context.Context, tenantID uuid.UUID) *gorm.DB
	// Permits returns nil if p holds a permission of the platform.
	Permits func(ctx context.Context, p api.Principal, permission string) error
	// Warn mails the owner of an account. It may be called again for a warning that it could not send.
	Warn func(ctx context.Context, w Warning) error
	// Forget deletes up to so many rows from before a time, as the owner of the log, and returns how many it deleted.
	Forget func(ctx context.Context, before time.Time, most int) (int64, error)
	Clock  func() time.Time
}

// Service is the module.
type Service struct {
	Deps
	places      places
	identifiers crypto.Authenticator
}

// New makes the module. It opens the GeoIP file, where there is one, and does not touch the database.
func New(d Deps) (*Service, error) {
	if d.Config.ActivityKept < 180*24*time.Hour {
		return nil, errors.New("ACTIVITY_KEPT: want 4320h or more, as far back as signals look")
	}
	p, err := openPlaces(d.Config.GeoIPFile)
	if err != nil {
		return nil, fmt.Errorf("GEOIP_FILE: %w", err)
	}
	return &Service{Deps: d, places: p, identifiers: d.Key.Authenticator("activity identifiers")}, nil
}

// Routes registers what the module serves.
func (s *Service) Routes(r *api.Router) {
	api.Get(r, "/auth/activities", s.handleActivities, "central.auth.activities", api.User, api.Both, api.Summary("What happened to accounts"),
		api.Description("Your own. Operators with `activities.read` see everybody's, with a central token."))
	api.Get(r, "/auth/activities/suspicious", s.handleSuspicious, "central.auth.activities.suspicious", api.User, api.Both, api.Summary("What looks suspicious, the worst first"))
	api.Get(r, "/auth/activities/tenant", s.handleTenant, "central.auth.activities.tenant", api.MemberCan("activities.read"), api.Both, api.Summary("What happened in the tenant"))
	api.Get(r, "/auth/activities/security", s.handleSecurity, "central.auth.activities.security", api.User, api.Both, api.Summary("What touched the security of your account"))
}

// Jobs registers what the module works on.
func (s *Service) Jobs(w *river.Workers) {
	river.AddWorker(w, &alertWorker{s: s})
	river.AddWorker(w, &forgetWorker{s: s})
}

// Periodic returns the jobs that come by the clock.
func (s *Service) Periodic() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(time.Hour), func() (river.JobArgs, *river.InsertOpts) { return forget{}, nil },
			&river.PeriodicJobOpts{RunOnStart: true}),
	}
}

// Close lets go of the GeoIP file.
func (s *Service) Close() { s.places.close() }

func (s *Service) now() time.Time { return s.Clock().UTC().Truncate(time.Microsecond) }
