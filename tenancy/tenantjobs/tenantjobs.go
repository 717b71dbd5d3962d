// Package tenantjobs is jobs that belong to a tenant. One is inserted from a context that works for the tenant and from no
// other, and its worker gets a context that has entered that tenant: nothing in between can be forgotten or mixed up.
//
//	tenantjobs.AddWorker(workers, registry, &restockWorker{db: db})              // ctx of Work carries the tenant's Scope
//	err := tenantjobs.Insert(ctx, queue, restock{Material: id}, nil)             // ErrNoTenant where ctx carries none
//
// Jobs stand in schema central, in the transaction on it that ctx carries. A transaction of the tenant's own schema is another
// one, mostly on another server: insert the job after it has committed, or before, and let the worker find out.
package tenantjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
)

// Queue inserts jobs, in the transaction that ctx carries.
type Queue interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) error
}

// Registry lets into a tenant.
type Registry interface {
	Enter(ctx context.Context, id uuid.UUID) (context.Context, error)
}

// scoped is a job's args with its tenant. Only Insert makes one.
type scoped[T river.JobArgs] struct {
	tenant uuid.UUID
	args   T
}

// Kind is that of the args.
func (s scoped[T]) Kind() string { return s.args.Kind() }

// wire is how a job is stored.
type wire[T any] struct {
	Tenant uuid.UUID `json:"tenant_id"`
	Args   T         `json:"args"`
}

// MarshalJSON refuses args that have no tenant.
func (s scoped[T]) MarshalJSON() ([]byte, error) {
	if s.tenant == uuid.Nil {
		return nil, tenancy.ErrNoTenant
	}
	return json.Marshal(wire[T]{s.tenant, s.args})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *scoped[T]) UnmarshalJSON(text []byte) error {
	var w wire[T]
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	if w.Tenant == uuid.Nil {
		return tenancy.ErrNoTenant
	}
	s.tenant, s.args = w.Tenant, w.Args
	return nil
}

// Insert adds a job of the tenant that ctx works for: tenancy.ErrNoTenant where it works for none. Of a unique job each tenant
// can have one, with the same args. Its metadata names the tenant.
func Insert[T river.JobArgs](ctx context.Context, q Queue, args T, opts *river.InsertOpts) error {
	scope, err := tenancy.Current(ctx)
	if err != nil {
		return fmt.Errorf("insert job %s: %w", args.Kind(), err)
	}
	o, err := options(args, opts, scope)
	if err != nil {
		return fmt.Errorf("insert job %s: %w", args.Kind(), err)
	}
	return q.Insert(ctx, scoped[T]{scope.Tenant(), args}, o)
}

// options are those of the args, under those of the call, as River joins them.
func options(args river.JobArgs, opts *river.InsertOpts, scope tenancy.Scope) (*river.InsertOpts, error) {
	var o river.InsertOpts
	if opts != nil {
		o = *opts
	}
	if with, ok := args.(river.JobArgsWithInsertOpts); ok {
		own := with.InsertOpts()
		if o.MaxAttempts == 0 {
			o.MaxAttempts = own.MaxAttempts
		}
		if o.Priority == 0 {
			o.Priority = own.Priority
		}
		if o.Queue == "" {
			o.Queue = own.Queue
		}
		if o.Tags == nil {
			o.Tags = own.Tags
		}
		if o.ScheduledAt.IsZero() {
			o.ScheduledAt = own.ScheduledAt
		}
		if !isUnique(o.UniqueOpts) {
			o.UniqueOpts = own.UniqueOpts
		}
	}
	if isUnique(o.UniqueOpts) {
		o.UniqueOpts.ByArgs = true // the tenant is one of them: without, one tenant's job would keep out another's
	}
	metadata := map[string]any{}
	if len(o.Metadata) > 0 {
		if err := json.Unmarshal(o.Metadata, &metadata); err != nil {
			return nil, fmt.Errorf("read the metadata: %w", err)
		}
	}
	metadata["tenant"], metadata["tenant_id"] = scope.Slug(), scope.Tenant()
	var err error
	o.Metadata, err = json.Marshal(metadata)
	return &o, err
}

func isUnique(o river.UniqueOpts) bool {
	return o.ByArgs || o.ByPeriod != 0 || o.ByQueue || o.ByState != nil || o.ExcludeKind
}

// AddWorker registers a worker of tenants' jobs. Its context has entered the job's tenant; the logs made with it name it. A
// tenant that is in maintenance or suspended, or becomes so meanwhile, is waited for without using up attempts; the job of one
// that is gone is cancelled.
func AddWorker[T river.JobArgs](workers *river.Workers, registry Registry, w river.Worker[T]) {
	river.AddWorker(workers, &worker[T]{registry: registry, inner: w})
}

type worker[T river.JobArgs] struct {
	registry Registry
	inner    river.Worker[T]
}

func of[T river.JobArgs](job *river.Job[scoped[T]]) *river.Job[T] {
	return &river.Job[T]{JobRow: job.JobRow, Args: job.Args.args}
}

func (w *worker[T]) Middleware(row *rivertype.JobRow) []rivertype.WorkerMiddleware {
	return w.inner.Middleware(row)
}
func (w *worker[T]) NextRetry(job *river.Job[scoped[T]]) time.Time   { return w.inner.NextRetry(of(job)) }
func (w *worker[T]) Timeout(job *river.Job[scoped[T]]) time.Duration { return w.inner.Timeout(of(job)) }

func (w *worker[T]) Work(ctx context.Context, job *river.Job[scoped[T]]) error {
	entered, err := w.registry.Enter(ctx, job.Args.tenant)
	if err == nil {
		err = w.inner.Work(entered, of(job))
	}
	return later(err)
}

// How long a job waits before it looks at its tenant again.
const (
	forOperator = 10 * time.Minute // somebody has to open it
	atLeast     = time.Second
)

// later says what River is to do about a tenant that is shut.
func later(err error) error {
	var cancelled *river.JobCancelError
	var snoozed *river.JobSnoozeError
	switch {
	case err == nil, errors.As(err, &cancelled), errors.As(err, &snoozed):
		return err
	case errors.Is(err, tenancy.Unknown):
		return river.JobCancel(err)
	case errors.Is(err, tenancy.IsSuspended), errors.Is(err, tenancy.IsReadOnly):
		return river.JobSnooze(forOperator)
	case errors.Is(err, tenancy.InMaintenance):
		f, _ := fault.From(err)
		return river.JobSnooze(max(atLeast, f.RetryAfter()))
	}
	return err
}
