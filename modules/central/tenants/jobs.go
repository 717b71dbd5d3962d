package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"garment.id/homecore/platform/jobs"
)

// provision takes one onboarding to its end.
type provision struct {
	OnboardingID uuid.UUID `json:"onboarding_id"`
}

func (provision) Kind() string { return "tenants.provision" }

// InsertOpts: it holds a transaction, as the lock on the onboarding, for as long as it takes.
func (provision) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: jobs.Long} }

type provisionWorker struct {
	river.WorkerDefaults[provision]
	s *Service
}

const provisionAttempts = 10

func (w *provisionWorker) Work(ctx context.Context, job *river.Job[provision]) error {
	err := w.s.advance(ctx, job.Args.OnboardingID)
	if err != nil {
		w.s.Log.WarnContext(ctx, "onboarding attempt failed", "onboarding", job.Args.OnboardingID, "attempt", job.Attempt, "cause", err)
	}
	if err != nil && job.Attempt >= provisionAttempts {
		return river.JobCancel(errors.Join(err, w.s.fail(ctx, job.Args.OnboardingID, err)))
	}
	if err == nil {
		// It may have taken a warm schema.
		return w.s.Queue.Insert(ctx, refill{}, nil)
	}
	return err
}

// NextRetry comes sooner than River's: somebody is waiting in front of a screen.
func (w *provisionWorker) NextRetry(job *river.Job[provision]) time.Time {
	return time.Now().Add(min(time.Second<<job.Attempt, time.Minute))
}

// resume looks for onboardings that nobody works on, because the process that did was killed, and starts them again.
type resume struct{}

func (resume) Kind() string { return "tenants.resume" }

func (resume) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1}
}

// alone is a job of which one at a time is enough, whoever inserts it. It comes again by the clock, so it is not tried again.
func alone() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}

// refill makes warm schemas.
type refill struct{}

func (refill) Kind() string                 { return "tenants.refill" }
func (refill) InsertOpts() river.InsertOpts { return alone() }

type refillWorker struct {
	river.WorkerDefaults[refill]
	s *Service
}

func (w *refillWorker) Work(ctx context.Context, _ *river.Job[refill]) error {
	n, err := w.s.Fleet.Refill(ctx)
	if n > 0 {
		w.s.Log.InfoContext(ctx, "schemas made for tenants to come", "number", n)
	}
	return err
}

// reap drops what nobody needs any more: tenants whose time of grace is over, and what was left half-made or half-dropped.
type reap struct{}

func (reap) Kind() string                 { return "tenants.reap" }
func (reap) InsertOpts() river.InsertOpts { return alone() }

type reapWorker struct {
	river.WorkerDefaults[reap]
	s *Service
}

// Timeout is long: it may be many, and each has its time.
func (w *reapWorker) Timeout(*river.Job[reap]) time.Duration { return 15 * time.Minute }

func (w *reapWorker) Work(ctx context.Context, _ *river.Job[reap]) error {
	r, err := w.s.Reap(ctx, nil)
	if r != (Reaped{}) {
		w.s.Log.InfoContext(ctx, "reaped", "abandoned", r.Abandoned, "tenants", r.Tenants, "schemas", r.Schemas)
	}
	return err
}

// heal puts right what a crash left: see Service.Heal.
type heal struct{}

func (heal) Kind() string                 { return "tenants.heal" }
func (heal) InsertOpts() river.InsertOpts { return alone() }

type healWorker struct {
	river.WorkerDefaults[heal]
	s *Service
}

func (w *healWorker) Work(ctx context.Context, _ *river.Job[heal]) error {
	healed, err := w.s.Heal(ctx)
	if len(healed.Tenants) > 0 {
		w.s.Log.WarnContext(ctx, "the registry and the clusters did not say the same", "tenants", healed.Tenants)
	}
	if healed.Transfers > 0 {
		w.s.Log.WarnContext(ctx, "interrupted transfers put right", "tenants", healed.Transfers)
	}
	return err
}

type resumeWorker struct {
	river.WorkerDefaults[resume]
	s *Service
}

func (w *resumeWorker) Work(ctx context.Context, _ *river.Job[resume]) error {
	var ids []uuid.UUID
	err := w.s.DB.Gorm(ctx).Model(&Onboarding{}).
		Where("status in ('pending', 'running') and updated_at < ?", w.s.Clock().UTC().Add(-5*time.Second)).
		Order("updated_at").Limit(100).Pluck("id", &ids).Error
	if err != nil {
		return fmt.Errorf("find interrupted onboardings: %w", err)
	}
	// One attempt: the job that came with the onboarding has retries of its own, and must not get company at every look.
	once := provision{}.InsertOpts()
	once.MaxAttempts = 1
	for _, id := range ids {
		if err := w.s.Queue.Insert(ctx, provision{OnboardingID: id}, &once); err != nil {
			return err
		}
	}
	return nil
}
