package fleet

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Place is where a tenant's rows are: a row of a cluster's table tenancy.schemas.
type Place struct {
	Cluster string
	Schema  string
	Role    string // may use the schema and nothing else; on a cluster of kind Citus the shared login role
	Group   int16
	Version int // the newest migration it has
}

// newPlace invents a place on c: 100 random bits, the same in the schema's name and the role's. The group follows from them.
func (c *Cluster) newPlace() Place {
	random := make([]byte, 13)
	_, _ = rand.Read(random)
	name := strings.ToLower(base32.StdEncoding.EncodeToString(random))[:20]
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	p := Place{Cluster: c.Name, Schema: "t_" + name, Role: c.prefix + "_t_" + name, Group: int16(h.Sum32() % uint32(c.Groups))} //nolint:gosec // there are at most 256 groups
	if c.Kind == Citus {
		p.Role = c.GroupRole(0)
	}
	return p
}

// state is what a schema is for.
type state string

const (
	warm    state = "warm"    // waits for a tenant
	current state = "current" // the tenant's
	shadow  state = "shadow"  // is being filled, to take the current one's place
	retired state = "retired" // was the tenant's; kept until that is accepted
)

// Build gives the tenant its schema: a warm one if there is one, else one it makes in a single transaction with its ledger; or it
// finds what an earlier attempt made. Then it writes the place into the registry. It may be repeated: an interrupted onboarding
// is simply started again.
func (f *Fleet) Build(ctx context.Context, tenant uuid.UUID) error {
	if err := f.place(ctx, tenant); err != nil {
		return fmt.Errorf("build the schema of tenant %s: %w", tenant, err)
	}
	return nil
}

