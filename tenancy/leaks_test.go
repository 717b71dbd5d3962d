package tenancy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// The ways by which one tenant's rows reach another, as the field knows them (L1 to L16). Where it is cheap a test first
// lets the naive way leak, so that it is known to look at the right thing. L3 needs PgBouncer and stands beside it; L13 and
// L15 come in by the front door, in cmd/homecore/app.

// naive is what a library without a driver of its own has: a connection that may see every tenant.
func (w *world) naive(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.url)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// naivePool is the same as database/sql has it.
func (w *world) naivePool(t testing.TB, conns int, options ...stdlib.OptionOpenDB) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(w.url)
	must(t, err)
	pool := stdlib.OpenDB(*config, options...)
	pool.SetMaxOpenConns(conns)
	t.Cleanup(func() { pool.Close() })
	return pool
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func one(t testing.TB, q queryer, query string, args ...any) (found string) {
	t.Helper()
	must(t, q.QueryRow(t.Context(), query, args...).Scan(&found))
	return found
}

func run(t testing.TB, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// leaks fails unless the naive way does leak: then this test would show nothing.
func leaks(t testing.TB, got, foreign string) {
	t.Helper()
	if got != foreign {
		t.Errorf("the naive way reads %q and not %q: this test cannot fail", got, foreign)
	}
}

// holds fails unless every tenant reaches its own row and nothing else.
func (w *world) holds(t testing.TB, db *DB) {
	t.Helper()
	for i := range w.scopes {
		if found, err := canary(w.as(t, i), db); err != nil || found != w.scopes[i].slug {
			t.Errorf("as %s: %q, %v", w.scopes[i].slug, found, err)
		}
	}
}

const seeCanary = "select tenant from canaries"

// naked runs SQL on one of the driver's connections without entering anybody, as nothing in the package can.
func naked(t testing.TB, ctx context.Context, db *DB, query string) (found string, err error) {
	t.Helper()
	_, through := db.through(ctx, func(ctx context.Context, c *conn) (driver.Result, error) {
		var results []*pgconn.Result
		if results, err = c.pg.Exec(ctx, query).ReadAll(); err == nil {
			found = string(results[0].Rows[0][0])
		}
		return driver.RowsAffected(0), nil
	})
	must(t, through)
	return found, err
}

func TestLeakL01SessionSetLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	run(t, naive, "set search_path = t_0") // a request as tenant 0, whose reset was forgotten
	leaks(t, one(t, naive, seeCanary), "t_0")

	db, wire := w.open(t, 1)
	for _, set := range []string{"set search_path = t_0", "set session role x", "select set_config('search_path', 't_0', false)", "update pg_settings set setting = 't_0' where name = 'search_path'"} {
		if err := db.Gorm(w.as(t, 0)).Exec(set).Error; !errors.Is(err, ErrSessionStatement) {
			t.Errorf("%s: %v", set, err)
		}
	}
	for range 2 {
		w.holds(t, db)
	}
	must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error { _, err := canary(ctx, db); return err }))
	const state = "select current_setting('search_path') || '|' || current_user || '|' || current_setting('statement_timeout') || '|' || current_setting('transaction_read_only')"
	if found, err := naked(t, w.as(t, 0), db, state); err != nil || found != `""|`+w.login(0)+"|0|off" && found != "|"+w.login(0)+"|0|off" {
		t.Errorf("a session is left as %q, %v", found, err)
	}
	if _, err := naked(t, w.as(t, 0), db, seeCanary); SQLState(err) != "42P01" {
		t.Errorf("without a tenant: %v", err)
	}
	if _, err := naked(t, w.as(t, 0), db, "select tenant from t_0.canaries"); SQLState(err) != "42501" {
		t.Errorf("without a tenant, by name: %v", err)
	}
	if n := wire.conns.Load(); n != 1 {
		t.Errorf("%d connections: the tenants did not share one", n)
	}
}

func TestLeakL02SetAndQueryOnTwoConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	pool := w.naivePool(t, 2)
	ctx := t.Context()
	_, err := pool.ExecContext(ctx, "set search_path = t_1") // a request as tenant 1, on the only connection yet
	must(t, err)
	first, err := pool.Conn(ctx) // busy: SET goes to another connection
	must(t, err)
	_, err = pool.ExecContext(ctx, "set search_path = t_0")
	must(t, err)
	second, err := pool.Conn(ctx)
	must(t, err)
	must(t, first.Close()) // idle again, and so the query gets it
	var found string
	must(t, pool.QueryRowContext(ctx, seeCanary).Scan(&found))
	leaks(t, found, "t_1")
	must(t, second.Close())

	db, wire := w.open(t, 2)
	must(t, db.Tx(w.as(t, 1), func(ctx context.Context) error { // holds a connection, so that others go to another
		if _, err := canary(ctx, db); err != nil {
			return err
		}
		w.holds(t, db)
		found, err := canary(ctx, db)
		if found != "t_1" {
			t.Errorf("inside the transaction: %q", found)
		}
		return err
	}))
	w.holds(t, db)
	if n := wire.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestLeakL04LostContextFallsBackToASharedSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	leaks(t, one(t, naive, seeCanary), "nobody") // a goroutine that has no tenant reads schema public, without an error

	db, wire := w.open(t, 1)
	w.holds(t, db)
	before := wire.bytes.Load()
	failed := make(chan error, 2)
	go func() { _, err := canary(context.WithoutCancel(t.Context()), db); failed <- err }() // as a goroutine or a job that lost it
	go func() {
		failed <- db.Tx(context.Background(), func(ctx context.Context) error { _, err := canary(ctx, db); return err })
	}()
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrNoTenant) {
			t.Error(err)
		}
	}
	if sent := wire.bytes.Load() - before; sent != 0 {
		t.Errorf("%d bytes were sent", sent)
	}
	// Its context may outlive the request, and its tenant does too.
	kept := context.WithoutCancel(w.as(t, 1))
	go func() {
		found, err := canary(kept, db)
		if found != "t_1" {
			err = fmt.Errorf("read %q, %w", found, err)
		}
		failed <- err
	}()
	must(t, <-failed)
}

func TestLeakL05SetToAMissingSchemaIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	naive := w.naive(t)
	run(t, naive, "set search_path = t_missing, public")
	leaks(t, one(t, naive, seeCanary), "nobody")

	db, _ := w.open(t, 1)
	missing := w.scopes[0]
	missing.schema = "t_missing"
	if found, err := canary(With(t.Context(), newScope(missing)), db); found != "" || SQLState(err) != "42P01" {
		t.Errorf("%q, %v", found, err)
	}
	w.holds(t, db)
}

func TestLeakL06HookSkippedOrItsErrorIgnored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	// A pool's hook sets the tenant, and fails for the second request: database/sql hands out the connection all the same.
	tenant := "t_0"
	pool := w.naivePool(t, 1, stdlib.OptionResetSession(func(ctx context.Context, conn *pgx.Conn) error {
		if tenant == "t_1" {
			return errors.New("the tenant is not to be entered now")
		}
		_, err := conn.Exec(ctx, "set search_path = "+tenant)
		return err
	}))
	var found string
	must(t, pool.QueryRowContext(t.Context(), "select 'new'").Scan(&found)) // a new connection has no hook at all
	must(t, pool.QueryRowContext(t.Context(), seeCanary).Scan(&found))
	tenant = "t_1"
	if err := pool.QueryRowContext(t.Context(), seeCanary).Scan(&found); err == nil {
		leaks(t, found, "t_0")
	} else {
		t.Logf("this version of database/sql minds: %v", err)
	}

	db, _ := w.open(t, 1)
	w.holds(t, db)
	w.do(t, fmt.Sprintf("revoke %s from %s", w.scopes[1].role, w.login(0)))
	for range 2 {
		found, err := canary(w.as(t, 1), db)
		var entry *EntryError
		if found != "" || !errors.As(err, &entry) {
			t.Errorf("%q, %v", found, err)
		}
		if found, err := canary(w.as(t, 0), db); err != nil || found != "t_0" {
			t.Error(found, err)
		}
	}
}

// naiveTenant is what many an application has.
var naiveTenant string

type naiveCanary struct{ Tenant string }

func (naiveCanary) TableName() string { return naiveTenant + ".canaries" }

type ownCanary struct{ Tenant string }

func (ownCanary) TableName() string { return "canaries" }

