package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/tenancy"
)

// tablesAtATime bounds the locks that a drop holds: a schema of 20 tables held 202, and Postgres has room for some thousands.
const tablesAtATime = 50

// Dropped is told of a drop's progress: how many tables of the tenant's are left.
type Dropped func(slug string, left int)

// Purge drops the tenants whose time of grace is over, each in as many transactions as it takes to hold few locks, and returns
// how many went. One that was interrupted goes on where it was. What a process is working on is left to it.
func (f *Fleet) Purge(ctx context.Context, progress Dropped) (gone int, err error) {
	rows, err := f.main.owner.Query(ctx, `select id from central.tenants t where status = 'dropping' and drop_after <= now()
		and not exists (select from central.transfers w where w.tenant_id = t.id and w.phase <> 'done') order by drop_after limit 1000`)
	if err != nil {
		return 0, fmt.Errorf("find the tenants to drop: %w", err)
	}
	due, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, fmt.Errorf("find the tenants to drop: %w", err)
	}
	for _, id := range due {
		done, wrong := f.purge(ctx, id, progress)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("drop tenant %s: %w", id, wrong))
		}
		if done {
			gone++
		}
	}
	return gone, err
}

// purge drops what the tenant has, the main cluster last: its row goes with the last of its schemas there.
func (f *Fleet) purge(ctx context.Context, tenant uuid.UUID, progress Dropped) (done bool, err error) {
	var slug string
	if err := f.main.owner.QueryRow(ctx, "select slug from central.tenants where id = $1", tenant).Scan(&slug); err != nil {
		return false, err
	}
	slug, _, _ = strings.Cut(slug, "~")
	report := func(left int) {
		if progress != nil {
			progress(slug, left)
		}
	}
	end, err := ending(tenant)
	if err != nil {
		return false, err
	}
	for _, c := range f.Clusters() {
		if c == f.main {
			continue
		}
		places, err := c.places(ctx, "tenant_id = $1", tenant)
		if err != nil {
			return false, err
		}
		for _, p := range places {
			if done, err := c.drop(ctx, p, nil, report); err != nil || !done {
				return false, err
			}
		}
	}
	places, err := f.main.places(ctx, "tenant_id = $1", tenant)
	if err != nil {
		return false, err
	}
	if len(places) == 0 {
		err := f.main.run(ctx, end)
		return err == nil, err
	}
	for i, p := range places {
		var last []string
		if i == len(places)-1 {
			last = end
		}
		if done, err := f.main.drop(ctx, p, last, report); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

// ending is what is left to do in the registry once the schemas are gone. The row stays, under a name that nobody can want.
func ending(tenant uuid.UUID) ([]string, error) {
	event, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	id := literal(tenant.String())
	return []string{
		"insert into central.tenant_events (id, tenant_id, action, from_status, to_status, by_whom) select " + literal(event.String()) +
			", id, 'dropped', status, 'dropped', 'the end of its grace' from central.tenants where id = " + id + " and status = 'dropping'",
		"delete from central.memberships where tenant_id = " + id,
		"delete from central.transfers where tenant_id = " + id,
		"delete from central.tenant_domains where tenant_id = " + id,
		`update central.tenants set status = 'dropped', status_changed_at = now(), slug = split_part(slug, '~', 1) || '~' || id,
			schema_name = '', role_name = '', schema_version = 0, version = version + 1, updated_at = now()
			where status = 'dropping' and id = ` + id,
	}, nil
}

// places returns the schemas of the cluster that are like the condition.
func (c *Cluster) places(ctx context.Context, condition string, args ...any) ([]Place, error) {
	rows, err := c.owner.Query(ctx, "select schema_name, role_name, login_group, version from tenancy.schemas where "+condition+" order by schema_name", args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Place, error) {
		p := Place{Cluster: c.Name}
		err := row.Scan(&p.Schema, &p.Role, &p.Group, &p.Version)
		return p, err
	})
}

// DropPlace drops a schema with its roles and its rows of the ledger, in as many transactions as it takes to hold few locks. It
// returns false where another process is working on it. It may be repeated.
func (c *Cluster) DropPlace(ctx context.Context, p Place) (bool, error) {
	return c.drop(ctx, p, nil, func(int) {})
}

func (c *Cluster) drop(ctx context.Context, p Place, last []string, report func(left int)) (done bool, err error) {
	if c.Kind != Citus { // which takes no block of ours
		err := c.run(ctx, slices.Concat([]string{"set local lock_timeout = '2s'", small(p)}, c.dropRest(p), last))
		pg, refused := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil:
			report(0)
			return true, nil
		case refused && pg.Code == isBusy:
			return false, nil
		case !refused || pg.Code != isLarge:
			return false, err
		}
	}
	return c.dropInSteps(ctx, p, last, report)
}

// How small refuses.
const (
	isBusy  = "HC001"
	isLarge = "HC002"
)

// small is a statement that locks the schema's row, and fails where another process has it, or where there is too much to drop
// at once. What is small is so dropped in one round trip.
func small(p Place) string {
	name := literal(p.Schema)
	return fmt.Sprintf(`do $small$ begin
		perform from tenancy.schemas where schema_name = %[1]s for update skip locked;
		if not found and exists (select from tenancy.schemas where schema_name = %[1]s) then
			raise exception 'another process is working on it' using errcode = '%[2]s';
		end if;
		if %[3]d < (select count(*) from pg_depend where refclassid = 'pg_namespace'::regclass
				and refobjid = (select oid from pg_namespace where nspname = %[1]s) and classid = 'pg_class'::regclass) then
			raise exception 'it is large' using errcode = '%[4]s';
		end if;
	end $small$`, name, isBusy, tablesAtATime, isLarge)
}