func (f *Fleet) place(ctx context.Context, tenant uuid.UUID) error {
	var name, schema string
	if err := f.main.owner.QueryRow(ctx, "select cluster, schema_name from central.tenants where id = $1", tenant).Scan(&name, &schema); err != nil || schema != "" {
		return err
	}
	c, err := f.Cluster(name)
	if err != nil {
		return err
	}
	place, err := f.claim(ctx, c, tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		place, err = f.create(ctx, c, tenant)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.ConstraintName == "schemas_tenant_key" {
		place, err = c.placeOf(ctx, tenant) // of an earlier attempt, or of another process at the same moment
	} else if err == nil && c == f.main {
		return nil // the registry has changed with it
	}
	if err != nil {
		return err
	}
	_, err = f.main.owner.Exec(ctx, place.settle(tenant))
	return err
}

// settle is the statement that writes a tenant's place into the registry.
func (p Place) settle(tenant uuid.UUID) string {
	return fmt.Sprintf("update central.tenants set schema_name = %s, role_name = %s, login_group = %d, schema_version = %d, updated_at = now() where id = %s and schema_name = ''",
		literal(p.Schema), literal(p.Role), p.Group, p.Version, literal(tenant.String()))
}

// placeOf returns the tenant's current schema on c, or pgx.ErrNoRows.
func (c *Cluster) placeOf(ctx context.Context, tenant uuid.UUID) (Place, error) {
	p := Place{Cluster: c.Name}
	err := c.owner.QueryRow(ctx, "select schema_name, role_name, login_group, version from tenancy.schemas where tenant_id = $1 and state = 'current'", tenant).
		Scan(&p.Schema, &p.Role, &p.Group, &p.Version)
	return p, err
}

// create makes a new schema for the tenant. Of two at once, one fails on the constraint schemas_tenant_key. On the main cluster the
// registry learns of it in the same transaction.
func (f *Fleet) create(ctx context.Context, c *Cluster, tenant uuid.UUID) (Place, error) {
	place := c.newPlace()
	place.Version = len(f.set)
	var last []string
	if c == f.main {
		last = append(last, place.settle(tenant))
	}
	return place, f.make(ctx, c, place, &tenant, string(current), true, last...)
}

// Make makes a schema on c with its role, at the given version of the tenants' migrations, in one transaction: there is all of
// it or nothing. open lets its group in.
func (f *Fleet) Make(ctx context.Context, c *Cluster, tenant *uuid.UUID, state string, version int, open bool) (Place, error) {
	place := c.newPlace()
	place.Version = version
	return place, f.make(ctx, c, place, tenant, state, open)
}

func (f *Fleet) make(ctx context.Context, c *Cluster, place Place, tenant *uuid.UUID, state string, open bool, last ...string) error {
	statements := f.baseline(c, place, place.Version)
	row := fmt.Sprintf("insert into tenancy.schemas (schema_name, role_name, login_group, tenant_id, state, is_open, version, claimed_at) values (%s, %s, %d, %s, %s, %t, %d, %s)",
		literal(place.Schema), literal(place.Role), place.Group, optional(tenant), literal(state), open, place.Version, claimed(tenant))
	// First, so that of two who make the same tenant's schema the second waits here and then finds it made.
	statements = append([]string{row}, statements...)
	if open {
		statements = append(statements, c.gate(place, true))
	}
	if err := c.run(ctx, append(statements, last...)); err != nil {
		return fmt.Errorf("make schema %s on cluster %s: %w", place.Schema, c.Name, err)
	}
	return nil
}

// baseline is all DDL of a new schema up to the given version, with its ledger.
func (f *Fleet) baseline(c *Cluster, p Place, version int) []string {
	schema, role := quote(p.Schema), quote(p.Role)
	var out []string
	if c.Kind != Citus {
		out = append(out, "create role "+role+" nologin")
	}
	out = append(out, "create schema "+schema)
	if c.Kind != Citus {
		// The membership is the gate, so this right stays.
		out = append(out, "grant usage on schema "+schema+" to "+role)
	}
	out = append(out,
		// What later migrations create is granted as it is created: none can be forgotten, and no catalogue is searched.
		"alter default privileges in schema "+schema+" grant select, insert, update, delete on tables to "+role,
		"alter default privileges in schema "+schema+" grant usage, select on sequences to "+role,
		"set local search_path = "+schema+", pg_temp",
	)
	ledger := make([]string, 0, version)
	for _, m := range f.set[:version] {
		for _, s := range m.Fresh() { // a schema that nobody uses yet locks nobody out
			out = append(out, strings.TrimSuffix(s, ";"))
		}
		ledger = append(ledger, fmt.Sprintf("(%s, %d, %s)", literal(p.Schema), m.Version, literal(m.Name)))
	}
	if len(ledger) > 0 {
		out = append(out, "insert into tenancy.applied (schema_name, version, name) values "+strings.Join(ledger, ", "))
	}
	return out
}

// gate is the statement that opens or shuts a place to its group. Shut, it is shut to its readers too.
func (c *Cluster) gate(p Place, open bool) string {
	role, group := quote(p.Role), quote(c.GroupRole(int(p.Group)))
	switch {
	case c.Kind == Citus && open:
		return "grant usage on schema " + quote(p.Schema) + " to " + role
	case c.Kind == Citus:
		return "revoke usage on schema " + quote(p.Schema) + " from " + role
	case open:
		return "grant " + role + " to " + group
	}
	return "do $gate$ begin revoke " + role + " from " + group + "; if exists (select from pg_roles where rolname = " + literal(p.readRole()) +
		") then revoke " + quote(p.readRole()) + " from " + group + "; end if; end $gate$"
}

// run executes the statements in one transaction. Postgres is sent all of them at once, as one string, which costs one round
// trip and no preparing; Citus refuses several DDL statements in a string.
func (c *Cluster) run(ctx context.Context, statements []string) error {
	if c.Kind == Citus {
		return pgx.BeginFunc(ctx, c.owner, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			for _, s := range statements {
				b.Queue(s)
			}
			return tx.SendBatch(ctx, b).Close()
		})
	}
	conn, err := c.owner.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	// Without BEGIN the string would be one implicit transaction too, but SET LOCAL would warn.
	_, err = conn.Conn().PgConn().Exec(ctx, "begin;\n"+strings.Join(statements, ";\n")+";\ncommit").ReadAll()
	if err != nil && conn.Conn().PgConn().TxStatus() != 'I' {
		_, undo := conn.Exec(context.WithoutCancel(ctx), "rollback")
		err = errors.Join(err, undo)
	}
	return err
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes a text as standard SQL does; standard_conforming_strings has been PostgreSQL's default since 9.1.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func optional(id *uuid.UUID) string {
	if id == nil {
		return "null"
	}
	return literal(id.String())
}

func claimed(id *uuid.UUID) string {
	if id == nil {
		return "null"
	}
	return "now()"
}
