package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
)

// Action is what an operator may do to a tenant.
type Action string

// The actions; transitions says from where to where each leads.
const (
	Suspend     Action = "suspend"
	Resume      Action = "resume"
	ReadOnly    Action = "read-only"
	Maintenance Action = "maintenance"
	Archive     Action = "archive"
	Unarchive   Action = "unarchive"
	Drop        Action = "drop"
	Undrop      Action = "undrop"
)

// transition leads from some states to another; to the one before where none is named.
type transition struct {
	from []tenancy.Status
	to   tenancy.Status
	done []tenancy.Status // of one that undoes: states in which there is nothing to undo
}

// transitions is all there is to a tenant's life, once it is active.
func transitions(a Action) (transition, bool) {
	t, ok := map[Action]transition{
		Suspend:     {from: []tenancy.Status{tenancy.Active, tenancy.ReadOnly, tenancy.Maintenance}, to: tenancy.Suspended},
		Resume:      {from: []tenancy.Status{tenancy.ReadOnly, tenancy.Suspended, tenancy.Maintenance}, to: tenancy.Active},
		ReadOnly:    {from: []tenancy.Status{tenancy.Active, tenancy.Suspended, tenancy.Maintenance}, to: tenancy.ReadOnly},
		Maintenance: {from: []tenancy.Status{tenancy.Active, tenancy.ReadOnly, tenancy.Suspended}, to: tenancy.Maintenance},
		Archive:     {from: alive, to: tenancy.Archived},
		Unarchive:   {from: []tenancy.Status{tenancy.Archived}, done: alive},
		Drop:        {from: append(alive[:len(alive):len(alive)], tenancy.Archived), to: tenancy.Dropping},
		Undrop:      {from: []tenancy.Status{tenancy.Dropping}, done: append(alive[:len(alive):len(alive)], tenancy.Archived)},
	}[a]
	return t, ok
}

var (
	alive  = []tenancy.Status{tenancy.Active, tenancy.ReadOnly, tenancy.Suspended, tenancy.Maintenance}
	unborn = []tenancy.Status{tenancy.Requested, tenancy.Creating, tenancy.Ready}
)

// IllegalTransition refuses a change of status that does not lead from where the tenant is. What Change returns names both.
var IllegalTransition = illegal("?", "?")

func illegal(from, to tenancy.Status) *fault.Fault {
	return fault.New(fault.Conflict, "transition.illegal",
		fmt.Sprintf("Status ruang kerja tidak dapat berubah dari %s menjadi %s.", from, to),
		fmt.Sprintf("A workspace that is %s cannot become %s.", from, to)).
		WithData(map[string]string{"from": string(from), "to": string(to)})
}

// DefaultGrace is how long a drop can be undone unless said otherwise.
const DefaultGrace = 30 * 24 * time.Hour

// Order is who wants a change, and why.
type Order struct {
	By     string
	Reason string
	// RetryAfter is when clients shall ask again, of Maintenance; zero leaves it to the edge.
	RetryAfter time.Duration
	// Grace is how long a Drop can be undone.
	Grace time.Duration
}

// Change takes the tenant from one status to another: its gate in Postgres and its row in the registry together, so that the
// next statement of whichever process is refused by the database where it is to be refused. The same status again is a success
// that changes nothing. It refuses with IllegalTransition and tenancy.Unknown.
//
// On another cluster than the main one the two cannot commit together. What shuts is done there first: nobody is told that a
// tenant is shut which is not. What opens is registered first, and then done by Align, which looks again: of two operators
// at the same time the later decides. What a crash leaves in between keeps people out, and Heal puts it right.
func (f *Fleet) Change(ctx context.Context, tenant uuid.UUID, a Action, o Order) error {
	opens := false
	var at *Cluster
	err := pgx.BeginFunc(ctx, f.main.owner, func(tx pgx.Tx) error {
		t, err := lock(ctx, tx, tenant)
		if err != nil {
			return err
		}
		to, err := t.after(a)
		if err != nil || to == t.status {
			return err
		}
		c, err := f.Cluster(t.cluster)
		if err != nil {
			return err
		}
		at = c
		role := t.role
		switch opens = c != f.main && modeOf(to) > modeOf(t.status); {
		case c == f.main:
			role, err = c.turn(ctx, tx, tenant, modeOf(to), role)
		case !opens:
			err = pgx.BeginFunc(ctx, c.owner, func(there pgx.Tx) (err error) {
				role, err = c.turn(ctx, there, tenant, modeOf(to), role)
				return err
			})
		}
		if err != nil {
			return err
		}
		return t.become(ctx, tx, a, to, role, o)
	})
	if err == nil && opens {
		err = f.Align(ctx, tenant)
	}
	if err == nil && at != nil {
		err = at.settle(ctx, tenant)
	}
	if err != nil {
		return fmt.Errorf("%s tenant %s: %w", a, tenant, err)
	}
	return nil
}

// registered is a tenant's row, locked until the end of the transaction.
type registered struct {
	id      uuid.UUID
	status  tenancy.Status
	before  tenancy.Status
	slug    string
	cluster string
	schema  string
	role    string
	version int  // of the schema
	due     bool // its time of grace is over
}

