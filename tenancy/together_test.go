package tenancy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// gathered makes reads while the only lane is held, so that all of them wait, does the rest, lets them go, and returns once they
// have been answered.
func gathered(t *testing.T, w *world, db *DB, n int, read func(i int), rest ...func()) {
	t.Helper()
	var reads sync.WaitGroup
	must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
		var one int
		if err := db.Gorm(ctx).Raw("select 1").Scan(&one).Error; err != nil {
			return err
		}
		for i := range n {
			reads.Go(func() { read(i) })
		}
		until(t, "all reads wait", func() bool { return db.Stats()[0].Waiting == n })
		for _, do := range rest {
			do()
		}
		return nil
	}))
	reads.Wait()
}

func TestReadsTravelTogether(t *testing.T) {
	t.Parallel()
	const tenants = 12
	w := newWorld(t, tenants, 1)
	title := func(ctx context.Context, db *DB, id int) (string, error) {
		var b book
		err := db.Gorm(ctx).Take(&b, id).Error
		return b.Title, err
	}
	// warm prepares the statement for every tenant.
	warm := func(t *testing.T) (*DB, *wire) {
		t.Helper()
		db, wire := w.open(t, 1)
		for i := range tenants {
			_, err := title(w.as(t, i), db, 1)
			must(t, err)
		}
		return db, wire
	}
	right := func(t *testing.T, db *DB, i int) {
		t.Helper()
		if got, err := title(w.as(t, i), db, 2); err != nil || got != w.scopes[i].slug+" 2" {
			t.Errorf("tenant %d read %q, %v", i, got, err)
		}
	}

	t.Run("those that wait take few round trips, and each gets its own tenant's row", func(t *testing.T) {
		db, wire := warm(t)
		trips := wire.count(func() { gathered(t, w, db, tenants, func(i int) { right(t, db, i) }) })
		if trips > 2+4 { // the transaction's two, and the answers may arrive in pieces
			t.Errorf("%d round trips", trips)
		}
		if s := db.Stats()[0]; s.InUse != 0 || s.Waiting != 0 || s.Open != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("one that is refused, and one that fails, leave the others alone", func(t *testing.T) {
		db, _ := warm(t)
		w.do(t, fmt.Sprintf("revoke %s from %s", w.scopes[3].role, w.login(0)))
		defer w.do(t, fmt.Sprintf("grant %s to %s", w.scopes[3].role, w.login(0)))
		divide := func(ctx context.Context, by int) error {
			var n int
			return db.Gorm(ctx).Raw("select 10 / $1::bigint", int64(by)).Scan(&n).Error
		}
		must(t, divide(w.as(t, 5), 1))
		gathered(t, w, db, tenants, func(i int) {
			switch i {
			case 3:
				if _, err := title(w.as(t, i), db, 2); !errors.Is(err, InMaintenance) {
					t.Errorf("without membership: %v", err)
				}
			case 5:
				if err := divide(w.as(t, i), 0); SQLState(err) != "22012" {
					t.Errorf("by zero: %v", err)
				}
			default:
				right(t, db, i)
			}
		})
	})
	t.Run("who gives up while it travels, or before, leaves the others alone", func(t *testing.T) {
		db, _ := warm(t)
		for round := range 20 {
			ctx, cancel := context.WithCancel(w.as(t, 4))
			gathered(t, w, db, tenants, func(i int) {
				switch i {
				case 4:
					if got, err := title(ctx, db, 2); err == nil && got != w.scopes[i].slug+" 2" || err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("%q, %v", got, err)
					}
				case 5:
					right(t, db, i)
					cancel()
				default:
					right(t, db, i)
				}
			}, func() {
				if round%2 == 0 {
					cancel()
				}
			})
		}
		until(t, "the lane is idle", func() bool { return db.Stats()[0].InUse == 0 })
	})
	t.Run("one that has to be cancelled is, and the others are answered", func(t *testing.T) {
		db, _ := warm(t)
		lock, err := w.admin.Begin(t.Context())
		must(t, err)
		defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
		_, err = lock.Exec(t.Context(), "lock table t_4.books in access exclusive mode")
		must(t, err)
		gathered(t, w, db, tenants, func(i int) {
			if i != 4 {
				right(t, db, i)
				return
			}
			ctx, cancel := context.WithTimeout(w.as(t, i), 300*time.Millisecond)
			defer cancel()
			if _, err := title(ctx, db, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("behind a lock: %v", err)
			}
		})
	})
	t.Run("those behind one that waits for a lock are answered by other lanes", func(t *testing.T) {
		db, wire := warm(t)
		lock, err := w.admin.Begin(t.Context())
		must(t, err)
		defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
		_, err = lock.Exec(t.Context(), "lock table t_4.books in access exclusive mode")
		must(t, err)
		var others, blocked sync.WaitGroup
		others.Add(tenants - 1)
		blocked.Go(func() {
			others.Wait()
			must(t, lock.Rollback(t.Context()))
		})
		gathered(t, w, db, tenants, func(i int) {
			if i != 4 {
				defer others.Done()
			}
			right(t, db, i)
		})
		blocked.Wait()
		if n := wire.conns.Load(); n > 2 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("what may not be done twice travels alone", func(t *testing.T) {
		for sql, pure := range map[string]bool{
			`SELECT "books"."id" FROM "books" WHERE "books"."id" = $1 AND (stock > 0 OR title IN ('for', 'nextval(')) LIMIT $2`: true,
			`select count(*) from books`:                                 true,
			`select nextval('s')`:                                        false,
			`select pg_catalog."nextval" ('s')`:                          false,
			`select * from books where id = 1 for update`:                false,
			`select title into copy from books`:                          false,
			`select (select max(id) from books), coalesce(f(title), '')`: false,
		} {
			if isPure(sql) != pure {
				t.Errorf("%s: pure %t", sql, !pure)
			}
		}
	})
	t.Run("what takes long travels alone", func(t *testing.T) {
		db, _ := warm(t)
		slow := func(i int) error {
			var s string
			return db.Gorm(w.as(t, i)).Raw("select pg_sleep($1::float8)::text", 0.1).Scan(&s).Error
		}
		must(t, slow(0))
		key := statementKey{schema: "t_0", version: 1, sql: "select pg_sleep($1::float8)::text"}
		if db.router.clusters[DefaultCluster][0].quick(key) {
			t.Error("a tenth of a second is taken for quick")
		}
		gathered(t, w, db, 2, func(i int) {
			if i == 0 {
				if err := slow(1); err != nil {
					t.Error(err)
				}
				return
			}
			right(t, db, 2)
		})
	})
	t.Run("when their connection is lost, none hangs, and the next are answered", func(t *testing.T) {
		db, _ := warm(t)
		lock, err := w.admin.Begin(t.Context())
		must(t, err)
		_, err = lock.Exec(t.Context(), "lock table t_0.books in access exclusive mode")
		must(t, err)
		var reads sync.WaitGroup
		failed := make(chan error, tenants)
		reads.Go(func() { _, err := title(w.as(t, 0), db, 2); failed <- err })
		var pid int
		until(t, "it waits for the lock", func() bool {
			return w.admin.QueryRow(t.Context(), "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&pid) == nil
		})
		_, err = lock.Exec(t.Context(), "select pg_terminate_backend($1)", pid)
		must(t, err)
		reads.Wait()
		if err := <-failed; err == nil {
			t.Error("a lost connection answered")
		}
		must(t, lock.Rollback(t.Context()))
		for i := range tenants {
			right(t, db, i)
		}
	})
	t.Run("closing waits for them", func(t *testing.T) {
		db, _ := w.open(t, 1)
		for range 50 {
			_, err := title(w.as(t, 0), db, 1)
			must(t, err)
		}
		var reads sync.WaitGroup
		for i := range tenants {
			reads.Go(func() {
				for {
					if _, err := title(w.as(t, i), db, 2); err != nil {
						return // closed
					}
				}
			})
		}
		must(t, db.Close())
		reads.Wait()
	})
}

// TestShortWaysReadTheSame compares what GORM reads the short way with what it reads through database/sql, which it does in a
// transaction.
func TestShortWaysReadTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	type named string
	type all struct {
		Text, Varchar, Numeric, JSON string
		Named                        named
		Int2, Int4, Int8             int
		Long                         int64
		Small                        int32
		Float                        float64
		Bool                         bool
		Stamp, Zoned, Day            time.Time
		ID                           uuid.UUID
		Bytes                        []byte
		NullText                     *string
		NullInt                      *int
		NullTime                     *time.Time
		NullID                       *uuid.UUID
		Absent, Zero                 string
	}
	const values = `'é' as text, 'v'::varchar(3) as varchar, 1.50::numeric as numeric, '{"a": 1}'::jsonb as json, 'n' as named,
		-2::int2 as int2, -4::int4 as int4, -8::int8 as int8, 9007199254740993::int8 as long, 7::int4 as small, 0.1::float8 as float, true as bool,
		timestamp '1999-12-31 23:59:59.999999' as stamp, timestamptz '2026-03-03 16:00:16.123456+07' as zoned, date '2026-03-03' as day,
		'0192aaaa-0000-7000-8000-000000000001'::uuid as id, '\x00ff'::bytea as bytes`
	for name, nulls := range map[string]string{
		"with values": `'t' as null_text, 5 as null_int, timestamptz '2026-01-01' as null_time, '0192aaaa-0000-7000-8000-000000000002'::uuid as null_id`,
		"with nulls":  `null::text as null_text, null::int as null_int, null::timestamptz as null_time, null::uuid as null_id`,
		"unnamed":     `1 as unknown`,
	} {
		t.Run(name, func(t *testing.T) {
			sql := "select " + values + ", " + nulls + " from generate_series(1, 3)"
			read := func(ctx context.Context) (rows []all, maps []map[string]any) {
				must(t, db.Gorm(ctx).Raw(sql).Find(&rows).Error)
				must(t, db.Gorm(ctx).Raw(sql).Find(&maps).Error)
				return rows, maps
			}
			read(w.as(t, 0)) // from now on it is prepared
			rows, maps := read(w.as(t, 0))
			must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
				wantRows, wantMaps := read(ctx)
				if !reflect.DeepEqual(rows, wantRows) || len(rows) != 3 {
					t.Errorf("rows %+v, want %+v", rows, wantRows)
				}
				if !reflect.DeepEqual(maps, wantMaps) {
					t.Errorf("maps %+v, want %+v", maps, wantMaps)
				}
				return nil
			}))
		})
	}
	t.Run("what does not fit is refused alike", func(t *testing.T) {
		var n int
		short := db.Gorm(w.as(t, 0)).Raw("select null::int").Scan(&n).Error
		short = errors.Join(short, db.Gorm(w.as(t, 0)).Raw("select null::int").Scan(&n).Error)
		long := db.Tx(w.as(t, 0), func(ctx context.Context) error { return db.Gorm(ctx).Raw("select null::int").Scan(&n).Error })
		if (short == nil) != (long == nil) {
			t.Errorf("%v, want %v", short, long)
		}
	})
}
