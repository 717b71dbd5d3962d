package tenancy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/platform/postgres/pgtest"
)

// world is a database with tenants that know nothing of the registry: the driver alone is tested on it.
type world struct {
	url    string
	prefix string // of its roles
	groups int
	scopes []Scope
	admin  *pgx.Conn
}

const worldPassword = "world"

// tenantDDL is every tenant's schema: %[1]s is the schema, %[2]s its role, %[3]s the canary.
const tenantDDL = `
create schema %[1]s;
create table %[1]s.canaries (tenant text not null);
insert into %[1]s.canaries values ('%[3]s');
create table %[1]s.books (id bigint primary key, title text not null, stock int not null default 0 check (stock >= 0), unique (title) deferrable initially immediate);
insert into %[1]s.books (id, title) values (1, '%[3]s 1'), (2, '%[3]s 2'), (3, '%[3]s 3');
grant usage on schema %[1]s to %[2]s;
grant select, insert, update, delete on %[1]s.canaries, %[1]s.books to %[2]s;
`

func newWorld(t testing.TB, tenants, groups int) *world {
	t.Helper()
	random := make([]byte, 4)
	rand.Read(random)
	w := &world{prefix: "hctest_" + hex.EncodeToString(random), groups: groups}
	w.url = pgtest.Database(t, w.dropRoles)
	ctx := t.Context()
	admin, err := pgx.Connect(ctx, w.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(context.WithoutCancel(ctx)) })
	w.admin = admin
	for g := range groups {
		w.do(t, fmt.Sprintf(`create role %[1]s login noinherit password '%[2]s'; alter role %[1]s set search_path = ''`, w.login(g), worldPassword))
	}
	w.do(t, `revoke create on schema public from public; create table public.canaries (tenant text); insert into public.canaries values ('nobody')`)
	var ddl strings.Builder // sent as one: hundreds of tenants take a moment
	for i := range tenants {
		group := i % groups
		role := fmt.Sprintf("%s_t%d", w.prefix, i)
		schema := fmt.Sprintf("t_%d", i)
		fmt.Fprintf(&ddl, "create role %s nologin; grant %s to %s;", role, role, w.login(group))
		fmt.Fprintf(&ddl, tenantDDL, schema, role, schema)
		w.scopes = append(w.scopes, newScope(Scope{
			tenant: uuid.New(), slug: schema, schema: schema, role: role, cluster: DefaultCluster, group: group, version: 1,
		}))
	}
	w.do(t, ddl.String())
	return w
}

func (w *world) login(group int) string { return fmt.Sprintf("%s_g%d", w.prefix, group) }

func (w *world) dropRoles(ctx context.Context, admin *pgx.Conn, _ string) error {
	rows, _ := admin.Query(ctx, "select rolname from pg_roles where starts_with(rolname, $1)", w.prefix+"_")
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(roles) == 0 {
		return nil
	}
	_, err = admin.Exec(ctx, "drop role "+strings.Join(roles, ", "))
	return err
}

// do runs SQL as the superuser.
func (w *world) do(t testing.TB, sql string) {
	t.Helper()
	if _, err := w.admin.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
}

func (w *world) connect(group int) (*pgx.ConnConfig, error) {
	u, err := url.Parse(w.url)
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(w.login(group), worldPassword)
	return pgx.ParseConfig(u.String())
}

// as is a context that works as the i-th tenant.
func (w *world) as(t testing.TB, i int) context.Context { return With(t.Context(), w.scopes[i]) }

// open returns a DB of conns connections per group, and what is counted on its wires.
func (w *world) open(t testing.TB, conns int, options ...func(*Config)) (*DB, *wire) {
	t.Helper()
	counted := &wire{}
	cfg := Config{
		Clusters: []Cluster{{Groups: w.groups, Conns: conns, Connect: func(group int) (*pgx.ConnConfig, error) {
			config, err := w.connect(group)
			if err == nil {
				config.DialFunc = counted.dial
				config.AfterConnect = func(context.Context, *pgconn.PgConn) error { counted.conns.Add(1); return nil }
			}
			return config, err
		}}},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, option := range options {
		option(&cfg)
	}
	db, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, counted
}

func pooler(cfg *Config) { cfg.Clusters[0].Pooler = true }

// wire counts what goes over the connections of a DB.
type wire struct {
	conns, trips, bytes atomic.Int64
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: nc, wire: w}, nil
}

// count returns the round trips that do takes.
func (w *wire) count(do func()) int64 {
	before := w.trips.Load()
	do()
	return w.trips.Load() - before
}

type wireConn struct {
	net.Conn
	wire  *wire
	wrote atomic.Bool
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.wrote.Store(true)
	c.wire.bytes.Add(int64(len(b)))
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.wrote.Swap(false) {
		c.wire.trips.Add(1)
	}
	return n, err
}

func (c *wireConn) SyscallConn() (syscall.RawConn, error) { return c.Conn.(syscall.Conn).SyscallConn() }

// until waits for a state.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type book struct {
	ID    int64 `gorm:"primaryKey;autoIncrement:false"`
	Title string
	Stock int
}

// canary returns the tenant whose row ctx reaches.
func canary(ctx context.Context, db *DB) (string, error) {
	var found string
	err := db.Gorm(ctx).Raw("select tenant from canaries").Scan(&found).Error
	return found, err
}
