package tenancy

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// rowsOf yields rows, and then fails if err is not nil.
func rowsOf(err error, rows ...[]any) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func TestCopyFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	w.do(t, kitchenDDL)
	boom := errors.New("boom")
	columns := []string{"id", "title"}
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, 1, options...)
			ctx := w.as(t, 0)
			start := func(t *testing.T) { // as it was
				t.Helper()
				must(t, db.Gorm(ctx).Exec("delete from books where id > 3").Error)
			}
			t.Run("rows of its own transaction, in three round trips", func(t *testing.T) {
				start(t)
				for round := range 2 {
					trips := wire.count(func() {
						n, err := db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{int64(10 + round), fmt.Sprint("ten ", round)}, []any{20 + round, "a\tb\\c\nd\r\\N " + fmt.Sprint(round)}))
						if err != nil || n != 2 {
							t.Error(n, err)
						}
					})
					if trips > 4 { // the server may answer a COPY before all of it was sent
						t.Errorf("%d round trips", trips)
					}
				}
				var b book
				must(t, db.Gorm(ctx).First(&b, 21).Error)
				if b.Title != "a\tb\\c\nd\r\\N 1" {
					t.Errorf("%q", b.Title)
				}
				if n := count(t, w.as(t, 1), db); n != 3 {
					t.Errorf("the other tenant has %d books", n)
				}
			})
			t.Run("a transaction's part, which rolls back with it", func(t *testing.T) {
				start(t)
				err := db.Tx(ctx, func(ctx context.Context) error {
					n, err := db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{30, "thirty"}))
					if err != nil || n != 1 || count(t, ctx, db) != 4 {
						t.Error(n, err)
					}
					return boom
				})
				if err != boom || count(t, ctx, db) != 3 {
					t.Error(err)
				}
			})
			t.Run("many, in chunks, from a source that reads the same transaction", func(t *testing.T) {
				start(t)
				const total = 5000
				long := strings.Repeat("x", 500)
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					n, err := db.CopyFrom(ctx, "books", columns, func(yield func([]any, error) bool) {
						for i := range total {
							if i%1000 == 0 {
								if found, err := canary(ctx, db); err != nil || found != "t_0" {
									t.Error(found, err)
								}
							}
							if !yield([]any{100 + i, fmt.Sprint(long, i)}, nil) {
								return
							}
						}
					})
					if n != total || count(t, ctx, db) != 3+total {
						t.Errorf("%d rows", n)
					}
					return err
				}))
			})
			t.Run("a source that fails, or panics, leaves nothing, even if nobody minds", func(t *testing.T) {
				start(t)
				source := rowsOf(boom, []any{40, "forty"})
				if n, err := db.CopyFrom(ctx, "books", columns, source); !errors.Is(err, boom) || n != 0 {
					t.Error(n, err)
				}
				for name, source := range map[string]iter.Seq2[[]any, error]{
					"fails": source, "panics": func(yield func([]any, error) bool) { yield([]any{40, "forty"}, nil); panic(boom) },
				} {
					err := db.Tx(ctx, func(ctx context.Context) error {
						func() {
							defer func() {
								if p := recover(); (p == boom) != (name == "panics") {
									t.Errorf("recovered %v", p)
								}
							}()
							_, _ = db.CopyFrom(ctx, "books", columns, source)
						}()
						if err := db.Gorm(ctx).Exec("select 1").Error; state(err) != "25P02" {
							t.Errorf("the next statement: %v", err)
						}
						return nil
					})
					if !errors.Is(err, ErrRolledBack) {
						t.Errorf("commit said %v", err)
					}
				}
				if n := count(t, ctx, db); n != 3 {
					t.Errorf("%d books", n)
				}
			})
			t.Run("a savepoint saves what was before", func(t *testing.T) {
				start(t)
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					must(t, db.Gorm(ctx).Create(&book{ID: 50, Title: "fifty"}).Error)
					must(t, db.Gorm(ctx).Exec("savepoint a").Error)
					if _, err := db.CopyFrom(ctx, "books", columns, rowsOf(boom, []any{51, "x"})); !errors.Is(err, boom) {
						t.Error(err)
					}
					return db.Gorm(ctx).Exec("rollback to a").Error
				}))
				if n := count(t, ctx, db); n != 4 {
					t.Errorf("%d books", n)
				}
			})
			t.Run("errors keep their SQLSTATE", func(t *testing.T) {
				start(t)
				for want, copying := range map[string]func() (int64, error){
					"23505": func() (int64, error) { return db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{1, "one"})) },
					"22P02": func() (int64, error) { return db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{"one", "one"})) },
					"23502": func() (int64, error) { return db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{60, nil})) },
					"42P01": func() (int64, error) {
						return db.CopyFrom(ctx, "t_1.books", columns, rowsOf(nil, []any{60, "x"}))
					},
					"42703": func() (int64, error) {
						return db.CopyFrom(ctx, "books", []string{"nothing"}, rowsOf(nil, []any{60}))
					},
				} {
					if n, err := copying(); state(err) != want || n != 0 {
						t.Errorf("%d, %v, want %s", n, err, want)
					}
				}
				if _, err := db.CopyFrom(ctx, "books", columns, rowsOf(nil, []any{1})); err == nil || !strings.Contains(err.Error(), "1 values for 2 columns") {
					t.Error(err)
				}
				if _, err := db.CopyFrom(ctx, "books", nil, rowsOf(nil)); err == nil {
					t.Error("no columns")
				}
				if found, err := canary(ctx, db); err != nil || found != "t_0" {
					t.Error(found, err)
				}
			})
			t.Run("every type", func(t *testing.T) {
				at := time.Date(2026, 2, 3, 4, 5, 6, 123456000, time.UTC)
				id := uuid.New()
				_, err := db.CopyFrom(ctx, "kitchens", []string{"id", "flag", "large", "double", "amount", "word", "mood", "raw", "doc", "list", "ip", "day", "at", "span", "maybe"},
					rowsOf(nil, []any{id, true, int64(1) << 62, 0.1, "1.5000", "", mood("bad"), []byte{0, 255, '\\'}, map[string]int{"a": 1}, []string{"a", `b"\c`},
						"10.0.0.0/8", at, at, 90 * time.Minute, nil}))
				must(t, err)
				var k kitchen
				must(t, db.Gorm(ctx).First(&k, "id = ?", id).Error)
				if !k.Flag || k.Large != 1<<62 || k.Double != 0.1 || k.Amount != "1.5000" || k.Word != "" || k.Mood != "bad" || !bytes.Equal(k.Raw, []byte{0, 255, '\\'}) ||
					string(k.Doc) != `{"a": 1}` || k.List[1] != `b"\c` || k.IP.String != "10.0.0.0/8" || !k.At.Equal(at) || k.Day.Day() != 3 || k.Span != "01:30:00" || k.Maybe != nil {
					t.Errorf("%+v", k)
				}
			})
			t.Run("without a tenant, as another, or cancelled: not a byte", func(t *testing.T) {
				start(t)
				before := wire.bytes.Load()
				if _, err := db.CopyFrom(t.Context(), "books", columns, rowsOf(nil)); !errors.Is(err, ErrNoTenant) {
					t.Error(err)
				}
				_ = db.Tx(ctx, func(ctx context.Context) error {
					if _, err := db.CopyFrom(With(ctx, w.scopes[1]), "books", columns, rowsOf(nil)); !errors.Is(err, ErrTenantMismatch) {
						t.Error(err)
					}
					return nil
				})
				if sent := wire.bytes.Load() - before; sent != 0 {
					t.Errorf("%d bytes were sent", sent)
				}
				cancelled, cancel := context.WithCancel(ctx)
				_, err := db.CopyFrom(cancelled, "books", columns, func(yield func([]any, error) bool) {
					yield([]any{70, "seventy"}, nil)
					cancel()
				})
				if !errors.Is(err, context.Canceled) || count(t, ctx, db) != 3 {
					t.Error(err)
				}
			})
			t.Run("a copy that waits is cancelled on the server", func(t *testing.T) {
				start(t)
				tx, err := w.admin.Begin(ctx)
				must(t, err)
				defer tx.Rollback(context.WithoutCancel(ctx))
				_, err = tx.Exec(ctx, "lock table t_0.books in exclusive mode")
				must(t, err)
				short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				if _, err := db.CopyFrom(short, "books", columns, rowsOf(nil, []any{80, "eighty"})); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				must(t, tx.Rollback(ctx))
				if n := count(t, ctx, db); n != 3 {
					t.Errorf("%d books", n)
				}
			})
			t.Run("after a migration the types are asked for again", func(t *testing.T) {
				start(t)
				w.do(t, "alter table t_0.books add column tags text[]")
				_, err := db.CopyFrom(ctx, "books", append(columns, "tags"), rowsOf(nil, []any{90, "ninety", []string{"a"}}))
				must(t, err)
				w.do(t, "alter table t_0.books alter column tags type jsonb using to_jsonb(tags)")
				_, err = db.CopyFrom(ctx, "books", append(columns, "tags"), rowsOf(nil, []any{91, "91", []string{"a"}}))
				if state(err) != "22P02" {
					t.Error(err)
				}
				_, err = db.CopyFrom(ctx, "books", append(columns, "tags"), rowsOf(nil, []any{91, "91", []string{"a"}}))
				must(t, err)
				w.do(t, "alter table t_0.books drop column tags")
			})
			if stats := db.Stats()[0]; stats.InUse != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// failing accepts n bytes.
