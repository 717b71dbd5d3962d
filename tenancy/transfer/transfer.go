package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

// Refusals. Nothing was changed.
var (
	Busy = fault.New(fault.Conflict, "tenant.busy",
		"Ruang kerja ini sedang diekspor, dipulihkan, atau dipindahkan.", "This workspace is being exported, restored or moved.")
	Unaccepted = fault.New(fault.Conflict, "tenant.transfer_unaccepted",
		"Keadaan lama ruang kerja ini masih disimpan. Terima atau batalkan dahulu.", "The old state of this workspace is still kept. Accept it or undo first.")
	NothingKept = fault.New(fault.Conflict, "tenant.transfer_none",
		"Tidak ada keadaan lama yang disimpan.", "No old state is kept.")
	NotNow = fault.New(fault.Conflict, "transition.illegal",
		"Keadaan ruang kerja ini tidak memungkinkannya.", "The state of this workspace does not allow it.")
	ClusterUnknown = fault.ValidationFailed.WithField("cluster", "Klaster tidak dikenal.", "There is no such cluster.")
	AlreadyThere   = fault.ValidationFailed.WithField("cluster", "Ruang kerja ini sudah ada di sana.", "The workspace is there already.")
)

// Progress is how far a piece of work is.
type Progress struct {
	Step        string `json:"step"` // verify, prepare, export, load, migrate, compare, lock, copy, switch
	Tables      int    `json:"tables"`
	TablesTotal int    `json:"tables_total"`
	Rows        int64  `json:"rows"`
	RowsTotal   int64  `json:"rows_total,omitempty"`
	Bytes       int64  `json:"bytes"`
}

// Report is told of progress, often, and never by two at once.
type Report func(Progress)

// Porter exports, restores and moves tenants. It is safe for concurrent use, in any number of processes.
type Porter struct {
	fleet    *fleet.Fleet
	migrator *migrate.Runner
	log      *slog.Logger
	now      func() time.Time

	// step is called between the steps of a restore or a move. What it returns ends the work there, as a kill would: tests do that.
	step func(name string) error
	disk func(path string, file io.Writer) io.Writer // what an archive is written to
}

// New returns a Porter for the fleet's tenants.
func New(f *fleet.Fleet, log *slog.Logger) *Porter {
	return &Porter{
		fleet: f, migrator: migrate.New(f), log: log, now: time.Now, step: func(string) error { return nil },
		disk: func(_ string, file io.Writer) io.Writer { return file },
	}
}

// errKilled is how a test ends the work between two steps, leaving everything as it is.
var errKilled = errors.New("killed")

// registered is what the registry says of a tenant.
type registered struct {
	id              uuid.UUID
	slug            string
	status          tenancy.Status
	cluster, schema string
}

// find reads the tenant of that slug or id.
func (p *Porter) find(ctx context.Context, tenant string) (registered, error) {
	where := "slug = $1"
	if _, err := uuid.Parse(tenant); err == nil {
		where = "id = $1::uuid"
	}
	t, err := read(ctx, p.fleet.Main().Owner(), where, tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, tenancy.Unknown
	}
	if err != nil {
		return t, fmt.Errorf("look for tenant %s: %w", tenant, err)
	}
	return t, nil
}

type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

func read(ctx context.Context, q querier, where string, args ...any) (t registered, err error) {
	err = q.QueryRow(ctx, "select id, slug, status, cluster, schema_name from central.tenants where "+where, args...).
		Scan(&t.id, &t.slug, &t.status, &t.cluster, &t.schema)
	return t, err
}

// has refuses tenants that have no schema to work on, or are about to lose it.
func (t registered) has() error {
	switch t.status {
	case tenancy.Active, tenancy.ReadOnly, tenancy.Suspended, tenancy.Maintenance, tenancy.Archived:
		if t.schema != "" {
			return nil
		}
	}
	return NotNow
}

// hold keeps other work away from the tenant until done is called: all of it, or with shared only what would change the tenant.
// The lock ends with its connection, so that a process that was killed keeps nobody away.
func (p *Porter) hold(ctx context.Context, tenant uuid.UUID, shared bool) (done func(), err error) {
	conn, err := connect(ctx, p.fleet.Main())
	if err != nil {
		return nil, err
	}
	try := "pg_try_advisory_lock"
	if shared {
		try += "_shared"
	}
	var mine bool
	if err := conn.QueryRow(ctx, "select "+try+"(hashtextextended('tenancy.transfer ' || $1, 0))", tenant.String()).Scan(&mine); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("lock tenant %s: %w", tenant, err)
	}
	if !mine {
		conn.Close(ctx)
		return nil, Busy
	}
	return func() {
		ctx, cancel := undoing(ctx)
		defer cancel()
		// A server notices that a connection is closed in its own time; the next to come may be there sooner.
		_, _ = conn.Exec(ctx, "select pg_advisory_unlock_all()")
		conn.Close(ctx)
	}, nil
}

// connect opens a connection of its own: work that takes long, and needs several, must not use up the owner's pool.
func connect(ctx context.Context, c *fleet.Cluster) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, c.Owner().Config().ConnConfig.Copy())
	if err != nil {
		return nil, fmt.Errorf("connect to cluster %s: %w", c.Name, err)
	}
	return conn, nil
}

// undoing runs what must also be done when ctx has ended.
func undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

func isCode(err error, codes ...string) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	for _, c := range codes {
		if pg.Code == c {
			return true
		}
	}
	return false
}
