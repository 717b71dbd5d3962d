package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// state returns the SQLSTATE of err, or "".
func state(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func count(t testing.TB, ctx context.Context, db *DB) (n int64) {
	t.Helper()
	must(t, db.Gorm(ctx).Model(&book{}).Count(&n).Error)
	return n
}

func TestTx(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	ctx := w.as(t, 0)
	add := func(ctx context.Context, id int64, title string) error {
		return db.Gorm(ctx).Create(&book{ID: id, Title: title}).Error
	}
	boom := errors.New("boom")
	kept := func(t *testing.T, id int64, want bool) {
		t.Helper()
		err := db.Gorm(ctx).First(&book{}, id).Error
		if got := err == nil; got != want || err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
			t.Errorf("book %d is kept: %v (%v), want %v", id, got, err, want)
		}
	}

	t.Run("commits on nil", func(t *testing.T) {
		must(t, db.Tx(ctx, func(ctx context.Context) error { return add(ctx, 10, "ten") }))
		kept(t, 10, true)
	})
	t.Run("rolls back on an error and returns it", func(t *testing.T) {
		if err := db.Tx(ctx, func(ctx context.Context) error { must(t, add(ctx, 11, "eleven")); return boom }); err != boom {
			t.Error(err)
		}
		kept(t, 11, false)
	})
	t.Run("rolls back on a panic and panics on", func(t *testing.T) {
		func() {
			defer func() {
				if p := recover(); p != boom {
					t.Errorf("recovered %v", p)
				}
			}()
			_ = db.Tx(ctx, func(ctx context.Context) error { must(t, add(ctx, 12, "twelve")); panic(boom) })
		}()
		kept(t, 12, false)
	})
	t.Run("a nested one joins, and the outer decides", func(t *testing.T) {
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, db.Tx(ctx, func(ctx context.Context) error { return add(ctx, 13, "thirteen") }))
			return boom
		})
		if err != boom {
			t.Error(err)
		}
		kept(t, 13, false)
	})
	t.Run("one on another DB is not joined", func(t *testing.T) {
		other, _ := w.open(t, 1)
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, other.Tx(ctx, func(ctx context.Context) error { return other.Gorm(ctx).Create(&book{ID: 14, Title: "fourteen"}).Error }))
			return boom
		})
		if err != boom {
			t.Error(err)
		}
		kept(t, 14, true)
	})
	t.Run("a commit after a failed statement is an error", func(t *testing.T) {
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, add(ctx, 15, "fifteen"))
			if err := add(ctx, 15, "again"); !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Error(err)
			}
			return nil
		})
		if !errors.Is(err, ErrRolledBack) {
			t.Errorf("commit said %v", err)
		}
		kept(t, 15, false)
	})
	t.Run("gorm's nested transactions are savepoints", func(t *testing.T) {
		must(t, db.Tx(ctx, func(ctx context.Context) error {
			must(t, add(ctx, 16, "sixteen"))
			err := db.Gorm(ctx).Transaction(func(tx *gorm.DB) error { return tx.Create(&book{ID: 16, Title: "again"}).Error })
			if !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Error(err)
			}
			return db.Gorm(ctx).Transaction(func(tx *gorm.DB) error { return tx.Create(&book{ID: 17, Title: "seventeen"}).Error })
		}))
		kept(t, 16, true)
		kept(t, 17, true)
	})
	t.Run("a deferred constraint fails the commit with its own error", func(t *testing.T) {
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, db.Gorm(ctx).Exec("set constraints all deferred").Error)
			return add(ctx, 18, "t_0 1")
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) || state(err) != "23505" {
			t.Errorf("commit said %v", err)
		}
		kept(t, 18, false)
	})
	t.Run("read only and isolation reach the server", func(t *testing.T) {
		must(t, db.Gorm(ctx).Transaction(func(tx *gorm.DB) error {
			var level, readOnly string
			must(t, tx.Raw("show transaction_isolation").Scan(&level).Error)
			must(t, tx.Raw("show transaction_read_only").Scan(&readOnly).Error)
			if level != "serializable" || readOnly != "on" {
				t.Errorf("%s, read only %s", level, readOnly)
			}
			return nil
		}, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}))
		err := db.Gorm(ctx).Begin(&sql.TxOptions{Isolation: sql.LevelLinearizable}).Error
		if err == nil || !strings.Contains(err.Error(), "Linearizable") {
			t.Errorf("an isolation level that does not exist: %v", err)
		}
	})
	t.Run("rows left open are in the way of the next statement, and of nothing else", func(t *testing.T) {
		must(t, db.Tx(ctx, func(ctx context.Context) error {
			rows, err := db.Gorm(ctx).Raw("select generate_series(1, 10)").Rows()
			must(t, err)
			if err := db.Gorm(ctx).Exec("select 1").Error; !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
			must(t, rows.Close())
			return db.Gorm(ctx).Exec("select 1").Error
		}))
	})
	t.Run("a statement that ends it ends the connection", func(t *testing.T) {
		err := db.Tx(ctx, func(ctx context.Context) error {
			must(t, add(ctx, 19, "nineteen"))
			_, err := db.through(ctx, trusted("rollback")) // refused where anybody else says it
			must(t, err)
			if _, err := canary(ctx, db); !errors.Is(err, errEnded) {
				t.Errorf("the next statement: %v", err)
			}
			return nil
		})
		if !errors.Is(err, errEnded) {
			t.Errorf("commit said %v", err)
		}
		kept(t, 19, false)
	})
	t.Run("a statement that opens one by hand loses the connection, not the pool", func(t *testing.T) {
		_, err := db.through(ctx, trusted("begin"))
		must(t, err)
		kept(t, 1, true)
	})
	t.Run("its context's end rolls it back and leaves the pool usable", func(t *testing.T) {
		short, cancel := context.WithCancel(ctx)
		err := db.Tx(short, func(ctx context.Context) error {
			must(t, add(ctx, 20, "twenty"))
			cancel()
			return db.Gorm(ctx).Exec("select pg_sleep(10)").Error
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		kept(t, 20, false)
	})
	if stats := db.Stats(); len(stats) != 1 || stats[0].InUse != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestDriverErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	ctx := w.as(t, 0)
	for name, tt := range map[string]struct {
		sql, state string
		is         error
	}{
		"a duplicate key":    {"insert into books (id, title) values (1, 'x')", "23505", gorm.ErrDuplicatedKey},
		"a check":            {"update books set stock = -1", "23514", gorm.ErrCheckConstraintViolated},
		"a missing table":    {"select * from nothing", "42P01", nil},
		"a missing column":   {"select nothing from books", "42703", gorm.ErrInvalidField},
		"a syntax error":     {"selec", "42601", nil},
		"two statements":     {"select 1; select 2", "42601", nil},
		"an error in a row":  {"select 10 / (3 - g) from generate_series(1, 5) g", "22012", nil},
		"someone else's":     {"select * from public.canaries", "42501", nil},
		"a too large number": {"select 3000000000::int8::int4", "22003", nil},
	} {
		t.Run(name+" keeps its SQLSTATE", func(t *testing.T) {
			for range 3 {
				// GORM translates the errors of Exec and of its own queries; those of Raw it leaves alone.
				if err := db.Gorm(ctx).Raw(tt.sql).Scan(&[]map[string]any{}).Error; tt.state != "" && state(err) != tt.state {
					t.Errorf("got %v, want %s", err, tt.state)
				}
				err := db.Gorm(ctx).Exec(tt.sql).Error
				if tt.state != "" && state(err) != tt.state || tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("got %v, want %s %v", err, tt.state, tt.is)
				}
			}
		})
	}
	t.Run("a deferred constraint fails a single statement", func(t *testing.T) {
		w.do(t, "create table t_0.late (n int unique deferrable initially deferred); grant insert, select on t_0.late to public")
		for _, sql := range []string{"insert into late values (1), (1)", "insert into late values (1), (1) returning n"} {
			var n []int
			if err := db.Gorm(ctx).Raw(sql).Scan(&n).Error; state(err) != "23505" {
				t.Errorf("%s: %v", sql, err)
			}
			if err := db.Gorm(ctx).Exec(sql).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
	t.Run("more arguments than the protocol carries", func(t *testing.T) {
		_, err := db.router.ExecContext(ctx, "select 1", make([]any, 1<<16)...)
		if err == nil || !strings.Contains(err.Error(), "65536 arguments") {
			t.Error(err)
		}
	})
	t.Run("the wrong number of arguments", func(t *testing.T) {
		for range 2 {
			if _, err := db.router.ExecContext(ctx, "select $1::int8", 1, 2); err == nil {
				t.Error("no error")
			}
		}
		if _, err := db.router.ExecContext(ctx, "select $1::int8", sql.Named("x", 1)); err == nil {
			t.Error("a named argument is taken")
		}
	})
}

func TestDriverLimitsOfTheScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, wire := w.open(t, 1, options...)
			limited, readOnly := w.scopes[0], w.scopes[0]
			limited.timeout = 500 * time.Millisecond
			readOnly.readOnly = true
			both := limited
			both.readOnly = true
			as := func(s Scope) context.Context { return With(t.Context(), newScope(s)) }

			if err := db.Gorm(as(limited)).Exec("select pg_sleep(10)").Error; state(err) != "57014" {
				t.Errorf("a slow statement: %v", err)
			}
			for _, s := range []Scope{readOnly, both} {
				if err := db.Gorm(as(s)).Create(&book{ID: 90, Title: "x"}).Error; state(err) != "25006" {
					t.Errorf("a write: %v", err)
				}
				err := db.Tx(as(s), func(ctx context.Context) error {
					return db.Gorm(ctx).Exec("set transaction read write").Error
				})
				if state(err) != "25001" {
					t.Errorf("asking to write: %v", err)
				}
			}
			// The same connection serves the next, without those limits.
			var timeout string
			must(t, db.Gorm(w.as(t, 0)).Raw("show statement_timeout").Scan(&timeout).Error)
			if timeout != "0" {
				t.Errorf("statement_timeout %s is left behind", timeout)
			}
			must(t, db.Gorm(w.as(t, 0)).Exec("update books set stock = 1 where id = 1").Error)
			if n := wire.conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestDriverResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, wire := w.open(t, 1)
	ctx := w.as(t, 0)
	t.Run("a big one arrives whole", func(t *testing.T) {
		for range 2 {
			var total, n int64
			rows, err := db.Gorm(ctx).Raw("select g, repeat('x', 200) from generate_series(1, 50000) g").Rows()
			must(t, err)
			for rows.Next() {
				var g int64
				var x string
				must(t, rows.Scan(&g, &x))
				total, n = total+g, n+int64(len(x))
			}
			must(t, rows.Err())
			if total != 50000*50001/2 || n != 50000*200 {
				t.Errorf("sum %d, %d characters", total, n)
			}
		}
	})
	t.Run("a big argument arrives whole", func(t *testing.T) {
		big := strings.Repeat("x", 20<<20)
		for range 3 {
			var n int
			must(t, db.Gorm(ctx).Raw("select length(?::text)", big).Scan(&n).Error)
			if n != len(big) {
				t.Errorf("%d characters", n)
			}
		}
	})
	t.Run("one closed early leaves the connection usable", func(t *testing.T) {
		for range 3 {
			rows, err := db.Gorm(ctx).Raw("select g from generate_series(1, 20000) g").Rows()
			must(t, err)
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
			must(t, rows.Close())
			var first int
			must(t, db.Gorm(ctx).Raw("select g from generate_series(1, 20000) g").Row().Scan(&first))
			if n := count(t, ctx, db); first != 1 || n != 3 {
				t.Errorf("first %d, %d books", first, n)
			}
		}
	})
	t.Run("an error after many rows is told at the end", func(t *testing.T) {
		for range 2 {
			var n []int
			err := db.Gorm(ctx).Raw("select 1 / (40000 - g) from generate_series(1, 50000) g").Scan(&n).Error
			if state(err) != "22012" {
				t.Error(err)
			}
		}
	})
	t.Run("no rows, no columns, and counts", func(t *testing.T) {
		rows, err := db.Gorm(ctx).Raw("select id, title from books where false").Rows()
		must(t, err)
		names, err := rows.Columns()
		if err != nil || strings.Join(names, " ") != "id title" || rows.Next() {
			t.Error(names, err)
		}
		must(t, rows.Close())
		if got := db.Gorm(ctx).Exec("update books set stock = 2"); got.Error != nil || got.RowsAffected != 3 {
			t.Error(got.RowsAffected, got.Error)
		}
		must(t, db.Gorm(ctx).Exec("").Error)
		must(t, db.Gorm(ctx).Exec("-- nothing").Error)
	})
	t.Run("a cursor", func(t *testing.T) {
		must(t, db.Tx(ctx, func(ctx context.Context) error {
			must(t, db.Gorm(ctx).Exec("declare c cursor for select id, title from books order by id").Error)
			var books []book
			must(t, db.Gorm(ctx).Raw("fetch 2 from c").Scan(&books).Error)
			if len(books) != 2 || books[1].Title != "t_0 2" {
				t.Error(books)
			}
			return nil
		}))
	})
	t.Run("a statement database/sql prepared", func(t *testing.T) {
		stmt, err := db.router.PrepareContext(ctx, "select title from books where id = $1")
		must(t, err)
		defer stmt.Close()
		var title string
		must(t, stmt.QueryRowContext(ctx, 2).Scan(&title))
		if title != "t_0 2" {
			t.Error(title)
		}
		if err := stmt.QueryRowContext(t.Context(), 2).Scan(&title); !errors.Is(err, ErrNoTenant) {
			t.Error(err)
		}
	})
	if n := wire.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