type failing struct {
	n     int
	err   error
	panic bool
}

func (f *failing) Write(b []byte) (int, error) {
	if f.n -= len(b); f.n >= 0 {
		return len(b), nil
	}
	if f.panic {
		panic(f.err)
	}
	return 0, f.err
}

func TestCopyTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	boom := errors.New("boom")
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, 1, options...)
			ctx := w.as(t, 0)
			_, err := canary(ctx, db)
			must(t, err)
			dialed := wire.conns.Load()
			t.Run("a query's rows, in three round trips", func(t *testing.T) {
				for range 2 {
					var out bytes.Buffer
					trips := wire.count(func() {
						n, err := db.CopyTo(ctx, `select id, title || E',"\n' as title from books order by id -- all of them`, &out)
						if err != nil || n != 3 {
							t.Error(n, err)
						}
					})
					if trips != 3 {
						t.Errorf("%d round trips", trips)
					}
					records, err := csv.NewReader(&out).ReadAll()
					if err != nil || len(records) != 4 || records[0][1] != "title" || records[1][1] != "t_0 1,\"\n" {
						t.Error(records, err)
					}
				}
			})
			t.Run("inside a transaction it sees what that has done", func(t *testing.T) {
				err := db.Tx(ctx, func(ctx context.Context) error {
					must(t, db.Gorm(ctx).Create(&book{ID: 10, Title: "ten"}).Error)
					n, err := db.CopyTo(ctx, "select * from books", new(bytes.Buffer))
					if err != nil || n != 4 {
						t.Error(n, err)
					}
					return boom
				})
				if err != boom {
					t.Error(err)
				}
			})
			t.Run("a query that is no single query, or not the tenant's", func(t *testing.T) {
				for query, want := range map[string]string{
					"select 1) to stdout; delete from books; copy (select 1": "42601", "select 1; select 2": "42601", "select 1;": "42601", "": "42601", "select 1 /*": "42601",
					"select * from t_1.books": "42501", "select * from nothing": "42P01", "select 1/0": "22012", "select $1::int": "42P02", "select 'a": "42601",
				} {
					for range 2 {
						if n, err := db.CopyTo(ctx, query, new(bytes.Buffer)); state(err) != want || n != 0 {
							t.Errorf("%s: %d, %v, want %s", query, n, err, want)
						}
					}
				}
				for _, query := range []string{"select set_config('role', 'none', true)", "set role none", "select 1) to stdout; select set_config('role', 'none', false); copy (select 1"} {
					if _, err := db.CopyTo(ctx, query, new(bytes.Buffer)); !errors.Is(err, ErrSessionStatement) {
						t.Errorf("%s: %v", query, err)
					}
				}
				if n := count(t, ctx, db); n != 3 {
					t.Errorf("%d books", n)
				}
			})
			t.Run("a writer that fails or panics stops it and keeps the connection", func(t *testing.T) {
				const endless = "select g, pg_sleep(case when g > 2000 then 0.001 else 0 end) from generate_series(1, 1000000) g"
				began := time.Now()
				if _, err := db.CopyTo(ctx, endless, &failing{n: 1000, err: boom}); !errors.Is(err, boom) {
					t.Error(err)
				}
				func() {
					defer func() {
						if p := recover(); p != boom {
							t.Errorf("recovered %v", p)
						}
					}()
					_, _ = db.CopyTo(ctx, endless, &failing{n: 1000, err: boom, panic: true})
				}()
				short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
				defer cancel()
				if _, err := db.CopyTo(short, endless, new(bytes.Buffer)); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if d := time.Since(began); d > 60*time.Second {
					t.Errorf("took %v", d)
				}
				if found, err := canary(ctx, db); err != nil || found != "t_0" {
					t.Error(found, err)
				}
			})
			t.Run("a refused entry", func(t *testing.T) {
				w.do(t, fmt.Sprintf("revoke %s from %s", w.scopes[0].role, w.login(0)))
				defer w.do(t, fmt.Sprintf("grant %s to %s", w.scopes[0].role, w.login(0)))
				var entry *EntryError
				if _, err := db.CopyTo(ctx, "select 1", new(bytes.Buffer)); !errors.As(err, &entry) {
					t.Error(err)
				}
				if _, err := db.CopyFrom(ctx, "books", []string{"id", "title"}, rowsOf(nil, []any{70, "x"})); !errors.As(err, &entry) {
					t.Error(err)
				}
				if err := db.Notify(ctx, "x", ""); !errors.As(err, &entry) {
					t.Error(err)
				}
				if name == "direct" {
					if _, err := db.Listen(ctx, "x"); !errors.As(err, &entry) {
						t.Error(err)
					}
				}
			})
			if n := wire.conns.Load() - dialed; n > 1 { // one of Listen
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

func TestListenAndNotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	db, wire := w.open(t, 1)
	mine, theirs := w.as(t, 0), w.as(t, 1)
	a, err := db.Listen(mine, "orders")
	must(t, err)
	defer a.Close()
	b, err := db.Listen(theirs, "orders")
	must(t, err)
	defer b.Close()
	next := func(t *testing.T, l *Listener, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := l.Next(ctx); err != nil || got != want {
			t.Errorf("heard %q, %v, want %q", got, err, want)
		}
	}
	t.Run("each tenant hears its own alone", func(t *testing.T) {
		must(t, db.Notify(mine, "orders", "of 0"))
		must(t, db.Notify(mine, "others", "not listened to"))
		must(t, db.Notify(theirs, "orders", "of 1"))
		next(t, a, "of 0")
		next(t, b, "of 1")
	})
	t.Run("a notification waits for the commit, and not for a rollback", func(t *testing.T) {
		_ = db.Tx(mine, func(ctx context.Context) error { must(t, db.Notify(ctx, "orders", "never")); return errFuzz })
		must(t, db.Tx(mine, func(ctx context.Context) error {
			must(t, db.Notify(ctx, "orders", "committed"))
			short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if got, err := a.Next(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("heard %q, %v before the commit", got, err)
			}
			return db.Notify(ctx, "orders", "second")
		}))
		next(t, a, "committed")
		next(t, a, "second")
	})
	t.Run("sending takes one round trip", func(t *testing.T) {
		if trips := wire.count(func() { must(t, db.Notify(mine, "nobody", "")) }); trips != 1 {
			t.Errorf("%d round trips", trips)
		}
	})
	t.Run("names that do not fit are refused, and odd ones quoted", func(t *testing.T) {
		for _, name := range []string{"", strings.Repeat("x", 28)} {
			if err := db.Notify(mine, name, ""); err == nil {
				t.Errorf("%q", name)
			}
			if _, err := db.Listen(mine, name); err == nil {
				t.Errorf("%q", name)
			}
		}
		l, err := db.Listen(mine, `"; set role x; --`)
		must(t, err)
		must(t, db.Notify(mine, `"; set role x; --`, "odd"))
		next(t, l, "odd")
		must(t, l.Close())
	})
	t.Run("a lost connection is an error", func(t *testing.T) {
		l, err := db.Listen(mine, "x")
		must(t, err)
		defer l.Close()
		w.do(t, fmt.Sprintf("select pg_terminate_backend(%d)", l.c.pg.PID()))
		if _, err := l.Next(t.Context()); err == nil {
			t.Error("no error")
		}
	})
	t.Run("without a tenant, and behind a pooler", func(t *testing.T) {
		if err := db.Notify(t.Context(), "x", ""); !errors.Is(err, ErrNoTenant) {
			t.Error(err)
		}
		if _, err := db.Listen(t.Context(), "x"); !errors.Is(err, ErrNoTenant) {
			t.Error(err)
		}
		behind, wire := w.open(t, 1, pooler)
		if _, err := behind.Listen(mine, "x"); !errors.Is(err, ErrPooled) || wire.bytes.Load() != 0 {
			t.Error(err)
		}
		must(t, behind.Notify(mine, "orders", "through the pooler"))
		next(t, a, "through the pooler")
	})
}

func TestLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	db, _ := w.open(t, 3)
	t.Run("one of two waits, another tenant does not", func(t *testing.T) {
		held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 2)
		go func() {
			done <- db.Tx(w.as(t, 0), func(ctx context.Context) error {
				err := db.Lock(ctx, "stock")
				err = errors.Join(err, db.Lock(ctx, "stock")) // again, by the one who has it
				close(held)
				<-release
				return err
			})
		}()
		<-held
		must(t, db.Tx(w.as(t, 1), func(ctx context.Context) error { return db.Lock(ctx, "stock") }))
		must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error { return db.Lock(ctx, "other") }))
		err := db.Tx(w.as(t, 0), func(ctx context.Context) error {
			must(t, db.Gorm(ctx).Exec("set local lock_timeout = '20ms'").Error)
			return db.Lock(ctx, "stock")
		})
		if state(err) != "55P03" {
			t.Error(err)
		}
		short, cancel := context.WithTimeout(w.as(t, 0), 30*time.Millisecond)
		defer cancel()
		if err := db.Tx(short, func(ctx context.Context) error { return db.Lock(ctx, "stock") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		go func() { done <- db.Tx(w.as(t, 0), func(ctx context.Context) error { return db.Lock(ctx, "stock") }) }()
		close(release)
		must(t, <-done)
		must(t, <-done)
	})
	t.Run("not outside a transaction, nor without a tenant", func(t *testing.T) {
		if err := db.Lock(w.as(t, 0), "x"); !errors.Is(err, ErrNoTransaction) {
			t.Error(err)
		}
		if err := db.Lock(t.Context(), "x"); !errors.Is(err, ErrNoTenant) {
			t.Error(err)
		}
	})
}
