package activity

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
)

// forget deletes rows that are too old to keep. The application's role may not: the owner's connection does it.
type forget struct{}

// Kind names the job.
func (forget) Kind() string { return "activity_forget" }

type forgetWorker struct {
	river.WorkerDefaults[forget]
	s *Service
}

// Work deletes in small lots, so that it holds nobody up.
func (w *forgetWorker) Work(ctx context.Context, _ *river.Job[forget]) error {
	return w.s.ForgetOld(ctx)
}

// ForgetOld deletes what the log has kept for as long as it should.
func (s *Service) ForgetOld(ctx context.Context) error {
	const lot = 5000
	before := s.now().Add(-s.Config.ActivityKept)
	for {
		n, err := s.Forget(ctx, before, lot)
		if err != nil {
			return fmt.Errorf("forget old activities: %w", err)
		}
		if n < lot {
			return nil
		}
	}
}