func TestLeakL07MetadataOfTheORM(t *testing.T) { // not parallel: it has a global variable, which is the point
	w := newWorld(t, 2, 1)
	handle, err := gorm.Open(postgres.New(postgres.Config{Conn: w.naivePool(t, 1)}), &gorm.Config{Logger: logger.Discard})
	must(t, err)
	var row naiveCanary
	naiveTenant = "t_0"
	must(t, handle.Take(&row).Error)
	naiveTenant = "t_1" // GORM has kept the table's name
	must(t, handle.Take(&row).Error)
	leaks(t, row.Tenant, "t_0")

	db, _ := w.open(t, 1)
	for range 3 {
		for i, s := range w.scopes {
			var row ownCanary
			must(t, db.Gorm(w.as(t, i)).Take(&row).Error)
			if row.Tenant != s.slug {
				t.Errorf("as %s: %q", s.slug, row.Tenant)
			}
		}
	}
}

func TestLeakL08TemporaryTableShadowsATenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	run(t, naive, "set search_path = t_0", "create temp table canaries as select text 't_0, stolen' as tenant", "set search_path = t_1")
	leaks(t, one(t, naive, seeCanary), "t_0, stolen")

	db, wire := w.open(t, 1)
	for _, create := range []string{"create temp table canaries (tenant text)", "select 1 as tenant into temp canaries", "create table pg_temp.canaries (tenant text)", "create temp view canaries as select 1"} {
		if err := db.Gorm(w.as(t, 0)).Exec(create).Error; !errors.Is(err, ErrSessionStatement) {
			t.Errorf("%s: %v", create, err)
		}
	}
	// Even where there is one, it is looked at last.
	_, err := db.through(w.as(t, 0), trusted("create temp table canaries as select text 't_0, stolen' as tenant"))
	must(t, err)
	w.holds(t, db)
	if n := wire.conns.Load(); n != 1 {
		t.Errorf("%d connections: the tenants did not share one", n)
	}
}

func TestLeakL09ImmutableFunctionFoldsASettingIntoAPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	// Marked IMMUTABLE by mistake, as happens to policies for the sake of speed.
	w.do(t, `create function public.me() returns text language sql immutable as 'select split_part(current_setting(''search_path''), '','', 1)';
		create table public.everyone (tenant text); insert into public.everyone values ('t_0'), ('t_1')`)
	naive := w.naive(t)
	run(t, naive, "set plan_cache_mode = force_generic_plan", "prepare mine as select tenant from public.everyone where tenant = public.me()")
	run(t, naive, "set search_path = t_0")
	if found := one(t, naive, "execute mine"); found != "t_0" {
		t.Error(found)
	}
	// A setting of its own, unlike search_path, does not have the plan made anew.
	run(t, naive, "reset search_path", "create function public.me2() returns text language sql immutable as 'select current_setting(''app.tenant'')'",
		"prepare mine2 as select tenant from public.everyone where tenant = public.me2()", "set app.tenant = 't_0'", "execute mine2", "set app.tenant = 't_1'")
	leaks(t, one(t, naive, "execute mine2"), "t_0")

	db, _ := w.open(t, 1)
	for range 8 { // more than it takes PostgreSQL to choose a generic plan
		for i, s := range w.scopes {
			var found string
			must(t, db.Gorm(w.as(t, i)).Raw("select trim('\"' from public.me())").Row().Scan(&found))
			if found != s.slug {
				t.Errorf("as %s: %q", s.slug, found)
			}
		}
	}
}

func TestLeakL10PreparedStatementBoundToAFallbackSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	run(t, naive, "alter table t_0.canaries rename to canaries_not_yet", "set search_path = t_0, public", "prepare mine as "+seeCanary, "execute mine",
		"alter table t_0.canaries_not_yet rename to elsewhere") // the table is still to come: the plan is bound to public's
	leaks(t, one(t, naive, "execute mine"), "nobody")

	db, _ := w.open(t, 1)
	for range 3 {
		if found, err := canary(w.as(t, 0), db); found != "" || SQLState(err) != "42P01" {
			t.Errorf("%q, %v: the shared table answers for the one that is missing", found, err)
		}
		if found, err := canary(w.as(t, 1), db); err != nil || found != "t_1" {
			t.Error(found, err)
		}
	}
	w.do(t, "alter table t_0.elsewhere rename to canaries")
	w.holds(t, db)
}

