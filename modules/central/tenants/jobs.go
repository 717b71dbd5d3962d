package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"garment.id/homecore/platform/jobs"
)

// provision takes one onboarding to its end.
type provision struct {
	OnboardingID uuid.UUID `json:"onboarding_id"`
}

func (provision) Kind() string { return "tenants.provision" }

// InsertOpts: it holds a transaction, as the lock on the onboarding, while each step takes another.
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
