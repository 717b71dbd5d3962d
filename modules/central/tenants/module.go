// Package tenants is which tenants there are, who belongs to them, and how a new one comes to be.
//
// Onboarding is one act: a transaction that claims the name and makes the asker its owner. What follows (onboarding.go) goes
// through steps that may each run twice, in the request itself and, should that be interrupted, in a job that was inserted with
// the claim: whoever kills the process in between only delays it. One that fails for good frees its name.
//
// Operators lead the rest of a tenant's life (operator.go); package fleet says what leads where, and does it.
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
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
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

// Transfers takes one tenant out of the crowd: transfer.Porter.
type Transfers interface {
	Export(ctx context.Context, tenant, path string, report transfer.Report) (*transfer.Manifest, error)
	Restore(ctx context.Context, tenant, path string, report transfer.Report) (*transfer.Manifest, error)
	Move(ctx context.Context, tenant, cluster string, report transfer.Report) (transfer.Moved, error)
	Kept(ctx context.Context, tenant string) (kind string, err error)
	Accept(ctx context.Context, tenant string) error
	Undo(ctx context.Context, tenant string) error
	Heal(ctx context.Context) (healed int, err error)
}

// Deps is everything the module uses.
type Deps struct {
	DB        *database.DB
	Queue     Queue
	Registry  Registry
	Directory *Directory
	Fleet     *fleet.Fleet // makes schemas, opens and shuts them, drops them
	Transfers Transfers
	ExportDir string // for archives; empty: exports are refused
	// Seed gives a new tenant what it starts with; ctx has entered it. It may be repeated.
	Seed func(ctx context.Context, owner uuid.UUID) error
	// RequireVerified refuses a user whose address has not been verified.
	RequireVerified func(ctx context.Context, userID uuid.UUID) error
	// Admit counts a workspace that a user makes, in the transaction ctx carries, and refuses too many.
	Admit func(ctx context.Context, userID uuid.UUID) error
	// RequireTwoFactor refuses who has no second factor, or did not come by it.
	RequireTwoFactor func(ctx context.Context, p api.Principal) error
	Clock            func() time.Time
	Log              *slog.Logger
}

// Service is the module.
type Service struct {
	Deps
	once   *idempotency.Store
	inline chan struct{} // a place in it for each onboarding that a request works on
}

// atOnce is how many onboardings the requests of a process work on at a time: each holds a connection to schema central.
const atOnce = 3

// New makes the module.
func New(d Deps) *Service {
	return &Service{Deps: d, once: idempotency.New(d.DB), inline: make(chan struct{}, atOnce)}
}

// Routes registers what the module serves.
func (s *Service) Routes(r *api.Router) {
	api.Post(r, "/auth/onboarding", s.handleOnboard(), "central.auth.onboarding", api.User, api.Status(202), api.Summary("Make a workspace"))
	api.Get(r, "/auth/onboarding/availability", s.handleAvailability, "central.auth.onboarding.availability", api.User, api.Summary("Whether a workspace name is free"))
	api.Get(r, "/auth/onboarding/{onboarding}", s.handleShowOnboarding, "central.auth.onboarding.show", api.User, api.Summary("How far an onboarding is"))
	api.Get(r, "/auth/sign-in-policy", s.handleShowPolicy, "central.auth.sign-in-policy.show", api.Member, api.Both, api.Summary("What the tenant asks of its members' sign-ins"))
	api.Put(r, "/auth/sign-in-policy", s.handleUpdatePolicy, "central.auth.sign-in-policy.update", api.MemberCan("security.write"), api.Both, api.Summary("Ask more, or less, of the members' sign-ins"))

	read, write := api.Can("tenants.read"), api.Can("tenants.write")
	const one = "/tenants/{tenant}"
	api.Get(r, "/tenants", s.handleList, "central.tenants.list", read, api.Summary("List tenants"))
	api.Get(r, one, s.handleShow, "central.tenants.show", read, api.Summary("Show a tenant"))
	api.Get(r, one+"/events", s.handleEvents, "central.tenants.events", read, api.Summary("What became of a tenant"))
	api.Put(r, one, s.handleRename, "central.tenants.update", write, api.Summary("Rename a tenant"))
	api.Delete(r, one, s.handleDrop, "central.tenants.delete", write, api.Summary("Drop a tenant after a time of grace"))
	api.Post(r, one+"/suspend", s.handleSuspend, "central.tenants.suspend", write, api.Summary("Shut a tenant"))
	api.Post(r, one+"/maintenance", s.handleMaintenance, "central.tenants.maintenance", write, api.Summary("Shut a tenant for a moment"))
	for _, a := range []struct {
		action  fleet.Action
		summary string
	}{
		{fleet.Resume, "Open a tenant again"},
		{fleet.ReadOnly, "Let a tenant be read only"},
		{fleet.Archive, "Shut a tenant for good, and keep its data"},
		{fleet.Unarchive, "Undo an archive"},
		{fleet.Undrop, "Undo a drop in its time of grace"},
	} {
		api.Post(r, one+"/"+string(a.action), s.handleChange(a.action), "central.tenants."+string(a.action), write, api.Summary(a.summary))
	}
	s.operationRoutes(r)
}

// Jobs registers what the module works on.
func (s *Service) Jobs(w *river.Workers) {
	river.AddWorker(w, &provisionWorker{s: s})
	river.AddWorker(w, &resumeWorker{s: s})
	river.AddWorker(w, &refillWorker{s: s})
	river.AddWorker(w, &reapWorker{s: s})
	river.AddWorker(w, &healWorker{s: s})
	river.AddWorker(w, &operateWorker{s: s})
	river.AddWorker(w, &settleWorker{s: s})
}

// Periodic returns the jobs that come by the clock.
func (s *Service) Periodic() []*river.PeriodicJob {
	every := func(d time.Duration, args river.JobArgs, atStart bool) *river.PeriodicJob {
		return river.NewPeriodicJob(river.PeriodicInterval(d), func() (river.JobArgs, *river.InsertOpts) { return args, nil },
			&river.PeriodicJobOpts{RunOnStart: atStart})
	}
	return []*river.PeriodicJob{
		every(15*time.Second, resume{}, true), every(time.Minute, refill{}, true),
		every(time.Minute, reap{}, false), every(5*time.Minute, heal{}, false),
		every(15*time.Second, settle{}, true),
	}
}
