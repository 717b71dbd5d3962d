package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestDriverRefusedEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	db, wire := w.open(t, 1)
	ctx := w.as(t, 0)
	_, err := canary(ctx, db)
	must(t, err)
	refused := func(t *testing.T, err error, want string) {
		t.Helper()
		entry, ok := errors.AsType[*EntryError](err)
		if !ok || entry.Tenant != w.scopes[0].tenant || state(err) != want {
			t.Errorf("got %v, want an EntryError with %s", err, want)
		}
	}
	w.do(t, fmt.Sprintf("revoke %s from %s", w.scopes[0].role, w.login(0)))

	t.Run("a revoked membership refuses the next statement of an open connection", func(t *testing.T) {
		_, err := canary(ctx, db)
		refused(t, err, "42501")
		// One that needs nothing of the tenant's, seen and unseen, and one whose arguments need a description.
		refused(t, db.Gorm(ctx).Exec("select 1").Error, "42501")
		refused(t, db.Gorm(ctx).Exec("select $1::int[]", []pgxInt{1}).Error, "42501")
		refused(t, db.Gorm(ctx).Exec("update books set stock = 77").Error, "42501")
		err = db.Tx(ctx, func(ctx context.Context) error {
			refused(t, db.Gorm(ctx).Exec("update books set stock = 77").Error, "42501")
			if err := db.Gorm(ctx).Exec("update books set stock = 78").Error; state(err) != "25P02" {
				t.Errorf("the next statement: %v", err)
			}
			return nil
		})
		if !errors.Is(err, ErrRolledBack) {
			t.Errorf("commit said %v", err)
		}
	})
	t.Run("others on the same connection are not disturbed", func(t *testing.T) {
		if found, err := canary(w.as(t, 1), db); err != nil || found != "t_1" {
			t.Error(found, err)
		}
	})
	t.Run("a role that is gone", func(t *testing.T) {
		gone := w.scopes[0]
		gone.role = w.prefix + "_gone"
		_, err := canary(With(t.Context(), newScope(gone)), db)
		refused(t, err, "22023")
	})
	t.Run("a role of another tenant of the group does not open its schema", func(t *testing.T) {
		mixed := w.scopes[0]
		mixed.role = w.scopes[1].role
		if _, err := canary(With(t.Context(), newScope(mixed)), db); state(err) != "42501" && state(err) != "42P01" {
			t.Errorf("got %v", err)
		}
	})
	w.do(t, fmt.Sprintf("grant %s to %s", w.scopes[0].role, w.login(0)))
	var stock int
	must(t, db.Gorm(ctx).Raw("select sum(stock) from books").Scan(&stock).Error)
	if stock != 0 {
		t.Errorf("a refused statement ran: stock %d", stock)
	}
	if n := wire.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

type pgxInt int32

func (pgxInt) String() string { return "not plain" }

type kindOf string

func (k kindOf) Valid() bool { return k != "" }

func TestDriverAfterAMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 1)
	alter := func(tenant int, ddl string) {
		w.do(t, strings.ReplaceAll(ddl, "table books", "table "+w.scopes[tenant].schema+".books"))
	}
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, 2, options...)
			everything := func(t *testing.T, tenant int) (columns string) {
				t.Helper()
				rows, err := db.Gorm(w.as(t, tenant)).Raw("select * from books where id = ?", 1).Rows()
				must(t, err)
				defer rows.Close()
				names, err := rows.Columns()
				must(t, err)
				for rows.Next() {
					values := make([]any, len(names))
					into := make([]any, len(names))
					for i := range into {
						into[i] = &values[i]
					}
					must(t, rows.Scan(into...))
					for i := range values {
						columns += fmt.Sprintf("%s=%v(%T) ", names[i], values[i], values[i])
					}
				}
				must(t, rows.Err())
				return columns
			}
			find := func(t *testing.T, tenant int, stock any) (n int64) {
				t.Helper()
				must(t, db.Gorm(w.as(t, tenant)).Model(&book{}).Where("stock = ?", stock).Count(&n).Error)
				return n
			}
			for tenant := range 2 {
				for range 2 {
					everything(t, tenant)
					find(t, tenant, 0)
				}
			}
			t.Run("a prepared statement with a new column is prepared again", func(t *testing.T) {
				alter(0, "alter table books add column isbn text default 'x'")
				if got := everything(t, 0); got != "id=1(int64) title=t_0 1(string) stock=0(int64) isbn=x(string) " {
					t.Error(got)
				}
				if got := everything(t, 0); !strings.Contains(got, "isbn") {
					t.Error(got)
				}
			})
			t.Run("tenants at two versions are each read as they are", func(t *testing.T) {
				for range 3 {
					for tenant, want := range map[int]bool{0: true, 1: false, 2: false} {
						if got := everything(t, tenant); strings.Contains(got, "isbn") != want {
							t.Errorf("tenant %d: %s", tenant, got)
						}
					}
				}
			})
			t.Run("a column's type changes under a prepared argument", func(t *testing.T) {
				alter(0, "alter table books drop constraint if exists books_stock_check, alter column stock drop default, alter column stock type text")
				for range 3 {
					if n := find(t, 0, "0"); n != 3 {
						t.Errorf("%d rows are found as text, want 3", n)
					}
					if n := find(t, 1, 0); n != 3 {
						t.Errorf("%d rows are found as numbers, want 3", n)
					}
				}
				alter(0, "alter table books alter column stock type numeric using stock::numeric")
				for range 3 {
					if n := find(t, 0, "0.5"); n != 0 {
						t.Errorf("%d rows are found", n)
					}
				}
			})
			t.Run("inside a transaction the error stands, once", func(t *testing.T) {
				everything(t, 1)
				everything(t, 1)
				alter(1, "alter table books add column isbn text")
				var first error
				seen := ""
				err := db.Tx(w.as(t, 1), func(ctx context.Context) error {
					must(t, db.Gorm(ctx).Exec("update books set stock = 9 where id = 3").Error)
					var found []map[string]any
					first = db.Gorm(ctx).Raw("select * from books where id = ?", 1).Scan(&found).Error
					seen = fmt.Sprint(found)
					return first
				})
				// On a connection that had not prepared it, there is nothing to be out of date.
				if first != nil && state(first) != "0A000" && state(first) != "08P01" {
					t.Errorf("got %v and %v", first, err)
				}
				if first == nil && !strings.Contains(seen, "isbn") {
					t.Errorf("read %s", seen)
				}
				must(t, db.Tx(w.as(t, 1), func(ctx context.Context) error {
					return db.Gorm(ctx).Raw("select * from books where id = ?", 1).Scan(&[]map[string]any{}).Error
				}))
			})
			t.Run("types of the tenant's own are not taken for another's", func(t *testing.T) {
				for _, tenant := range []int{0, 2} {
					schema := w.scopes[tenant].schema
					w.do(t, fmt.Sprintf(`create type %[1]s.kind as enum ('a', 'b'); create domain %[1]s.code as text check (value <> '');
						create table %[1]s.kinds (kind %[1]s.kind, kinds %[1]s.kind[], code %[1]s.code);
						grant select, insert on %[1]s.kinds to public`, schema))
				}
				for range 3 {
					for _, tenant := range []int{0, 2} {
						ctx := w.as(t, tenant)
						must(t, db.Gorm(ctx).Exec("insert into kinds values (?, ?, ?)", mood("b"), "{a,b}", "x").Error)
						must(t, db.Gorm(ctx).Exec("insert into kinds (code, kind) values (?, ?)", "x", kindOf("b")).Error)
						var got string
						must(t, db.Gorm(ctx).Raw("select kind from kinds where kind = ? and code = ?", "b", "x").Row().Scan(&got))
						if got != "b" {
							t.Error(got)
						}
						if err := db.Gorm(ctx).Exec("insert into kinds values (?, ?, ?)", mood("z"), "{}", "x").Error; state(err) != "22P02" {
							t.Error(err)
						}
					}
				}
			})
			if n := wire.conns.Load(); n > 2 {
				t.Errorf("%d connections, want 2", n)
			}
			for _, tenant := range []int{0, 1, 2} { // as they were, for the next
				schema := w.scopes[tenant].schema
				w.do(t, fmt.Sprintf(`alter table %[1]s.books drop column if exists isbn, alter column stock type int using stock::int;
					update %[1]s.books set stock = 0;
					drop table if exists %[1]s.kinds; drop type if exists %[1]s.kind; drop domain if exists %[1]s.code`, schema))
			}
		})
	}
}

func TestDriverForgetsStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 1)
	db, wire := w.open(t, 1, func(cfg *Config) { cfg.Statements = 4 })
	query := func(i int) string { return fmt.Sprintf("select title, %d from books where id = $1", i) }
	read := func(tenant, i int) {
		t.Helper()
		var title string
		var n int
		must(t, db.Gorm(w.as(t, tenant)).Raw(query(i), 2).Row().Scan(&title, &n))
		if title != w.scopes[tenant].slug+" 2" || n != i {
			t.Errorf("read %s %d", title, n)
		}
	}
	trips := wire.count(func() {
		for round := range 3 {
			for i := range 6 {
				for tenant := range w.scopes {
					read(tenant, i+round)
				}
			}
		}
	})
	if trips > 3*6*3+5 { // a few to connect
		t.Errorf("%d round trips for %d reads", trips, 3*6*3)
	}
	var held int
	ctx := w.as(t, 0)
	must(t, db.Gorm(ctx).Raw("select count(*) from pg_prepared_statements where name like 'hc\\_s%'").Scan(&held).Error)
	if held > 5 { // the fifth leaves with the next pipeline
		t.Errorf("the server holds %d statements, want 5 at most", held)
	}
	t.Run("a server that has forgotten them all", func(t *testing.T) {
		_, err := db.through(ctx, trusted("deallocate all"))
		must(t, err)
		read(0, 1)
		read(1, 1)
	})
}

func TestDriverSurvivesItsServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	ctx := w.as(t, 0)
	kill := func() {
		w.do(t, fmt.Sprintf("select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '%s'", w.login(0)))
	}
	t.Run("idle connections that were closed are not noticed by anyone", func(t *testing.T) {
		db, wire := w.open(t, 3)
		for range 3 {
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					if err := db.Gorm(ctx).Exec("select pg_sleep(0.01)").Error; err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			kill()
			for range 6 {
				if found, err := canary(ctx, db); err != nil || found != "t_0" {
					t.Error(found, err)
				}
			}
		}
		if stats := db.Stats()[0]; stats.Open > 4 || stats.InUse != 0 {
			t.Errorf("%+v", stats)
		}
		if wire.conns.Load() < 4 {
			t.Errorf("%d connections were made: none was killed", wire.conns.Load())
		}
	})
	t.Run("a statement that was running fails, and is not run again", func(t *testing.T) {
		db, _ := w.open(t, 1)
		var pid int
		must(t, db.Gorm(ctx).Raw("select pg_backend_pid()").Scan(&pid).Error)
		failed := make(chan error, 1)
		go func() { failed <- db.Gorm(ctx).Exec("select pg_sleep(60)").Error }()
		w.untilSleeping(t, pid)
		kill()
		if err := <-failed; state(err) != "57P01" {
			t.Error(err)
		}
		_, err := canary(ctx, db)
		must(t, err)
	})
	t.Run("a transaction that lost its connection fails to the end", func(t *testing.T) {
		db, _ := w.open(t, 1)
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, db.Gorm(ctx).Exec("update books set stock = 5").Error)
			kill()
			first := db.Gorm(ctx).Exec("select 1").Error
			second := db.Gorm(ctx).Exec("select 1").Error
			if first == nil || second == nil {
				t.Error(first, second)
			}
			return nil
		})
		if err == nil {
			t.Error("the commit of a lost transaction succeeds")
		}
		var stock int
		must(t, db.Gorm(ctx).Raw("select sum(stock) from books").Scan(&stock).Error)
		if stock != 0 {
			t.Errorf("stock %d", stock)
		}
	})
	t.Run("one that cannot be reached says so, and is tried again", func(t *testing.T) {
		away := true
		db, _ := w.open(t, 1, func(cfg *Config) {
			connect := cfg.Clusters[0].Connect
			cfg.Clusters[0].Connect = func(group int) (*pgx.ConnConfig, error) {
				config, err := connect(group)
				if err != nil {
					return nil, err
				}
				config.ValidateConnect = nil
				dial := config.DialFunc
				config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if away {
						return nil, errors.New("away")
					}
					return dial(ctx, network, addr)
				}
				return config, nil
			}
		})
		if _, err := canary(ctx, db); err == nil || !strings.Contains(err.Error(), "away") {
			t.Error(err)
		}
		away = false
		_, err := canary(ctx, db)
		must(t, err)
	})
}

