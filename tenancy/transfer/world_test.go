package transfer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

// The tenants' set of these tests has what the real one may have some day: types, domains, identities, circles of foreign keys.
var set = []migrations.Migration{
	{Version: 1, Name: "00001_test_tables", Statements: []string{
		"create type mood as enum ('senang', 'sedih')",
		"create domain code as text check (value <> '')",
		`create table things (id bigint generated always as identity primary key, serial_no serial not null, code code not null, mood mood,
			moods mood[], amount numeric(20, 4), at timestamptz, span interval, day date, raw bytea, attributes jsonb, ratio double precision,
			flags text[], twice bigint generated always as (serial_no * 2) stored, parent bigint references things (id))`,
		"create table words (word text, lang text, rank int not null default 0, primary key (word, lang))",
		"create table heads (id int primary key, tail int not null)",
		"create table tails (id int primary key, head int not null references heads (id))",
		"alter table heads add constraint heads_tail_fkey foreign key (tail) references tails (id) on delete cascade deferrable initially deferred",
		"create table empty (id uuid primary key)",
		`create table "Odd Name; --" ("select" int primary key, "a""b" text)`,
		"create sequence lonely start 7 increment 3",
	}},
	{Version: 2, Name: "00002_test_more", Statements: []string{
		"alter table words add column note text not null default 'baru'",
		"create index words_note_idx on words (note)",
	}},
}

const password = "owner"

// world is an installation with clusters, and tenants in them.
type world struct {
	*transfer.Porter
	*fleet.Fleet
	owner  *pgxpool.Pool
	config fleet.Config
	urls   map[string]string
	dir    string
}

func open(ctx context.Context, at string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(at)
	if err != nil {
		return nil, err
	}
	c.MaxConns = 4
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgxpool.NewWithConfig(ctx, c)
}

func owned(t testing.TB, superURL string) string {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), superURL)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	for _, s := range []string{
		"do $$ begin create role homecore_test_owner login createrole password '" + password + "'; exception when duplicate_object or unique_violation then null; end $$",
		"alter database " + pgx.Identifier{admin.Config().Database}.Sanitize() + " owner to homecore_test_owner",
	} {
		if _, err := admin.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(superURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("homecore_test_owner", password)
	return u.String()
}

// other is a cluster beside the main one, on the server at that superuser's address, or on the one that all tests share.
type other struct {
	name, server string
	kind         fleet.Kind
}

func newWorld(t testing.TB, others ...other) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{urls: map[string]string{}, dir: t.TempDir()}
	var installation fleet.Installation
	at := owned(t, pgtest.Database(t, func(ctx context.Context, admin *pgx.Conn, _ string) error { return installation.Uninstall(ctx, admin) }))
	owner, err := open(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	central, err := migrations.Load(migrations.Central)
	if err != nil {
		t.Fatal(err)
	}
	if err := database.Migrate(ctx, owner, "central", central, nil); err != nil {
		t.Fatal(err)
	}
	w.owner = owner
	w.config = fleet.Config{Owner: owner, URL: at, Open: open, Set: set, Refer: func(ref string) string { return w.urls[ref] }}
	secret := func(role string) string { return "secret of " + role }
	first, err := fleet.Install(ctx, w.config, fleet.Cluster{Groups: 2}, secret)
	if err != nil {
		t.Fatal(err)
	}
	installation = first.Installation
	defer first.Close()
	for _, o := range others {
		super := o.server
		if super == "" {
			super = pgtest.Database(t)
		}
		w.urls[o.name] = owned(t, super)
		if err := first.AddCluster(ctx, w.config, fleet.Cluster{Name: o.name, Kind: o.kind, URLRef: o.name, Groups: 2}, secret); err != nil {
			t.Fatal(err)
		}
	}
	w.reload(t)
	return w
}

// reload is another process: it knows nothing but what the databases say.
func (w *world) reload(t testing.TB) {
	t.Helper()
	w.Porter, w.Fleet = w.process(t, w.config)
}

func (w *world) process(t testing.TB, config fleet.Config) (*transfer.Porter, *fleet.Fleet) {
	t.Helper()
	f, err := fleet.Load(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return transfer.New(f, slog.New(slog.DiscardHandler)), f
}

// server is another Postgres server, for the test alone.
func server(t testing.TB) string {
	t.Helper()
	s, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Stop(ctx)
	})
	return s.URL()
}

