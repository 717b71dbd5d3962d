package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/jobs"
	"garment.id/homecore/platform/keyset"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/transfer"
)

// What operations there are.
const (
	opExport  = "export"
	opRestore = "restore"
	opMove    = "move"
)

// Operation is long work on a tenant, done by a worker.
type Operation struct {
	ID          uuid.UUID         `json:"id" gorm:"primaryKey"`
	Kind        string            `json:"kind" enum:"export,restore,move"`
	TenantID    uuid.UUID         `json:"tenant_id"`
	Status      string            `json:"status" enum:"pending,running,done,failed"`
	Params      operationParams   `json:"params" gorm:"serializer:json"`
	Progress    transfer.Progress `json:"progress" gorm:"serializer:json"`
	Result      *operationResult  `json:"result,omitempty" gorm:"serializer:json"`
	Failure     *string           `json:"failure" nullable:"true" doc:"Why it failed."`
	RequestedBy string            `json:"requested_by"`
	ClaimedBy   *uuid.UUID        `json:"-"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
}

type operationParams struct {
	File    string `json:"file,omitempty" doc:"Name of the archive."`
	Cluster string `json:"cluster,omitempty"`
}

type operationResult struct {
	File  string `json:"file,omitempty" doc:"Name of the archive."`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	Shut  string `json:"shut,omitempty" doc:"For how long the tenant was refused, such as 120ms."`
}

// operationOrder is a function's result, since tables of functions are no constants.
func operationOrder() keyset.Order[Operation] {
	return keyset.Order[Operation]{
		Default: "-created_at", ID: func(o *Operation) uuid.UUID { return o.ID },
		By: map[string]keyset.Sort[Operation]{"created_at": {Column: "created_at", Value: func(o *Operation) any { return o.CreatedAt }}},
	}
}

// begin writes an operation down and asks for it to be worked. It refuses with fault.ResourceNotFound, transfer.ClusterUnknown
// and, where archives have no place, with NoExportDir.
func (s *Service) begin(ctx context.Context, kind, tenant, by string, params operationParams) (*Operation, error) {
	if s.ExportDir == "" && kind != opMove {
		return nil, NoExportDir
	}
	t, err := s.Find(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if params.Cluster != "" {
		var n int64
		if err := s.DB.Gorm(ctx).Table("clusters").Where("name = ?", params.Cluster).Count(&n).Error; err != nil {
			return nil, fmt.Errorf("look for cluster %s: %w", params.Cluster, err)
		}
		if n == 0 {
			return nil, transfer.ClusterUnknown
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	now := s.Clock().UTC().Truncate(time.Microsecond)
	if kind == opExport {
		params.File = transfer.FileName(t.Slug, now)
	}
	o := &Operation{ID: id, Kind: kind, TenantID: t.ID, Status: "pending", Params: params, RequestedBy: by, CreatedAt: now, UpdatedAt: now}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.DB.Gorm(ctx).Create(o).Error; err != nil {
			return fmt.Errorf("begin the %s of tenant %s: %w", kind, t.Slug, err)
		}
		return s.Queue.Insert(ctx, operate{OperationID: id}, nil)
	})
	return o, err
}

// Operations returns operations, the newest first, of one tenant where it is named.
func (s *Service) Operations(ctx context.Context, tenant, status string, limit int, cursor, sort string) ([]Operation, string, error) {
	q := s.DB.Gorm(ctx).Model(&Operation{})
	if tenant != "" {
		t, err := s.Find(ctx, tenant)
		if err != nil {
			return nil, "", err
		}
		q = q.Where("tenant_id = ?", t.ID)
	}
	if status != "" {
		q = q.Where("status = ?", status)
	}
	return operationOrder().Page(ctx, q, limit, cursor, sort)
}

// Operation returns one operation: fault.ResourceNotFound where there is none.
func (s *Service) Operation(ctx context.Context, id uuid.UUID) (*Operation, error) {
	o, err := gorm.G[Operation](s.DB.Gorm(ctx)).Where("id = ?", id).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, fault.ResourceNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read operation %s: %w", id, err)
	}
	return &o, nil
}

// operate works on one operation.
type operate struct {
	OperationID uuid.UUID `json:"operation_id"`
}

func (operate) Kind() string { return "tenants.operate" }
func (operate) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: jobs.Slow, MaxAttempts: 1}
}

type operateWorker struct {
	river.WorkerDefaults[operate]
	s *Service
}

// Timeout is far away: an operation takes as long as it takes, and says that it lives.
func (w *operateWorker) Timeout(*river.Job[operate]) time.Duration { return 24 * time.Hour }

func (w *operateWorker) Work(ctx context.Context, job *river.Job[operate]) error {
	return w.s.operate(ctx, job.Args.OperationID)
}

// How often a process says that it works on an operation, and after how long without a word another takes it up.
const (
	heartbeat = 2 * time.Second
	silence   = 20 * time.Second
)

// operate takes an operation to its end, unless another process is at it. Interrupted, it is begun again by whoever finds it.
func (s *Service) operate(ctx context.Context, id uuid.UUID) error {
	me := uuid.New()
	before, err := s.Operation(ctx, id)
	if err != nil {
		return err
	}
	claimed := s.DB.Gorm(ctx).Exec(`update operations set status = 'running', claimed_by = ?, updated_at = now()
		where id = ? and (status = 'pending' or status = 'running' and updated_at < now() - make_interval(secs => ?))`, me, id, silence.Seconds())
	if claimed.Error != nil || claimed.RowsAffected == 0 {
		return claimed.Error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var progress transfer.Progress
	var alive sync.WaitGroup
	alive.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			mu.Lock()
			now := progress
			mu.Unlock()
			if !s.beat(ctx, id, me, now) {
				cancel() // another has taken it for dead
				return
			}
		}
	})
	result, err := s.perform(ctx, before, func(p transfer.Progress) {
		mu.Lock()
		defer mu.Unlock()
		progress = p
	})
	stopped := ctx.Err() != nil
	cancel()
	alive.Wait()
	return s.end(context.WithoutCancel(ctx), id, me, progress, result, err, stopped)
}

// beat says that the operation is worked on, and returns false where it has become another's. A database that is away says nothing.
func (s *Service) beat(ctx context.Context, id, me uuid.UUID, p transfer.Progress) bool {
	text, err := json.Marshal(p)
	if err != nil {
		return true
	}
	done := s.DB.Gorm(ctx).Exec("update operations set progress = ?::jsonb, updated_at = now() where id = ? and claimed_by = ?", string(text), id, me)
	return done.Error != nil || done.RowsAffected == 1
}

func (s *Service) perform(ctx context.Context, o *Operation, report transfer.Report) (*operationResult, error) {
	ctx = transfer.By(ctx, o.RequestedBy)
	tenant, file := o.TenantID.String(), filepath.Join(s.ExportDir, filepath.Base(o.Params.File))
	switch o.Kind {
	case opExport:
		if err := transfer.Writable(s.ExportDir); err != nil {
			return nil, fmt.Errorf("HOMECORE_EXPORT_DIR: %w", err)
		}
		m, err := s.Transfers.Export(ctx, tenant, file, report)
		if err != nil {
			return nil, err
		}
		r := &operationResult{File: o.Params.File, Rows: m.Rows()}
		if info, err := os.Stat(file); err == nil {
			r.Bytes = info.Size()
		}
		return r, nil
	case opRestore:
		m, err := s.Transfers.Restore(ctx, tenant, file, report)
		if err != nil {
			return nil, s.unlessDone(ctx, o, err)
		}
		return &operationResult{File: o.Params.File, Rows: m.Rows()}, nil
	case opMove:
		m, err := s.Transfers.Move(ctx, tenant, o.Params.Cluster, report)
		if err != nil {
			return nil, s.unlessDone(ctx, o, err)
		}
		return &operationResult{Rows: m.Rows, Bytes: m.Bytes, Shut: m.Shut.Round(time.Millisecond).String()}, nil
	}
	return nil, fmt.Errorf("operation %s: nobody knows how to %s", o.ID, o.Kind)
}

// unlessDone is err, unless an earlier attempt did the work and was killed before it could say so.
func (s *Service) unlessDone(ctx context.Context, o *Operation, err error) error {
	if o.Status == "running" && errors.Is(err, transfer.Unaccepted) {
		if kind, wrong := s.Transfers.Kept(ctx, o.TenantID.String()); wrong == nil && kind == o.Kind {
			return nil
		}
	}
	return err
}

// end writes down how an operation ended. What was stopped, or had no database, is left for another attempt.
func (s *Service) end(ctx context.Context, id, me uuid.UUID, p transfer.Progress, r *operationResult, err error, stopped bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	set := map[string]any{"status": "done", "failure": nil, "updated_at": gorm.Expr("now()")}
	switch {
	case err == nil:
		if t, wrong := s.operationTenant(ctx, id); wrong == nil {
			s.Registry.Forget(t)
		}
	case stopped || passes(err):
		s.Log.WarnContext(ctx, "operation interrupted", "operation", id, "cause", err)
		set["status"] = "pending"
	default:
		s.Log.ErrorContext(ctx, "operation failed", "operation", id, "cause", err)
		text := err.Error()
		if f, ok := fault.From(err); ok {
			text = f.Text().In(locale.EN)
		}
		set["status"], set["failure"] = "failed", text
	}
	for column, v := range map[string]any{"progress": p, "result": r} {
		text, wrong := json.Marshal(v)
		if wrong != nil {
			return fmt.Errorf("write operation %s: %w", id, wrong)
		}
		set[column] = gorm.Expr("?::jsonb", string(text))
	}
	if r == nil {
		delete(set, "result")
	}
	if err := s.DB.Gorm(ctx).Table("operations").Where("id = ? and claimed_by = ?", id, me).Updates(set).Error; err != nil {
		return fmt.Errorf("write operation %s: %w", id, err)
	}
	return nil
}

// passes says whether trying again later may help. A file that is not there, or not whole, says much the same as a network that is
// down, and does not pass.
func passes(err error) bool {
	if _, file := errors.AsType[*fs.PathError](err); file || errors.Is(err, transfer.ErrArchive) {
		return false
	}
	return database.Unavailable(err) || errors.Is(err, transfer.Busy)
}

func (s *Service) operationTenant(ctx context.Context, id uuid.UUID) (tenancy.Tenant, error) {
	return gorm.G[tenancy.Tenant](s.DB.Gorm(ctx)).Where("id = (select tenant_id from operations where id = ?)", id).Take(ctx)
}

// settle looks for operations that nobody works on and starts them again, and puts right what crashes have left of transfers.
type settle struct{}

func (settle) Kind() string                 { return "tenants.settle" }
func (settle) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: 1} }

type settleWorker struct {
	river.WorkerDefaults[settle]
	s *Service
}

func (w *settleWorker) Work(ctx context.Context, _ *river.Job[settle]) error {
	var ids []uuid.UUID
	// One that waits for its turn behind others is in no hurry; it is asked for again now and then.
	err := w.s.DB.Gorm(ctx).Raw(`update operations set updated_at = case status when 'pending' then now() else updated_at end
		where id in (select id from operations where status in ('pending', 'running')
			and updated_at < now() - make_interval(secs => ? * case status when 'pending' then 3 else 1 end) order by updated_at limit 100)
		returning id`, silence.Seconds()).Scan(&ids).Error
	if err != nil {
		return fmt.Errorf("find interrupted operations: %w", err)
	}
	for _, id := range ids {
		once := operate{}.InsertOpts()

		if err := w.s.Queue.Insert(ctx, operate{OperationID: id}, &once); err != nil {
			return err
		}
	}
	// Not left to heal, which comes by seldom: the tenant may be shut.
	healed, err := w.s.Transfers.Heal(ctx)
	if healed > 0 {
		w.s.Log.WarnContext(ctx, "interrupted transfers put right", "tenants", healed)
	}
	return err
}
