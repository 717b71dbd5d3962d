package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"
)

// refused are statements that have no place on a tenant's handle, with what the error has to name.
var refused = [][2]string{
	{"set search_path = t_1", "SET search_path"},
	{"SET ROLE x", "SET role"},
	{"set session role x", "SET SESSION ROLE"},
	{"set session authorization default", "SET SESSION AUTHORIZATION"},
	{"set session characteristics as transaction read only", "SET SESSION CHARACTERISTICS"},
	{"set time zone 'UTC'", "SET TIME ZONE"},
	{"set my.tenant = 'x'", "SET my"},
	{`set "search_path" = t_1`, "SET search_path"},
	{"set local role x", "SET LOCAL role"},
	{"set local search_path = t_1", "SET LOCAL search_path"},
	{`set local "role" = x`, "SET LOCAL role"},
	{"set local session authorization x", "SET LOCAL session"},
	{"set local statement_timeout = 0", "SET LOCAL statement_timeout"},
	{"reset all", "RESET"}, {"reset role", "RESET"}, {"discard all", "DISCARD"}, {"load 'x'", "LOAD"},
	{"listen x", "use Listen"}, {"unlisten *", "UNLISTEN"}, {"notify x, 'y'", "use Notify"},
	{"prepare x as select 1", "PREPARE"}, {"prepare transaction 'x'", "PREPARE"}, {"execute x", "EXECUTE"}, {"deallocate all", "DEALLOCATE"},
	{"begin", "BEGIN"}, {"start transaction", "START"}, {"commit", "COMMIT"}, {"commit prepared 'x'", "COMMIT"}, {"end", "END"}, {"abort", "ABORT"},
	{"rollback", "ROLLBACK"}, {"rollback work", "ROLLBACK"}, {"rollback and chain", "ROLLBACK"}, {"rollback prepared 'x'", "ROLLBACK"},
	{"declare c cursor with hold for select 1", "WITH HOLD"}, {"declare c binary no scroll cursor with /* */ hold for select 1", "WITH HOLD"},
	{"create temp table x ()", "TEMPORARY"}, {"create local temporary table x ()", "TEMPORARY"}, {"create temp sequence x", "TEMPORARY"},
	{"create or replace temp view x as select 1", "TEMPORARY"}, {"create table pg_temp.x ()", "pg_temp"}, {"select * from pg_temp_3.x", "pg_temp_3"},
	{"select 1 as a into temp x", "INTO TEMPORARY"}, {"select 1 as a into local temp table x", "INTO TEMPORARY"},
	{"select set_config('role', 'x', false)", "set_config()"}, {"select pg_catalog.set_config ('role', 'x', true)", "set_config()"},
	{`select "set_config"('role', 'x', true)`, "set_config()"}, {"select pg_catalog . SET_CONFIG/* */\n('role', 'x', true)", "set_config()"},
	{`select "pg_catalog"."set_config"('role', 'x', true)`, "set_config()"}, {"select * from books, set_config('role', 'x', true)", "set_config()"},
	{`select U&"set\005fconfig"('role', 'x', true)`, `U&"`}, {`select u&"set!005fconfig" uescape '!' ('role', 'x', true)`, `U&"`},
	{"update pg_settings set setting = 'x' where name = 'role'", "pg_settings"}, {"with x as (update only pg_catalog.pg_settings set setting = 'x' returning 1) select 1", "pg_settings"},
	{"select pg_advisory_lock(1)", "use Lock"}, {"select pg_try_advisory_lock(1, 2)", "use Lock"}, {"select pg_advisory_lock_shared(1)", "use Lock"},
	{"select pg_advisory_unlock_all()", "use Lock"}, {"select pg_advisory_xact_lock(1)", "use Lock"}, {"select pg_try_advisory_xact_lock_shared(1)", "use Lock"},
	{"select lastval()", "lastval()"}, {"insert into books values (lastval(), 'x')", "lastval()"}, {"select pg_notify('x', 'y')", "use Notify"},
	{"copy books from stdin", "use CopyFrom"}, {"copy books to '/tmp/x'", "use CopyFrom"},
	{"do $$ begin perform 1; end $$", "DO"}, {"select query_to_xml('select 1', true, true, '')", "query_to_xml()"},
	{"alter role current_user set search_path = x", "ALTER ROLE"}, {"alter database x set role = y", "ALTER DATABASE"}, {"alter system set work_mem = '1MB'", "ALTER SYSTEM"},
	{"explain analyze execute x", "EXECUTE"}, {"explain (analyze, costs off) create temp table x as select 1", "TEMPORARY"}, {"explain verbose declare c cursor with hold for select 1", "WITH HOLD"},
	// What stands before it does not hide it.
	{" \t\r\n\f set role x", "SET role"}, {"-- set local jit\nset role x", "SET role"}, {"/* a /* nested */ one */ set role x", "SET role"},
	{";; set role x", "SET role"}, {"(((select set_config('role', 'x', true))))", "set_config()"}, {"set/**/role x", "SET role"}, {"--\rset role x", "SET role"},
	{"select 1 \x00; set role x", "NUL"},
	// Nor does what looks like a string or a comment without being one.
	{"select '--', set_config('role', 'x', true)", "set_config()"}, {"select '/*', set_config('role', 'x', true), '*/'", "set_config()"},
	{`select '\', set_config('role', 'x', true), '\'`, "set_config()"}, {`select E'\'', set_config('role', 'x', true)`, "set_config()"},
	{`select E'\\', set_config('role', 'x', true), E'\\'`, "set_config()"}, {`select 'it''s', set_config('role', 'x', true)`, "set_config()"},
	{`select "a""", set_config('role', 'x', true), """b"`, "set_config()"}, {`select b'1', x'1f', n'\', set_config('role', 'x', true), n'\'`, "set_config()"},
	{`select U&'\', set_config('role', 'x', true), U&'\'`, "set_config()"}, {"select $$'$$, set_config('role', 'x', true), $$'$$", "set_config()"},
	{"select $a$ $$ $b$ $a$, set_config('role', 'x', true)", "set_config()"}, {"select a$$, set_config('role', 'x', true), b$$ from x", "set_config()"},
	{"select $1, set_config('role', $2, true)", "set_config()"}, {"select 1$$'$$, set_config('role', 'x', true), '$$'", "set_config()"},
	{"select E'a'\n--'\n'\\'', set_config('role', 'x', true), '", "set_config()"}, {"select é$é$, set_config('role', 'x', true), $é$ from x", "set_config()"},
	{"select 1 /*/ set_config('', '', true) */, set_config('role', 'x', true)", "set_config()"}, {"select 1 --/*\n, set_config('role', 'x', true)", "set_config()"},
	{"select 2*/* */set_config('role', 'x', true)", "set_config()"}, {"select 'a' -- '\n'b', set_config('role', 'x', true)", "set_config()"},
}