func quiet(transfer.Progress) {}

// tenant makes a tenant with rows of every kind.
func (w *world) tenant(t testing.TB, slug string) uuid.UUID {
	t.Helper()
	id := uuid.Must(uuid.NewV7())
	w.exec(t, "main", "insert into central.tenants (id, slug, name, status, cluster) values ($1, $2, $2, 'active', 'main')", id, slug)
	if err := w.Build(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.as(t, slug, `insert into things (code, mood, moods, amount, at, span, day, raw, attributes, ratio, flags, parent)
		select 'k' || n, case when n % 3 = 0 then null else (array['senang', 'sedih'])[1 + n % 2]::mood end, array['sedih', null, 'senang']::mood[],
			n / 7.0, timestamptz '2024-02-29 23:59:59.123456+07' + n * interval '1 hour', n * interval '1 day 2 hours 3.5 seconds', date 'infinity',
			decode(repeat(lpad(to_hex(n % 256), 2, '0'), 5), 'hex'), jsonb_build_object('n', n, 'text', E'tab\t newline\n back\\slash "é" \u2603'),
			case when n % 5 = 0 then 'nan' else n / 3.0 end, array['a,b', null, '', '{}'], 501 - n
		from generate_series(1, 500) n`)
	w.as(t, slug, "insert into words (word, lang) select chr(65 + n % 26) || chr(97 + n % 7) || n, (array['id', 'en', 'Å'])[1 + n % 3] from generate_series(1, 300) n")
	w.as(t, slug, "begin; insert into heads values (1, 10), (2, 20); insert into tails values (10, 2), (20, 1); commit")
	w.as(t, slug, `insert into "Odd Name; --" values (1, E'\\N'), (2, null), (3, E'\\.')`)
	w.as(t, slug, "select nextval('lonely'), nextval('lonely')")
	return id
}

// place is where the registry says the tenant is.
func (w *world) place(t testing.TB, slug string) (cluster, schema, status string) {
	t.Helper()
	if err := w.owner.QueryRow(t.Context(), "select cluster, schema_name, status from central.tenants where slug = $1", slug).Scan(&cluster, &schema, &status); err != nil {
		t.Fatal(err)
	}
	return cluster, schema, status
}

// as runs a statement in the tenant's schema, as the owner.
func (w *world) as(t testing.TB, slug, statement string) {
	t.Helper()
	cluster, schema, _ := w.place(t, slug)
	w.exec(t, cluster, "set search_path = "+pgx.Identifier{schema}.Sanitize()+"; "+statement+"; reset search_path")
}

func (w *world) exec(t testing.TB, cluster, statement string, args ...any) {
	t.Helper()
	c, err := w.Cluster(cluster)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Owner().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if len(args) > 0 {
		_, err = conn.Exec(t.Context(), statement, args...)
	} else {
		_, err = conn.Conn().PgConn().Exec(t.Context(), statement).ReadAll()
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func one[T any](t testing.TB, w *world, cluster, query string, args ...any) (v T) {
	t.Helper()
	c, err := w.Cluster(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Owner().QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// export writes an archive of the tenant and returns what it says of itself.
func (w *world) export(t testing.TB, slug string) (string, *transfer.Manifest) {
	t.Helper()
	path := filepath.Join(w.dir, slug+"-"+uuid.NewString()+".tar.zst")
	m, err := w.Export(t.Context(), slug, path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return path, m
}

// content is all that an archive says of rows and sequences.
func content(m *transfer.Manifest) string {
	var b strings.Builder
	for _, table := range m.Tables {
		fmt.Fprintln(&b, table.Name, table.Columns, table.Rows, table.Bytes, table.SHA256)
	}
	fmt.Fprintln(&b, m.Sequences)
	return b.String()
}

// shape is the schema's structure, without its names.
func (w *world) shape(t testing.TB, slug string) string {
	t.Helper()
	cluster, schema, _ := w.place(t, slug)
	role := one[string](t, w, cluster, "select role_name from tenancy.schemas where schema_name = $1", schema)
	text := one[string](t, w, cluster, `select string_agg(line, E'\n' order by line) from (
		select c.relname || ' ' || o.conname || ' ' || pg_get_constraintdef(o.oid) || o.convalidated from pg_constraint o join pg_class c on c.oid = conrelid where o.connamespace = $1::text::regnamespace
		union all select indexname || indexdef from pg_indexes where schemaname = $1::text
		union all select table_name || column_name || coalesce(column_default, '') || is_nullable || data_type from information_schema.columns where table_schema = $1::text
		union all select relname || relkind::text || coalesce(relacl::text, '') from pg_class where relnamespace = $1::text::regnamespace) x (line)`, schema)
	return strings.NewReplacer(schema, "SCHEMA", role, "ROLE").Replace(text)
}

// consistent holds the registry, the clusters' ledgers and the memberships that are the gates against one another.
func (w *world) consistent(t testing.TB, slug string, id uuid.UUID, kept int) {
	t.Helper()
	cluster, schema, status := w.place(t, slug)
	var all, current int
	for _, c := range w.Clusters() {
		rows, err := c.Owner().Query(t.Context(), "select schema_name, role_name, login_group, state, is_open from tenancy.schemas where tenant_id = $1", id)
		if err != nil {
			t.Fatal(err)
		}
		type row struct {
			name, role string
			group      int
			state      string
			open       bool
		}
		found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (x row, err error) {
			return x, r.Scan(&x.name, &x.role, &x.group, &x.state, &x.open)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			all++
			isIt := c.Name == cluster && x.name == schema
			if isIt != (x.state == "current") {
				t.Errorf("the registry says %s on %s, and %s has %s as %s", schema, cluster, c.Name, x.name, x.state)
			}
			if isIt {
				current++
			}
			open := isIt && (status == "active" || status == "read_only")
			role := x.role
			if isIt && status == "read_only" && c.Kind != fleet.Citus {
				role += "_ro"
			}
			gate := one[bool](t, w, c.Name, "select exists (select from pg_auth_members where roleid = to_regrole($1) and member = to_regrole($2))", role, c.GroupRole(x.group))
			if said := one[string](t, w, "main", "select role_name from central.tenants where slug = $1", slug); isIt && open && said != role {
				t.Errorf("the registry says to enter as %s, not as %s", said, role)
			}
			if c.Kind == fleet.Citus {
				gate = one[bool](t, w, c.Name, "select has_schema_privilege($1, $2, 'usage')", x.role, x.name)
			}
			if x.open != open || gate != open {
				t.Errorf("%s, %s, of a tenant that is %s: is_open %t, the gate is open: %t", x.name, x.state, status, x.open, gate)
			}
		}
		if n := one[int](t, w, c.Name, `select count(*) from pg_namespace n where nspname like 't\_%' and not exists (select from tenancy.schemas where schema_name = nspname)`); n > 0 {
			t.Errorf("%d schemas on %s that it knows nothing of", n, c.Name)
		}
	}
	if current != 1 || all != 1+kept {
		t.Errorf("%d schemas, %d of them current; want %d and 1", all, current, 1+kept)
	}
}

// files names what is in a folder.
func files(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// killedAt lets the work be killed at that step, the first time it comes by.
func killedAt(step string) func(string) error {
	var once sync.Once
	return func(name string) (err error) {
		if name == step {
			once.Do(func() { err = transfer.ErrKilled })
		}
		return err
	}
}
