package fleet

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

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/migrations"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/tenancy"
)

// controlSchema is where every cluster keeps what it knows of its tenants.
const controlSchema = "tenancy"

// Installation is one HomeCore. Roles belong to a Postgres server, not to a database: their names carry the installation's
// id, so that several can share a server (tests do).
type Installation struct {
	ID string
}

// CentralRole returns the login role of the central handle: schema central, nothing else.
func (i Installation) CentralRole() string { return "hc_" + i.ID + "_central" }

// prefix returns what the names of a cluster's roles begin with.
func (i Installation) prefix(cluster string) string {
	if cluster == tenancy.DefaultCluster {
		return "hc_" + i.ID
	}
	return "hc_" + i.ID + "_" + cluster
}

// Password derives a login role's password; none is stored anywhere.
type Password func(role string) string

// Install brings a migrated database to where tenants can stand on it: it registers the installation and its main cluster the
// first time, and on every cluster makes the login roles, brings their rights up to date and shuts what Postgres leaves open to
// everyone (temporary tables, schema public). It runs after the central migrations, as the owner: a role with CREATEROLE that
// owns the database, no superuser. It may run any number of times. Of first, kind and groups count only the first time.
func Install(ctx context.Context, config Config, first Cluster, password Password) (*Fleet, error) {
	id := make([]byte, 4)
	_, _ = rand.Read(id)
	if first.Kind == "" {
		first.Kind = Postgres
	}
	err := pgx.BeginFunc(ctx, config.Owner, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "insert into central.installation (id) values ($1) on conflict do nothing", hex.EncodeToString(id)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "insert into central.clusters (name, kind, groups) values ($1, $2, $3) on conflict do nothing",
			tenancy.DefaultCluster, first.Kind, first.Groups)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register the installation: %w", err)
	}
	f, err := Load(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, c := range f.Clusters() {
		if err := f.install(ctx, c, password); err != nil {
			f.Close()
			return nil, fmt.Errorf("install cluster %s: %w", c.Name, err)
		}
	}
	return f, nil
}

// AddCluster prepares another database for tenants and registers it. What is registered already is brought up to date.
func (f *Fleet) AddCluster(ctx context.Context, config Config, c Cluster, password Password) error {
	if !ValidClusterName(c.Name) {
		return errors.New("a cluster's name is 1 to 16 letters and digits, in lower case")
	}
	if c.Name == tenancy.DefaultCluster {
		return errors.New("the main cluster is there already")
	}
	if known, ok := f.clusters[c.Name]; ok {
		c.Kind, c.Groups = known.Kind, known.Groups // tenants stand in them
	}
	if c.Kind == "" {
		c.Kind = Postgres
	}
	one, err := New(ctx, config, f.Installation, []Cluster{*f.main, c})
	if err != nil {
		return err
	}
	defer one.Close()
	var taken bool
	if err := one.clusters[c.Name].owner.QueryRow(ctx, "select to_regnamespace('central') is not null").Scan(&taken); err != nil {
		return fmt.Errorf("reach cluster %s: %w", c.Name, err)
	}
	if taken {
		return fmt.Errorf("cluster %s: its address is that of a main cluster", c.Name)
	}
	if err := one.install(ctx, one.clusters[c.Name], password); err != nil {
		return fmt.Errorf("install cluster %s: %w", c.Name, err)
	}
	_, err = f.main.owner.Exec(ctx, `insert into central.clusters (name, kind, dsn_ref, groups, capacity, accepts_new) values ($1, $2, $3, $4, $5, $6)
		on conflict (name) do update set dsn_ref = excluded.dsn_ref, capacity = excluded.capacity, accepts_new = excluded.accepts_new`,
		c.Name, c.Kind, c.URLRef, c.Groups, c.Capacity, c.AcceptsNew)
	if err != nil {
		return fmt.Errorf("register cluster %s: %w", c.Name, err)
	}
	return nil
}

