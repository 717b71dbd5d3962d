package tenancy

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DefaultCluster is the name of the cluster that also holds schema central.
const DefaultCluster = "main"

// Installation is one HomeCore on a Postgres server. Roles belong to the server, not to a database: their names carry the
// installation's id, so that several can share a server (tests do).
type Installation struct {
	ID     string
	Groups int // affinity groups of the default cluster
}

// CentralRole returns the login role of the central handle: schema central, nothing else.
func (i Installation) CentralRole() string { return "hc_" + i.ID + "_central" }

// GroupRole returns the login role of an affinity group: no right on anything but membership in its tenants' roles.
func (i Installation) GroupRole(group int) string { return fmt.Sprintf("hc_%s_g%d", i.ID, group) }

// TenantRole returns the NOLOGIN role of a tenant.
func (i Installation) TenantRole(tenant uuid.UUID) string {
	return "hc_" + i.ID + "_t_" + hex.EncodeToString(tenant[:])
}

// LoadInstallation reads what Install wrote. It fails where migrate has never run.
func LoadInstallation(ctx context.Context, pool *pgxpool.Pool) (Installation, error) {
	var i Installation
	err := pool.QueryRow(ctx, `select i.id, c.groups from central.installation i, central.clusters c where c.name = $1`, DefaultCluster).
		Scan(&i.ID, &i.Groups)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return i, nil
	case errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000"): // no such table or schema
		return i, fmt.Errorf("read the installation (run homecore migrate up first): %w", err)
	default:
		return i, fmt.Errorf("read the installation: %w", err)
	}
}

// Install makes the installation's login roles and shuts what Postgres leaves open to everyone (temporary tables, schema
// public). It runs after the central migrations, as the owner: a role with CREATEROLE that owns the database, no superuser.
// It may run any number of times. groups counts only the first time.
func Install(ctx context.Context, owner *pgxpool.Pool, groups int, password func(role string) string) (Installation, error) {
	var i Installation
	err := pgx.BeginFunc(ctx, owner, func(tx pgx.Tx) error {
		// Roles are shared by all databases of the server: the lock is on them, not on a table of ours.
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(0x686f6d6572)); err != nil {
			return err
		}
		id := make([]byte, 4)
		_, _ = rand.Read(id)
		for _, s := range []struct {
			sql  string
			args []any
		}{
			{"insert into central.installation (id) values ($1) on conflict do nothing", []any{hex.EncodeToString(id)}},
			{"insert into central.clusters (name, groups) values ($1, $2) on conflict do nothing", []any{DefaultCluster, groups}},
		} {
			if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, "select i.id, c.groups from central.installation i, central.clusters c where c.name = $1", DefaultCluster).
			Scan(&i.ID, &i.Groups); err != nil {
			return err
		}
		return i.apply(ctx, tx, password)
	})
	if err != nil {
		return i, fmt.Errorf("install the database roles: %w", err)
	}
	return i, nil
}

func (i Installation) apply(ctx context.Context, tx pgx.Tx, password func(role string) string) error {
	var database string
	var existing []string
	if err := tx.QueryRow(ctx, `select current_database(), coalesce(array_agg(rolname) filter (where rolname is not null), '{}')
		from (select 1) one left join pg_roles on rolname like $1`, strings.ReplaceAll("hc_"+i.ID+"_%", "_", `\_`)).
		Scan(&database, &existing); err != nil {
		return err
	}
	db := pgx.Identifier{database}.Sanitize()
	var statements []string
	login := func(role string, settings ...string) {
		r := pgx.Identifier{role}.Sanitize()
		if !slices.Contains(existing, role) {
			statements = append(statements, "create role "+r+" login noinherit")
		}
		statements = append(statements, "alter role "+r+" password '"+scramVerifier(password(role))+"'")
		for _, s := range settings {
			statements = append(statements, "alter role "+r+" set "+s)
		}
	}
	central := i.CentralRole()
	login(central, "search_path = central, pg_temp", "statement_timeout = '30s'", "idle_in_transaction_session_timeout = '60s'")
	for g := range i.Groups {
		login(i.GroupRole(g), "search_path = ''", "statement_timeout = '30s'", "idle_in_transaction_session_timeout = '60s'")
	}
	tables, sequences, err := centralRelations(ctx, tx)
	if err != nil {
		return err
	}
	c := pgx.Identifier{central}.Sanitize()
	statements = append(statements,
		"revoke temporary on database "+db+" from public",
		"revoke all on schema public from public",
		"grant usage on schema central to "+c,
		"grant select, insert, update, delete on "+strings.Join(tables, ", ")+" to "+c,
	)
	if len(sequences) > 0 {
		statements = append(statements, "grant usage, select on sequence "+strings.Join(sequences, ", ")+" to "+c)
	}
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			verb, _, _ := strings.Cut(s, " password")
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	return nil
}

// centralRelations names the tables and sequences one by one: GRANT … ON ALL TABLES reads the whole catalogue, which takes
// half a second once there are ten thousand tenants.
func centralRelations(ctx context.Context, tx pgx.Tx) (tables, sequences []string, err error) {
	rows, err := tx.Query(ctx, `select relname, relkind = 'S' from pg_class
		where relnamespace = 'central'::regnamespace and relkind in ('r', 'p', 'S') order by 1`)
	if err != nil {
		return nil, nil, err
	}
	var name string
	var sequence bool
	_, err = pgx.ForEachRow(rows, []any{&name, &sequence}, func() error {
		full := pgx.Identifier{"central", name}.Sanitize()
		if sequence {
			sequences = append(sequences, full)
		} else {
			tables = append(tables, full)
		}
		return nil
	})
	return tables, sequences, err
}

// Uninstall drops every role of the installation. The database must have been dropped before; what other databases hold of
// these roles makes it fail.
func (i Installation) Uninstall(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "select rolname from pg_roles where rolname like $1", strings.ReplaceAll("hc_"+i.ID+"_%", "_", `\_`))
	if err != nil {
		return fmt.Errorf("find the installation's roles: %w", err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("find the installation's roles: %w", err)
	}
	for _, r := range roles {
		if _, err := conn.Exec(ctx, "drop role "+pgx.Identifier{r}.Sanitize()); err != nil {
			return fmt.Errorf("drop role %s: %w", r, err)
		}
	}
	return nil
}

// scramVerifier is what Postgres stores of a password (RFC 5802, RFC 7677), made here so that the password itself never
// reaches the server's log of statements.
func scramVerifier(password string) string {
	const iterations = 4096
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		panic(err) // only for parameters that are too short, and these are constants
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key")))
}