func TestLeakL11WhatASessionShares(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	w.do(t, `create sequence t_0.orders; grant usage on t_0.orders to public`)
	naive, other := w.naive(t), w.naive(t)
	run(t, naive, "set search_path = t_0", "select setval('orders', 4711)", "select nextval('orders')", "set search_path = t_1")
	leaks(t, one(t, naive, "select lastval()::text"), "4712") // the number of tenant 0's order
	run(t, naive, "select pg_advisory_lock(1)")
	leaks(t, one(t, other, "select pg_try_advisory_lock(1)::text"), "false") // who waits for another tenant
	run(t, other, "listen orders")
	run(t, naive, "notify orders, 'of tenant 0'")
	heard, err := other.WaitForNotification(t.Context())
	must(t, err)
	leaks(t, heard.Payload, "of tenant 0")

	db, _ := w.open(t, 2)
	for _, shared := range []string{"select lastval()", "select pg_advisory_lock(1)", "select pg_advisory_xact_lock(1)", "listen orders", "notify orders"} {
		if err := db.Gorm(w.as(t, 0)).Exec(shared).Error; !errors.Is(err, ErrSessionStatement) {
			t.Errorf("%s: %v", shared, err)
		}
	}
	must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error { // Lock's keys are the tenant's own
		must(t, db.Lock(ctx, "1"))
		return db.Tx(w.as(t, 1), func(ctx context.Context) error { return db.Lock(ctx, "1") })
	}))
	theirs, err := db.Listen(w.as(t, 1), "orders")
	must(t, err)
	defer theirs.Close()
	must(t, db.Notify(w.as(t, 0), "orders", "of tenant 0"))
	must(t, db.Notify(w.as(t, 1), "orders", "of tenant 1"))
	if heard, err := theirs.Next(t.Context()); err != nil || heard != "of tenant 1" {
		t.Errorf("tenant 1 hears %q, %v", heard, err)
	}
}

func TestLeakL12ClonedDefaultSharesOneSequence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	w.do(t, fmt.Sprintf(`create table t_0.orders (id serial primary key, what text); grant all on t_0.orders, t_0.orders_id_seq to %s;
		create table t_1.orders (like t_0.orders including all); grant all on t_1.orders to %s`, w.scopes[0].role, w.scopes[1].role))
	naive := w.naive(t)
	run(t, naive, "insert into t_0.orders (what) values ('a')")
	leaks(t, one(t, naive, "insert into t_1.orders (what) values ('b') returning id::text"), "2")

	// The tenant's role may not use it, so that whoever makes a tenant by cloning another finds out with the first row.
	db, _ := w.open(t, 1)
	must(t, db.Gorm(w.as(t, 0)).Exec("insert into orders (what) values ('c')").Error)
	if err := db.Gorm(w.as(t, 1)).Exec("insert into orders (what) values ('d')").Error; SQLState(err) != "42501" {
		t.Error(err)
	}
}

func TestLeakL14TenantSwitchedInsideATransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	tx, err := naive.Begin(t.Context())
	must(t, err)
	for _, s := range []string{"set local search_path = t_0", "insert into canaries values ('half of tenant 0')", "set local search_path = t_1"} {
		_, err := tx.Exec(t.Context(), s)
		must(t, err)
	}
	leaks(t, one(t, tx, seeCanary), "t_1")
	must(t, tx.Rollback(t.Context()))

	db, _ := w.open(t, 1)
	must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
		if _, err := canary(With(ctx, w.scopes[1]), db); !errors.Is(err, ErrTenantMismatch) {
			t.Error(err)
		}
		for _, set := range []string{"set local search_path = t_1", "set local role " + w.scopes[1].role, "select set_config('search_path', 't_1', true)"} {
			if err := db.Gorm(ctx).Exec(set).Error; !errors.Is(err, ErrSessionStatement) {
				t.Errorf("%s: %v", set, err)
			}
		}
		found, err := canary(ctx, db)
		if found != "t_0" {
			t.Errorf("read %q", found)
		}
		return err
	}))
}

