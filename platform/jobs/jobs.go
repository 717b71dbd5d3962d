// Package jobs is work that must not be lost: River on the same Postgres, inserted in the business transaction, so that a
// row and the job it asks for commit or vanish together.
//
// A module inserts through a [Queue]; the processes that work run a [Runner].
package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"garment.id/homecore/platform/database"
)

// Schema is where the job tables live.
const Schema = "central"

// Long is the queue of jobs that hold a connection while they take others. Two are worked at a time, so that they can
// never take all there are.
const Long = "long"

// Slow is the queue of jobs that take minutes or hours, such as moving a tenant. One is worked at a time in each process, and
// keeps nobody else waiting.
const Slow = "slow"

// Migrate brings River's own tables up to the version of the library. It may run twice.
func Migrate(ctx context.Context, owner *pgxpool.Pool, log *slog.Logger) error {
	m, err := rivermigrate.New(riverpgxv5.New(owner), &rivermigrate.Config{Schema: Schema, Logger: quiet(log)})
	if err != nil {
		return fmt.Errorf("migrate the job tables: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the job tables: %w", err)
	}
	return nil
}

// Queue inserts jobs.
type Queue struct {
	db     *database.DB
	client *river.Client[pgx.Tx]
}

// NewQueue makes the inserting side.
func NewQueue(db *database.DB, log *slog.Logger) (*Queue, error) {
	client, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{
		Schema: Schema, Logger: quiet(log),
		// Also how long this side keeps quiet after telling the workers of a job: they would find the next one a second late.
		FetchCooldown: river.FetchCooldownMin,
	})
	if err != nil {
		return nil, fmt.Errorf("open the job queue: %w", err)
	}
	return &Queue{db: db, client: client}, nil
}

// Insert adds a job in the transaction ctx carries, or in one of its own. A job that is unique by its options and already
// there is not added again, without an error.
func (q *Queue) Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) error {
	return q.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := q.client.InsertTx(ctx, q.db.PgxTx(ctx), args, opts); err != nil {
			return fmt.Errorf("insert job %s: %w", args.Kind(), err)
		}
		return nil
	})
}

// Config of a Runner.
type Config struct {
	Workers int `env:"WORKERS" envDefault:"8"` // Jobs worked at a time in this process.
}

// Runner works jobs until it is stopped.
type Runner struct {
	db     *database.DB
	client *river.Client[pgx.Tx]
}

// NewRunner makes the working side. A job that fails is tried again with growing delay, up to River's 25 attempts.
func NewRunner(db *database.DB, c Config, workers *river.Workers, periodic []*river.PeriodicJob, log *slog.Logger) (*Runner, error) {
	client, err := river.NewClient(riverpgxv5.New(db.Pool()), &river.Config{
		Schema:  Schema,
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			river.QueueDefault: {MaxWorkers: c.Workers},
			Long:               {MaxWorkers: 2},
			Slow:               {MaxWorkers: 1},
		},
		PeriodicJobs: periodic,
		Logger:       quiet(log),
		// Onboarding waits for its job: look again soon after a notification, rather than River's 100 ms.
		FetchCooldown: 5 * time.Millisecond,
		JobTimeout:    time.Minute,
		// A job whose process was killed is taken up again once it cannot be running any more.
		RescueStuckJobsAfter: 2 * time.Minute,
		// Rebuilding indexes is for who owns them; the central role does not.
		ReindexerSchedule: never{},
	})
	if err != nil {
		return nil, fmt.Errorf("open the job runner: %w", err)
	}
	return &Runner{db: db, client: client}, nil
}

type never struct{}

func (never) Next(now time.Time) time.Time { return now.AddDate(100, 0, 0) }

// Start begins to work. It returns at once.
func (r *Runner) Start(ctx context.Context) error {
	if err := r.client.Start(ctx); err != nil {
		return fmt.Errorf("start the job runner: %w", err)
	}
	return nil
}

// Stop lets running jobs finish until ctx ends, then cancels them; a cancelled job is worked again later.
func (r *Runner) Stop(ctx context.Context) error {
	if err := r.client.Stop(ctx); err != nil {
		return r.client.StopAndCancel(context.WithoutCancel(ctx))
	}
	return nil
}

// Requeue makes every job that is marked as running available again. Only for a process that knows it is the only one
// (homecore dev, which locks its data folder): the jobs were another's that was killed.
func (r *Runner) Requeue(ctx context.Context) error {
	if _, err := r.db.Pool().Exec(ctx, "update river_job set state = 'available' where state = 'running'"); err != nil {
		return fmt.Errorf("requeue interrupted jobs: %w", err)
	}
	return nil
}

// quiet lets River's own chatter through from warnings up.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(atLeastWarn{log.Handler()}) }

type atLeastWarn struct{ slog.Handler }

func (h atLeastWarn) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}
func (h atLeastWarn) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeastWarn{h.Handler.WithAttrs(a)}
}
func (h atLeastWarn) WithGroup(n string) slog.Handler { return atLeastWarn{h.Handler.WithGroup(n)} }