// allowed are what looks like one of those.
var allowed = []string{
	"", "--", "/*", "'", `"`, "$$", "$a$", "e'", "select", "(", ";",
	"select 1", "select 'set role x'", "select '; set role x'", "-- set role x\nselect 1", "/* set role x */ select 1", "select $$ set_config('a') $$",
	"select $q$ ' $$ set_config( $q$, 1", "select E'\\' set_config(', 1", `select "set_config" from x`, `select "set_config(" from x`, `select 'a''set_config('`,
	"select set_config from settings", "select x.set_config from x", "select reset, discard, listen, lastval from x", "update sets set role = 'x'",
	"insert into temp values (1)", "insert into temp (a) select 1", "with temp as (select 1) select * from temp", "merge into temp using x on true when matched then delete",
	"select * from pg_settings", "update books set stock = 1 where id in (select 1)", "select 'pg_temp.x'",
	"savepoint x", "release savepoint x", "rollback to savepoint x", "ROLLBACK TO x", "rollback work to savepoint x", "rollback transaction to x",
	"set constraints all deferred", "set transaction isolation level serializable", "set local lock_timeout = '1s'", "SET LOCAL work_mem TO '64MB'", "set local enable_seqscan = off",
	`set local "work_mem" = '1MB'`, "declare c cursor for select 1", "declare c cursor without hold for select 1", "declare c cursor for with hold as (select 1) select * from hold",
	"fetch 1 from c", "close c", "move 1 from c", "show search_path", "lock table books", "explain select 1", "explain (analyze) select 1", "explain (select 1)", "explain analyze verbose select 1",
	"create table x (set_config int)", "create index on x (temp)", "alter table books add x int", "truncate books", "values (1)", "call x()",
	"select E'a'\n'\\' set_config(' 'b'", "select 1 where a = 'E' and b = '\\' and c = 'd'", "select currval('x'), nextval('x')",
	"select u&'d\\0061t\\+000061', u & 'x' from y", "select ts_stat from x", "select x -- set_config(", "select x /* set_config( */ from y",
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range refused {
		err := refuse(tt[0])
		if !errors.Is(err, ErrSessionStatement) || !strings.Contains(err.Error(), tt[1]) {
			t.Errorf("%s: got %v, want %s", tt[0], err, tt[1])
		}
	}
	for _, sql := range allowed {
		if err := refuse(sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestDriverRefusesSessionStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, wire := w.open(t, 1, options...)
			ctx := w.as(t, 0)
			_, err := canary(ctx, db)
			must(t, err)
			for _, tt := range refused {
				before := wire.bytes.Load()
				_, err := db.router.ExecContext(ctx, tt[0])
				rows, queryErr := db.router.QueryContext(ctx, tt[0])
				var scanErr error
				if stmt, err := db.router.PrepareContext(ctx, tt[0]); err == nil {
					scanErr = stmt.QueryRowContext(ctx).Scan(new(int))
					stmt.Close()
				}
				if queryErr == nil {
					rows.Close()
				}
				for _, err := range []error{err, queryErr, scanErr} {
					if !errors.Is(err, ErrSessionStatement) {
						t.Errorf("%s: %v", tt[0], err)
					}
				}
				if sent := wire.bytes.Load() - before; sent != 0 {
					t.Errorf("%s: %d bytes were sent", tt[0], sent)
				}
			}
			t.Run("and the transaction goes on", func(t *testing.T) {
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					for range 2 {
						if err := db.Gorm(ctx).Exec("set role x").Error; !errors.Is(err, ErrSessionStatement) {
							t.Error(err)
						}
						if found, err := canary(ctx, db); err != nil || found != "t_0" {
							t.Error(found, err)
						}
					}
					return nil
				}))
			})
			t.Run("what is of use inside a transaction is not refused", func(t *testing.T) {
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					must(t, db.Gorm(ctx).Exec("set local lock_timeout = '1s'").Error)
					must(t, db.Gorm(ctx).Exec("set constraints all deferred").Error)
					must(t, db.Gorm(ctx).Exec("savepoint a").Error)
					_ = db.Gorm(ctx).Exec("select 1/0").Error
					must(t, db.Gorm(ctx).Exec("rollback to a").Error)
					return db.Gorm(ctx).Exec("release a").Error
				}))
				var timeout string
				must(t, db.Gorm(ctx).Raw("show lock_timeout").Scan(&timeout).Error)
				if timeout != "0" {
					t.Errorf("lock_timeout %s is left behind", timeout)
				}
			})
			t.Run("the package's own SQL does not open the way for the same SQL of others", func(t *testing.T) {
				for range 3 {
					must(t, db.Notify(ctx, "x", "y"))
					var n any
					err := db.Gorm(ctx).Raw("select pg_catalog.pg_notify($1, $2)", "x", "y").Scan(&n).Error
					if !errors.Is(err, ErrSessionStatement) {
						t.Error(err)
					}
				}
			})
			if n := wire.conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// The list is what Postgres would let through: each of these changes the session or shows the tenant's role more than its own