func (w *world) untilSleeping(t testing.TB, pid int) {
	t.Helper()
	until(t, "the statement runs", func() (running bool) {
		must(t, w.admin.QueryRow(t.Context(),
			"select exists (select from pg_stat_activity where pid = $1 and state = 'active' and wait_event = 'PgSleep')", pid).Scan(&running))
		return running
	})
}

func TestDriverCancellation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, wire := w.open(t, 1)
	var pid int
	must(t, db.Gorm(w.as(t, 0)).Raw("select pg_backend_pid()").Scan(&pid).Error)
	dialed := wire.conns.Load()

	quiet := func(t *testing.T) {
		t.Helper()
		if found, err := canary(w.as(t, 0), db); err != nil || found != "t_0" {
			t.Error(found, err)
		}
		var now int
		must(t, db.Gorm(w.as(t, 0)).Raw("select pg_backend_pid()").Scan(&now).Error)
		if now != pid {
			t.Errorf("the connection was given up: %d is now %d (%d dialed since %d)", pid, now, wire.conns.Load(), dialed)
			pid = now
		}
	}
	t.Run("a cancelled statement stops on the server", func(t *testing.T) {
		ctx, cancel := context.WithCancel(w.as(t, 0))
		go func() { w.untilSleeping(t, pid); cancel() }()
		began := time.Now()
		err := db.Gorm(ctx).Exec("select pg_sleep(60)").Error
		if !errors.Is(err, context.Canceled) || time.Since(began) > 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		quiet(t)
	})
	t.Run("a deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(w.as(t, 0), 30*time.Millisecond)
		defer cancel()
		if err := db.Gorm(ctx).Exec("select pg_sleep(60)").Error; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		quiet(t)
	})
	t.Run("while rows are read", func(t *testing.T) {
		ctx, cancel := context.WithCancel(w.as(t, 0))
		rows, err := db.Gorm(ctx).Raw("select g, pg_sleep(0.001) from generate_series(1, 100000) g").Rows()
		must(t, err)
		rows.Next()
		cancel()
		for rows.Next() {
		}
		if err := rows.Err(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		rows.Close()
		quiet(t)
	})
	t.Run("in a transaction, which is rolled back", func(t *testing.T) {
		ctx, cancel := context.WithCancel(w.as(t, 0))
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, db.Gorm(ctx).Exec("update books set stock = 6").Error)
			go func() { w.untilSleeping(t, pid); cancel() }()
			return db.Gorm(ctx).Exec("select pg_sleep(60)").Error
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		quiet(t)
		var stock int
		must(t, db.Gorm(w.as(t, 0)).Raw("select sum(stock) from books").Scan(&stock).Error)
		if stock != 0 {
			t.Errorf("stock %d", stock)
		}
	})
	t.Run("waiting for a connection", func(t *testing.T) {
		must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
			short, cancel := context.WithTimeout(w.as(t, 0), 10*time.Millisecond)
			defer cancel()
			if _, err := canary(short, db); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			return nil
		}))
		quiet(t)
	})
}
