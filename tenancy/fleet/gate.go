package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
)

// mode is what the gate of a schema lets through.
type mode int

const (
	shut mode = iota
	readable
	writable
)

// modeOf says how a tenant's gate stands. One that is being made is open to who makes it.
func modeOf(s tenancy.Status) mode {
	switch s {
	case tenancy.Requested, tenancy.Creating, tenancy.Ready, tenancy.Active:
		return writable
	case tenancy.ReadOnly:
		return readable
	}
	return shut
}

// standing is a schema and how its gate stands.
type standing struct {
	Place
	mode   mode
	reader bool // the role is there that may only read
}

// readRole is the role of a schema that may only be read. It is there only as long as that is so.
func (p Place) readRole() string { return p.Role + "_ro" }

// roleFor is the role to enter the place as. On Citus all tenants share one: there "read-only" is a setting of the transaction.
func (c *Cluster) roleFor(p Place, m mode) string {
	if m == readable && c.Kind != Citus {
		return p.readRole()
	}
	return p.Role
}

// standing returns the tenant's current schema, locked until the end of the transaction, or pgx.ErrNoRows.
func (c *Cluster) standing(ctx context.Context, tx pgx.Tx, tenant uuid.UUID) (standing, error) {
	s := standing{Place: Place{Cluster: c.Name}}
	var open bool
	err := tx.QueryRow(ctx, `select schema_name, role_name, login_group, version, is_open, is_read_only
		from tenancy.schemas where tenant_id = $1 and state = 'current' for update`, tenant).
		Scan(&s.Schema, &s.Role, &s.Group, &s.Version, &open, &s.reader)
	switch {
	case open && s.reader:
		s.mode = readable
	case open:
		s.mode = writable
	}
	return s, err
}

// turn brings the gate of the tenant's schema to m, in a transaction of its cluster, and returns the role to enter it as. One
// without a schema keeps its role.
func (c *Cluster) turn(ctx context.Context, tx pgx.Tx, tenant uuid.UUID, m mode, role string) (string, error) {
	s, err := c.standing(ctx, tx, tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return role, nil
	}
	if err != nil {
		return "", err
	}
	if s.mode == m && s.reader == (m == readable) {
		return c.roleFor(s.Place, m), nil
	}
	var tables []string
	if c.Kind != Citus && s.reader != (m == readable) {
		if tables, err = relations(ctx, tx, s.Schema, "rpvm", 0); err != nil {
			return "", err
		}
	}
	statements := c.turning(s, m, tables)
	statements = append(statements, fmt.Sprintf("update tenancy.schemas set is_open = %t, is_read_only = %t where schema_name = %s",
		m != shut, m == readable, literal(s.Schema)))
	return c.roleFor(s.Place, m), c.exec(ctx, tx, statements)
}

// turning is what takes the gate from one mode to another. Membership in one of the two roles is the gate; the one that may
// only read is made for the time it is needed.
func (c *Cluster) turning(s standing, m mode, tables []string) (out []string) {
	if c.Kind == Citus {
		if (s.mode == shut) != (m == shut) {
			out = append(out, c.gate(s.Place, m != shut))
		}
		return out
	}
	schema, reader, group := quote(s.Schema), quote(s.readRole()), quote(c.GroupRole(int(s.Group)))
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = schema + "." + quote(t)
	}
	all := strings.Join(names, ", ")
	if s.mode == writable {
		out = append(out, c.gate(s.Place, false))
	}
	if s.reader && m != readable {
		out = append(out, "revoke "+reader+" from "+group)
		if all != "" {
			out = append(out, "revoke all on "+all+" from "+reader)
		}
		out = append(out, "alter default privileges in schema "+schema+" revoke all on tables from "+reader,
			"revoke all on schema "+schema+" from "+reader, "drop role "+reader)
	}
	switch m {
	case writable:
		out = append(out, c.gate(s.Place, true))
	case readable:
		if !s.reader {
			out = append(out, "create role "+reader+" nologin", "grant usage on schema "+schema+" to "+reader,
				"alter default privileges in schema "+schema+" grant select on tables to "+reader)
			if all != "" {
				out = append(out, "grant select on "+all+" to "+reader)
			}
		}
		out = append(out, "grant "+reader+" to "+group)
	}
	return out
}

// settleAfter is how much later a gate is turned once more: a backend has long read by then who is a member of what.
const settleAfter = 100 * time.Millisecond

// settle makes every backend read anew how the gate of the tenant's schema stands. One that was reading memberships while the gate was
// turned may have missed it, and PostgreSQL then remembers what it read as if it were of after (roles_is_member_of in acl.c: what is
// invalidated during the scan counts as valid after it). So the gate is turned away and back in one transaction, which nobody sees but
// which tells every backend to read again: at once, and when whoever was reading by then has surely done so.
func (c *Cluster) settle(ctx context.Context, tenant uuid.UUID) error {
	if c.Kind == Citus {
		return nil // rights to a schema are looked up each time
	}
	for range 2 {
		err := pgx.BeginFunc(ctx, c.owner, func(tx pgx.Tx) error {
			s, err := c.standing(ctx, tx, tenant)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			if err != nil {
				return err
			}
			return c.exec(ctx, tx, c.awayAndBack(s))
		})
		if err != nil {
			return fmt.Errorf("settle the gate of tenant %s: %w", tenant, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("settle the gate of tenant %s: %w", tenant, ctx.Err())
		case <-time.After(settleAfter):
		}
	}
	return nil
}

func (c *Cluster) awayAndBack(s standing) []string {
	if s.mode == readable {
		reader, group := quote(s.readRole()), quote(c.GroupRole(int(s.Group)))
		return []string{"revoke " + reader + " from " + group, "grant " + reader + " to " + group}
	}
	return []string{c.gate(s.Place, s.mode == shut), c.gate(s.Place, s.mode != shut)}
}

// relations names what stands in a schema, of these kinds (pg_class.relkind); up to limit of them, all where it is zero. It goes
// by the dependencies, which have an index for it: pg_class would be read from end to end.
func relations(ctx context.Context, tx pgx.Tx, schema, kinds string, limit int) ([]string, error) {
	query := `select c.relname from pg_depend d join pg_class c on c.oid = d.objid
		where d.refclassid = 'pg_namespace'::regclass and d.refobjid = (select oid from pg_namespace where nspname = $1)
		and d.classid = 'pg_class'::regclass and strpos($2, c.relkind::text) > 0 order by 1`
	if limit > 0 {
		query += fmt.Sprintf(" limit %d", limit)
	}
	rows, err := tx.Query(ctx, query, schema, kinds)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// exec runs statements in a transaction that is open, all in one round trip where the cluster allows it.
func (c *Cluster) exec(ctx context.Context, tx pgx.Tx, statements []string) error {
	if len(statements) == 0 {
		return nil
	}
	if c.Kind != Citus {
		_, err := tx.Conn().PgConn().Exec(ctx, strings.Join(statements, ";\n")).ReadAll()
		return err
	}
	b := &pgx.Batch{}
	for _, s := range statements {
		b.Queue(s)
	}
	return tx.SendBatch(ctx, b).Close()
}