func (c *Cluster) dropInSteps(ctx context.Context, p Place, last []string, report func(left int)) (done bool, err error) {
	for {
		left, mine := 0, true
		err := pgx.BeginFunc(ctx, c.owner, func(tx pgx.Tx) error {
			// Who waits for a lock on a table makes everyone behind it wait.
			var others int
			var limit string
			err := tx.QueryRow(ctx, `with mine as (select schema_name from tenancy.schemas where schema_name = $1 for update skip locked)
				select (select count(*) from tenancy.schemas where schema_name = $1) - (select count(*) from mine), set_config('lock_timeout', '2s', true)`,
				p.Schema).Scan(&others, &limit)
			if err != nil {
				return err
			}
			if mine = others == 0; !mine {
				return nil
			}
			tables, err := relations(ctx, tx, p.Schema, "rpfvm", 0)
			if err != nil {
				return err
			}
			if left = len(tables); left > tablesAtATime {
				left -= tablesAtATime
				return c.exec(ctx, tx, c.dropSome(p, tables[:tablesAtATime]))
			}
			left = 0
			return c.exec(ctx, tx, append(c.dropRest(p), last...))
		})
		if err != nil || !mine {
			return false, err
		}
		if report(left); left == 0 {
			return true, nil
		}
	}
}

// dropSome drops some tables, and marks the schema as one that is going, so that it is dropped to the end whatever happens.
func (c *Cluster) dropSome(p Place, tables []string) []string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = quote(p.Schema) + "." + quote(t)
	}
	return []string{
		"update tenancy.schemas set state = 'dropping' where schema_name = " + literal(p.Schema),
		"drop table " + strings.Join(names, ", ") + " cascade",
	}
}

func (c *Cluster) dropRest(p Place) []string {
	out := []string{"drop schema if exists " + quote(p.Schema) + " cascade"}
	if c.Kind != Citus {
		out = append(out, "drop role if exists "+quote(p.Role)+", "+quote(p.readRole()))
	}
	return append(out, "delete from tenancy.schemas where schema_name = "+literal(p.Schema))
}

// Abandon gives up a tenant that never came to be: its name is free at once, and Purge drops what was made of it.
func (f *Fleet) Abandon(ctx context.Context, tenant uuid.UUID, o Order) error {
	err := pgx.BeginFunc(ctx, f.main.owner, func(tx pgx.Tx) error {
		t, err := lock(ctx, tx, tenant)
		if err != nil {
			return err
		}
		for _, s := range unborn {
			if t.status != s {
				continue
			}
			if _, err := tx.Exec(ctx, `update central.tenants set slug = slug || '~' || id where id = $1`, tenant); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "delete from central.memberships where tenant_id = $1", tenant); err != nil {
				return err
			}
			return t.become(ctx, tx, "abandon", tenancy.Dropping, t.role, Order{By: o.By, Reason: o.Reason})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("abandon tenant %s: %w", tenant, err)
	}
	return nil
}

// Sweep drops schemas that are nobody's: whose tenant is gone or has another, half dropped ones, and those that were being filled to
// take another's place and were left. It returns how many went.
func (f *Fleet) Sweep(ctx context.Context) (gone int, err error) {
	for _, c := range f.Clusters() {
		stray, wrong := f.stray(ctx, c)
		err = errors.Join(err, wrong)
		for _, p := range stray {
			done, wrong := c.DropPlace(ctx, p)
			if wrong != nil {
				err = errors.Join(err, fmt.Errorf("drop schema %s on cluster %s: %w", p.Schema, c.Name, wrong))
			}
			if done {
				gone++
			}
		}
	}
	return gone, err
}

func (f *Fleet) stray(ctx context.Context, c *Cluster) (out []Place, err error) {
	const fail = "find stray schemas on cluster %s: %w"
	rows, err := c.owner.Query(ctx, `select schema_name, role_name, login_group, version, state, tenant_id, created_at < now() - interval '1 hour'
		from tenancy.schemas where state in ('current', 'shadow', 'dropping') and created_at < now() - interval '1 minute'`)
	if err != nil {
		return nil, fmt.Errorf(fail, c.Name, err)
	}
	type candidate struct {
		Place
		state  state
		tenant *uuid.UUID
		old    bool
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s candidate, err error) {
		s.Cluster = c.Name
		err = row.Scan(&s.Schema, &s.Role, &s.Group, &s.Version, &s.state, &s.tenant, &s.old)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf(fail, c.Name, err)
	}
	// Read after the schemas: a tenant's row is there before its schema is made.
	rows, err = f.main.owner.Query(ctx, `select t.id, t.status, exists (select from central.transfers w where w.tenant_id = t.id and w.phase <> 'done')
		from central.tenants t`)
	if err != nil {
		return nil, fmt.Errorf(fail, c.Name, err)
	}
	type known struct {
		status tenancy.Status
		busy   bool // a restore or a move is working on it
	}
	tenants := map[uuid.UUID]known{}
	var id uuid.UUID
	var t known
	if _, err := pgx.ForEachRow(rows, []any{&id, &t.status, &t.busy}, func() error { tenants[id] = t; return nil }); err != nil {
		return nil, fmt.Errorf(fail, c.Name, err)
	}
	for _, s := range all {
		owner, owned := known{}, false
		if s.tenant != nil {
			owner, owned = tenants[*s.tenant]
		}
		switch {
		case owned && (owner.busy || owner.status == tenancy.Dropping): // somebody is on it
		case !owned, owner.status == tenancy.Dropped, s.state == "dropping", s.state == shadow && s.old:
			out = append(out, s.Place)
		}
	}
	return out, nil
}