// schema, or would if it had been sent.
func TestRefusedStatementsWouldHaveBeenExecuted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	db, _ := w.open(t, 1)
	ctx := w.as(t, 0)
	for _, sql := range []string{
		fmt.Sprintf("set role %s", w.scopes[1].role), fmt.Sprintf("set local role %s", w.scopes[1].role), "set search_path = t_1", "; set role none",
		"reset role", "select set_config('role', 'none', false)", `select U&"set\005fconfig"('role', 'none', true)`, "update pg_settings set setting = 'x' where name = 'application_name'",
		"select query_to_xml('select set_config(''role'', ''none'', false)', true, true, '')", "do $$ begin perform set_config('role', 'none', false); end $$",
		"alter role current_user set search_path = x", "listen x", "select pg_advisory_lock(5)", "prepare x as select 1", "set local statement_timeout = 0",
	} {
		err := db.Tx(ctx, func(ctx context.Context) error {
			_, err := db.through(ctx, trusted(sql))
			must(t, err)
			return errFuzz
		})
		if !errors.Is(err, errFuzz) {
			t.Errorf("%s: %v", sql, err)
		}
		if !errors.Is(refuse(sql), ErrSessionStatement) {
			t.Errorf("%s is not refused", sql)
		}
	}
}

func TestGormsNestedTransactionsAreNotRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
		err := db.Gorm(ctx).Transaction(func(tx *gorm.DB) error { return tx.Exec("select 1/0").Error })
		if state(err) != "22012" {
			t.Error(err)
		}
		return db.Gorm(ctx).Transaction(func(tx *gorm.DB) error { return tx.Exec("select 1").Error })
	}))
}

// FuzzRefuse holds that the scanner ends, stays inside the text, and that what is hidden in strings and comments is not seen
// while what stands behind them is.
func FuzzRefuse(f *testing.F) {
	for _, tt := range refused {
		f.Add(tt[0])
	}
	for _, sql := range allowed {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		last := -1
		for s := (scanner{sql: sql}); ; {
			tok := s.next()
			if s.pos > len(sql) || s.pos < last || s.pos == last && tok.kind != atEnd {
				t.Fatalf("at %d after %d of %d", s.pos, last, len(sql))
			}
			last = s.pos
			if tok.kind == atEnd {
				break
			}
		}
		if refuse(sql) != nil || strings.IndexByte(sql, 0) >= 0 {
			return
		}
		text := strings.ReplaceAll(sql, "'", "''")
		tag := "$q" + strings.Repeat("q", strings.Count(sql, "q")) + "$" // longer than any run of q in sql
		for _, hidden := range []string{
			"select '" + text + " set_config('",
			`select E'` + strings.ReplaceAll(text, `\`, `\\`) + ` set_config('`,
			`select "` + strings.ReplaceAll(sql, `"`, `""`) + ` set_config("`,
			"select " + tag + strings.ReplaceAll(sql, "$", "") + " set_config(" + tag,
			"select 1 -- " + strings.NewReplacer("\r", "", "\n", "").Replace(sql) + " set_config(",
			"select 1 /* " + strings.NewReplacer("/", "", "*", "").Replace(sql) + " set_config( */",
		} {
			if err := refuse(hidden); err != nil {
				t.Errorf("%q: %v", hidden, err)
			}
			if err := refuse(hidden + "\n, set_config('role', 'x', true)"); err == nil {
				t.Errorf("%q hides what follows", hidden)
			}
		}
	})
}
