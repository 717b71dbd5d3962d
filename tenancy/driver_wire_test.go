package tenancy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestDriverRoundTrips(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 1)
	one := func(t *testing.T, db *DB, tenant int) {
		t.Helper()
		var b book
		must(t, db.Gorm(w.as(t, tenant)).First(&b, 2).Error)
		if want := w.scopes[tenant].slug + " 2"; b.Title != want {
			t.Fatalf("read %q, want %q", b.Title, want)
		}
	}
	check := func(t *testing.T, got, want int64) {
		t.Helper()
		if got != want {
			t.Errorf("%d round trips, want %d", got, want)
		}
	}
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, wire := w.open(t, 1, options...)
			warm := func() { _, err := canary(w.as(t, 0), db); must(t, err) }
			warm() // connects

			t.Run("a read nobody has met takes one", func(t *testing.T) {
				check(t, wire.count(func() { one(t, db, 0) }), 1)
			})
			t.Run("a warm read takes one", func(t *testing.T) {
				check(t, wire.count(func() { one(t, db, 0) }), 1)
			})
			t.Run("the same read as another tenant takes one", func(t *testing.T) {
				check(t, wire.count(func() { one(t, db, 1) }), 1)
			})
			t.Run("a list argument costs one more, once in the process", func(t *testing.T) {
				read := func(tenant int) int64 {
					return wire.count(func() {
						var n int
						must(t, db.Gorm(w.as(t, tenant)).Raw("select count(*) from books where id = any($1)", []int64{1, 2}).Scan(&n).Error)
						if n != 2 {
							t.Errorf("%d rows, want 2", n)
						}
					})
				}
				check(t, read(0), 2)
				check(t, read(0), 1)
				check(t, read(1), 1)
			})
			t.Run("a create in its transaction takes two", func(t *testing.T) {
				check(t, wire.count(func() {
					must(t, db.Tx(w.as(t, 2), func(ctx context.Context) error {
						return db.Gorm(ctx).Create(&book{ID: 20, Title: "twenty"}).Error
					}))
				}), 2)
			})
			t.Run("three statements take four", func(t *testing.T) {
				check(t, wire.count(func() {
					must(t, db.Tx(w.as(t, 2), func(ctx context.Context) error {
						var b book
						return errors.Join(
							db.Gorm(ctx).First(&b, 20).Error,
							db.Gorm(ctx).Model(&b).Update("stock", 5).Error,
							db.Gorm(ctx).Delete(&b).Error,
						)
					}))
				}), 4)
			})
			t.Run("an empty transaction takes none", func(t *testing.T) {
				check(t, wire.count(func() {
					must(t, db.Tx(w.as(t, 0), func(context.Context) error { return nil }))
					if err := db.Tx(w.as(t, 0), func(context.Context) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}), 0)
			})
		})
	}
	t.Run("a pooler's connection keeps nothing of ours", func(t *testing.T) {
		t.Parallel()
		db, _ := w.open(t, 1, pooler)
		for tenant := range w.scopes {
			one(t, db, tenant)
			one(t, db, tenant)
		}
		var state string
		must(t, db.Gorm(w.as(t, 0)).Raw("select coalesce(string_agg(name, ','), '') from pg_prepared_statements").Scan(&state).Error)
		if state != "" {
			t.Errorf("prepared: %s", state)
		}
	})
	t.Run("a read another connection has met takes one", func(t *testing.T) {
		t.Parallel()
		db, wire := w.open(t, 2)
		_, err := canary(w.as(t, 0), db) // connects
		must(t, err)
		must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
			if _, err := canary(ctx, db); err != nil { // holds that connection
				return err
			}
			_, err := canary(w.as(t, 0), db) // connects another
			must(t, err)
			return db.Gorm(ctx).First(new(book), 2).Error // met by the first alone
		}))
		must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
			if _, err := canary(ctx, db); err != nil {
				return err
			}
			check(t, wire.count(func() { one(t, db, 0) }), 1)
			return nil
		}))
		if n := wire.conns.Load(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func TestDriverRefusesBeforeAnyIO(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	db, wire := w.open(t, 1)
	_, err := canary(w.as(t, 0), db)
	must(t, err)

	silent := func(t *testing.T, want error, do func() error) {
		t.Helper()
		before := wire.bytes.Load()
		if err := do(); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if sent := wire.bytes.Load() - before; sent != 0 {
			t.Errorf("%d bytes were sent", sent)
		}
	}
	elsewhere, outside := w.scopes[0], w.scopes[0]
	elsewhere.cluster, outside.group = "elsewhere", 1
	for name, tt := range map[string]struct {
		ctx  context.Context
		want error
	}{
		"no tenant":       {t.Context(), ErrNoTenant},
		"an empty scope":  {With(t.Context(), Scope{}), ErrNoTenant},
		"another cluster": {With(t.Context(), elsewhere), ErrMisplaced},
		"another group":   {With(t.Context(), outside), ErrMisplaced},
	} {
		t.Run(name, func(t *testing.T) {
			g := db.Gorm(tt.ctx)
			var n int
			silent(t, tt.want, func() error { return g.First(&book{}).Error })
			silent(t, tt.want, func() error { return g.Raw("select 1").Row().Scan(&n) })
			silent(t, tt.want, func() error { _, err := g.Raw("select 1").Rows(); return err })
			silent(t, tt.want, func() error { return g.Exec("select 1").Error })
			silent(t, tt.want, func() error { return g.Begin().Error })
			silent(t, tt.want, func() error {
				return db.Tx(tt.ctx, func(ctx context.Context) error { return db.Gorm(ctx).Exec("select 1").Error })
			})
			silent(t, tt.want, func() error { _, err := db.router.PrepareContext(tt.ctx, "select 1"); return err })
		})
	}
	t.Run("another tenant inside a transaction", func(t *testing.T) {
		other := w.as(t, 1)
		must(t, db.Tx(w.as(t, 0), func(ctx context.Context) error {
			if _, err := canary(ctx, db); err != nil {
				return err
			}
			as := With(ctx, w.scopes[1])
			silent(t, ErrTenantMismatch, func() error { _, err := canary(as, db); return err })
			silent(t, ErrTenantMismatch, func() error { return db.Tx(as, func(context.Context) error { return nil }) })
			silent(t, ErrTenantMismatch, func() error { return db.Gorm(ctx).WithContext(other).Exec("select 1").Error })
			silent(t, ErrNoTenant, func() error { return db.Gorm(ctx).WithContext(t.Context()).Exec("select 1").Error })
			return nil
		}))
	})
	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(w.as(t, 0))
		cancel()
		silent(t, context.Canceled, func() error { return db.Gorm(ctx).Exec("select 1").Error })
	})
}

func TestScopeSaysWhatItWasMadeWith(t *testing.T) {
	t.Parallel()
	id := uuid.New()
	s := newScope(Scope{tenant: id, slug: "s", schema: `a"b`, role: "r", cluster: "c", group: 3, version: 4, readOnly: true, timeout: time.Microsecond})
	if s.Tenant() != id || s.Slug() != "s" || s.Schema() != `a"b` || s.Role() != "r" || s.Cluster() != "c" || s.Group() != 3 ||
		s.Version() != 4 || !s.ReadOnly() || s.StatementTimeout() != time.Microsecond {
		t.Error(s)
	}
	if s.path != `"a""b", pg_temp` {
		t.Errorf("search_path %s", s.path)
	}
	if text := string(s.enterParams(false)[3]); text != "1" {
		t.Errorf("a timeout below a millisecond is %q, not 1: 0 would be none", text)
	}
	if got, err := Current(With(t.Context(), s)); err != nil || got != s {
		t.Error(got, err)
	}
}