func TestLeakL16ProcessWideCurrentTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	naive := w.naive(t)
	var current string
	enter := func(tenant string) { current = tenant }
	enter("t_0")                                                              // a request as tenant 0 begins
	enter("t_1")                                                              // and one as tenant 1, before it reads
	leaks(t, one(t, naive, "select tenant from "+current+".canaries"), "t_1") // what the first is shown

	db, _ := w.open(t, 2)
	var wg sync.WaitGroup
	zero, first := w.as(t, 0), w.as(t, 1) // both at once, in one process
	for range 20 {
		for want, ctx := range map[string]context.Context{"t_0": zero, "t_1": first} {
			wg.Go(func() {
				if found, err := canary(ctx, db); err != nil || found != want {
					t.Errorf("as %s: %q, %v", want, found, err)
				}
			})
		}
	}
	wg.Wait()
}

// What a tenant's role may do is refused by Postgres, whoever lets the statement through: here nothing of it is refused before.
func TestPostgresRefusesWhatLeavesTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 2) // tenant 1 is in another group than 0 and 2
	w.do(t, `create schema central; create table central.users (id int);
		do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$`)
	db, _ := w.open(t, 1)
	refusedBy := func(t *testing.T, want string, statements ...string) {
		t.Helper()
		for _, s := range statements {
			// LOCK alone is refused before Postgres looks whose table it is.
			if _, err := db.through(w.as(t, 0), trusted(s)); SQLState(err) != want && (SQLState(err) != "25P01" || !strings.HasPrefix(s, "lock")) {
				t.Errorf("%s: %v, want %s", s, err, want)
			}
			err := db.Tx(w.as(t, 0), func(ctx context.Context) error {
				_, err := db.through(ctx, trusted(s))
				return err
			})
			if SQLState(err) != want {
				t.Errorf("in a transaction: %s: %v, want %s", s, err, want)
			}
		}
	}
	for _, other := range []string{"t_1", "t_2"} {
		t.Run("the schema of another, by name: "+other, func(t *testing.T) {
			refusedBy(t, "42501",
				"select * from "+other+".books", "select count(*) from "+other+".canaries", "select 1 from "+other+".books for update",
				"insert into "+other+".books values (9, 'x')", "update "+other+".books set stock = 1", "delete from "+other+".books", "truncate "+other+".books",
				"alter table "+other+".books add x int", "drop table "+other+".books", "alter schema "+other+" rename to x", "drop schema "+other+" cascade",
				"create table "+other+".x ()", "create index on "+other+".books (id)", "comment on table "+other+".books is 'x'", "grant all on "+other+".books to public",
				"lock table "+other+".books in access share mode", "lock table "+other+".books in access exclusive mode",
				"copy "+other+".books to stdout")
		})
	}
	t.Run("what all share, and its own as another than it is", func(t *testing.T) {
		refusedBy(t, "42501", "select * from central.users", "select * from public.canaries", "create table public.x ()", "create table x ()", "create schema mine",
			"alter table books add x int", "drop table books", "create index on books (title)", "create temp table x (id int)", "create table pg_temp.x ()", "select 1 as a into temp x",
			"create function f() returns int language sql as 'select 1'", "load '/tmp/x'", "select pg_read_file('/etc/passwd')", "select * from pg_authid",
			"copy books to '/tmp/x'", "copy books from program 'true'", "select lo_import('/etc/passwd')", "select pg_reload_conf()", "create role x", "create extension dblink")
	})
	t.Run("becoming another", func(t *testing.T) {
		refusedBy(t, "42501", "set role "+w.scopes[1].role, "set local role "+w.scopes[1].role, "select set_config('role', '"+w.scopes[1].role+"', true)",
			"set role postgres", "set session authorization "+w.scopes[1].role, "set session authorization postgres", "grant "+w.scopes[1].role+" to "+w.login(0))
	})
	t.Run("what Postgres lets through is refused by the driver", func(t *testing.T) {
		// Membership in the roles of its group belongs to the login, not to the tenant: hence the first of the locks.
		for _, s := range []string{
			"set role " + w.scopes[2].role, "select set_config('role', '" + w.scopes[2].role + "', true)", "reset role", "set session statement_timeout = 0",
			"set search_path = t_2", "select set_config('statement_timeout', '0', false)", "set default_transaction_read_only = on",
		} {
			if err := db.Gorm(w.as(t, 0)).Exec(s).Error; !errors.Is(err, ErrSessionStatement) {
				t.Errorf("%s: %v", s, err)
			}
		}
	})
	w.holds(t, db)
	for i := range w.scopes {
		if n := count(t, w.as(t, i), db); n != 3 {
			t.Errorf("tenant %d has %d books", i, n)
		}
	}
}