// ValidClusterName keeps the names of roles within PostgreSQL's 63 bytes.
func ValidClusterName(name string) bool {
	if len(name) < 1 || len(name) > 16 {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return name != "central" // the name of a role's ending
}

func (f *Fleet) install(ctx context.Context, c *Cluster, password Password) error {
	set, err := migrations.Load(migrations.Cluster)
	if err != nil {
		return err
	}
	if err := database.Migrate(ctx, c.owner, controlSchema, set, nil); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, c.owner, func(tx pgx.Tx) error {
		// Roles are shared by all databases of the server: the lock is on them, not on a table of ours.
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(0x686f6d6572)); err != nil {
			return err
		}
		return f.roles(ctx, tx, c, password)
	})
}

func (f *Fleet) roles(ctx context.Context, tx pgx.Tx, c *Cluster, password Password) error {
	var database string
	var existing []string
	if err := tx.QueryRow(ctx, `select current_database(), coalesce(array_agg(rolname) filter (where rolname is not null), '{}')
		from (select 1) one left join pg_roles on rolname like $1 and rolcanlogin`, strings.ReplaceAll("hc_"+f.ID+"_%", "_", `\_`)).
		Scan(&database, &existing); err != nil {
		return err
	}
	db := pgx.Identifier{database}.Sanitize()
	statements := []string{"revoke temporary on database " + db + " from public", "revoke all on schema public from public"}
	login := func(role string, settings ...string) {
		r := pgx.Identifier{role}.Sanitize()
		if !slices.Contains(existing, role) {
			statements = append(statements, "create role "+r+" login noinherit")
			existing = append(existing, role)
		}
		statements = append(statements, "alter role "+r+" password '"+scramVerifier(password(role))+"'")
		for _, s := range settings {
			statements = append(statements, "alter role "+r+" set "+s)
		}
	}
	for g := range c.Groups {
		if role := c.GroupRole(g); g == 0 || role != c.GroupRole(0) {
			login(role, "search_path = ''", "statement_timeout = '30s'", "idle_in_transaction_session_timeout = '60s'")
		}
	}
	if c == f.main {
		login(f.CentralRole(), "search_path = central, pg_temp", "statement_timeout = '30s'", "idle_in_transaction_session_timeout = '60s'")
		grants, err := f.centralGrants(ctx, tx)
		if err != nil {
			return err
		}
		statements = append(statements, grants...)
	}
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			verb, _, _ := strings.Cut(s, " password")
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	return nil
}

func (f *Fleet) centralGrants(ctx context.Context, tx pgx.Tx) ([]string, error) {
	tables, logs, sequences, err := centralRelations(ctx, tx)
	if err != nil {
		return nil, err
	}
	role := pgx.Identifier{f.CentralRole()}.Sanitize()
	statements := []string{
		"grant usage on schema central to " + role,
		"grant select, insert, update, delete on " + strings.Join(tables, ", ") + " to " + role,
	}
	if len(logs) > 0 {
		all := strings.Join(logs, ", ")
		statements = append(statements, "revoke all on "+all+" from "+role, "grant select, insert on "+all+" to "+role)
	}
	if len(sequences) > 0 {
		statements = append(statements, "grant usage, select on sequence "+strings.Join(sequences, ", ")+" to "+role)
	}
	return statements, nil
}

// centralRelations names the tables, those that only grow (a comment that begins with "append-only" says so) and the sequences one
// by one: GRANT … ON ALL TABLES reads the whole catalogue, which takes half a second once there are ten thousand tenants.
func centralRelations(ctx context.Context, tx pgx.Tx) (tables, logs, sequences []string, err error) {
	rows, err := tx.Query(ctx, `select relname, relkind = 'S', coalesce(obj_description(oid, 'pg_class') like 'append-only%', false) from pg_class
		where relnamespace = 'central'::regnamespace and relkind in ('r', 'p', 'S') order by 1`)
	if err != nil {
		return nil, nil, nil, err
	}
	var name string
	var sequence, appendOnly bool
	_, err = pgx.ForEachRow(rows, []any{&name, &sequence, &appendOnly}, func() error {
		full := pgx.Identifier{"central", name}.Sanitize()
		switch {
		case sequence:
			sequences = append(sequences, full)
		case appendOnly:
			logs = append(logs, full)
		default:
			tables = append(tables, full)
		}
		return nil
	})
	return tables, logs, sequences, err
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