func lock(ctx context.Context, tx pgx.Tx, tenant uuid.UUID) (registered, error) {
	t := registered{id: tenant}
	err := tx.QueryRow(ctx, `select status, coalesce(status_before, ''), slug, cluster, schema_name, role_name, schema_version, coalesce(drop_after <= now(), false)
		from central.tenants where id = $1 for update`, tenant).Scan(&t.status, &t.before, &t.slug, &t.cluster, &t.schema, &t.role, &t.version, &t.due)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, tenancy.Unknown
	}
	return t, err
}

// after returns the status that the action leads to.
func (t registered) after(a Action) (tenancy.Status, error) {
	way, ok := transitions(a)
	if !ok {
		return "", fmt.Errorf("there is no action %q", a)
	}
	to := way.to
	if to == "" {
		if to = t.before; to == "" {
			to = tenancy.Active
		}
		if slices.Contains(way.done, t.status) {
			return t.status, nil
		}
	}
	switch {
	case t.status == to:
		return to, nil
	case !slices.Contains(way.from, t.status), a == Undrop && t.due:
		return "", illegal(t.status, to)
	}
	return to, nil
}

// become writes the new status, and that it has changed.
func (t registered) become(ctx context.Context, tx pgx.Tx, a Action, to tenancy.Status, role string, o Order) error {
	// What undoing this returns to. An archive that is still there after a drop has one of its own, which only the history knows.
	before := "null"
	switch {
	case a == Archive || a == Drop:
		before = literal(string(t.status))
	case a == Undrop && to == tenancy.Archived:
		before = `(select from_status from central.tenant_events where tenant_id = $1 and action = 'archive' order by at desc, id desc limit 1)`
	}
	_, err := tx.Exec(ctx, `update central.tenants set status = $2::text, status_reason = nullif($3, ''), status_changed_at = now(), status_before = `+before+`,
			drop_after = case when $2 = 'dropping' then now() + make_interval(secs => $4::double precision) end,
			retry_after = case when $2 = 'maintenance' then nullif($5, 0) end,
			role_name = $6, version = version + 1, updated_at = now()
		where id = $1`, t.id, string(to), o.Reason, o.Grace.Seconds(), int(o.RetryAfter.Seconds()), role)
	if err != nil {
		return err
	}
	return t.record(ctx, tx, string(a), to, "", o)
}

// record adds to the tenant's history.
func (t registered) record(ctx context.Context, tx pgx.Tx, action string, to tenancy.Status, detail string, o Order) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	_, err = tx.Exec(ctx, `insert into central.tenant_events (id, tenant_id, action, from_status, to_status, detail, reason, by_whom)
		values ($1, $2, $3, $4, $5, $6, $7, $8)`, id, t.id, action, string(t.status), string(to), detail, o.Reason, o.By)
	return err
}

// Refusals of a rename.
var (
	SlugTaken = fault.ResourceConflict.WithField("slug", "Nama ruang kerja ini sudah dipakai.", "This workspace name is taken.")
	Leaving   = fault.New(fault.Conflict, "transition.illegal", "Ruang kerja yang dihapus tidak dapat diubah.", "A workspace that is being dropped cannot be changed.")
)

// Rename gives the tenant another slug, another name, or both; what is empty stays. It is a row: no schema and no role changes,
// and whoever is signed in stays so. The old slug leads nowhere from then on. A version of zero means whichever; another must be
// the newest. It refuses with SlugTaken, fault.ResourceStale, tenancy.Unknown, and Leaving.
func (f *Fleet) Rename(ctx context.Context, tenant uuid.UUID, slug, name string, version int64, o Order) error {
	err := pgx.BeginFunc(ctx, f.main.owner, func(tx pgx.Tx) error {
		t, err := lock(ctx, tx, tenant)
		if err != nil {
			return err
		}
		var oldName string
		var newest int64
		if err := tx.QueryRow(ctx, "select name, version from central.tenants where id = $1", tenant).Scan(&oldName, &newest); err != nil {
			return err
		}
		detail := ""
		if slug != "" && slug != t.slug {
			detail = t.slug + " → " + slug
		}
		if name != "" && name != oldName {
			if detail != "" {
				detail += ", "
			}
			detail += oldName + " → " + name
		}
		switch {
		case version != 0 && version != newest:
			return fault.ResourceStale
		case detail == "":
			return nil
		case t.status == tenancy.Dropping || t.status == tenancy.Dropped:
			return Leaving
		}
		_, err = tx.Exec(ctx, `update central.tenants set slug = coalesce(nullif($2, ''), slug), name = coalesce(nullif($3, ''), name),
			version = version + 1, updated_at = now() where id = $1`, tenant, slug, name)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.ConstraintName == "tenants_slug_key" {
			return SlugTaken.WithCause(err)
		}
		if err != nil {
			return err
		}
		return t.record(ctx, tx, "rename", t.status, detail, o)
	})
	if err != nil {
		return fmt.Errorf("rename tenant %s: %w", tenant, err)
	}
	return nil
}
