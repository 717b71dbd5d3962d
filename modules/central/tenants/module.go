// Package tenants is which tenants there are, who belongs to them, and how a new one comes to be.
//
// Onboarding is one act: a transaction that claims the name, makes the asker its owner and inserts the job that makes the
// schema. The job (onboarding.go) goes through steps that may each run twice; whoever kills the process in between only
// delays it.
package tenants

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/idempotency"
	"garment.id/homecore/tenancy"
)

// Queue inserts jobs, in the transaction that ctx carries.
type Queue interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) error
}

// Registry lets into a tenant, and forgets what it knew of one.
type Registry interface {
	EnterNew(ctx context.Context, id uuid.UUID) (context.Context, error)
	Forget(t tenancy.Tenant)
}

// Deps is everything the module uses.
type Deps struct {
	DB        *database.DB
	Queue     Queue
	Registry  Registry
	Directory *Directory
	// Build makes the tenant's schema, or finds it made.
	Build func(ctx context.Context, tenantID uuid.UUID) error
	// Seed gives a new tenant what it starts with; ctx has entered it. It may be repeated.
	Seed func(ctx context.Context, owner uuid.UUID) error
	// RequireVerified refuses a user whose address has not been verified.
	RequireVerified func(ctx context.Context, userID uuid.UUID) error
	Clock           func() time.Time
	Log             *slog.Logger
}

// Service is the module.
type Service struct {
	Deps
	once *idempotency.Store
}

// New makes the module.
func New(d Deps) *Service { return &Service{Deps: d, once: idempotency.New(d.DB)} }

// Routes registers what the module serves.
func (s *Service) Routes(r *api.Router) {
	api.Post(r, "/auth/onboarding", s.handleOnboard(), "central.auth.onboarding", api.User, api.Status(202), api.Summary("Make a workspace"))
	api.Get(r, "/auth/onboarding/availability", s.handleAvailability, "central.auth.onboarding.availability", api.User, api.Summary("Whether a workspace name is free"))
	api.Get(r, "/auth/onboarding/{onboarding}", s.handleShowOnboarding, "central.auth.onboarding.show", api.User, api.Summary("How far an onboarding is"))
}

// Jobs registers what the module works on.
func (s *Service) Jobs(w *river.Workers) {
	river.AddWorker(w, &provisionWorker{s: s})
	river.AddWorker(w, &resumeWorker{s: s})
}

// Periodic returns the jobs that come by the clock.
func (s *Service) Periodic() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(15*time.Second), func() (river.JobArgs, *river.InsertOpts) { return resume{}, nil },
			&river.PeriodicJobOpts{RunOnStart: true}),
	}
}
