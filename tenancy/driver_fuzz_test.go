package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// fuzzFor is how long each pool is exercised; HOMECORE_FUZZ=10m looks longer.
func fuzzFor(t *testing.T) time.Duration {
	if text := os.Getenv("HOMECORE_FUZZ"); text != "" {
		d, err := time.ParseDuration(text)
		must(t, err)
		return d
	}
	return 1000 * time.Millisecond
}

// workload is what every way of switching tenants is put through: it knows only handles that are said to be a tenant's.
type workload struct {
	w      *world
	handle func(ctx context.Context) *gorm.DB
	tx     func(ctx context.Context, fn func(ctx context.Context) error) error

	reads, leaks atomic.Int64
	leaked       atomic.Value
}

// look reads the canary and a row, and writes to it: all must be the tenant's own.
func (l *workload) look(ctx context.Context, tenant int) error {
	want := l.w.scopes[tenant].slug
	saw := func(got string) {
		l.reads.Add(1)
		if got != want {
			l.leaks.Add(1)
			l.leaked.Store(fmt.Sprintf("as %s saw %q", want, got))
		}
	}
	switch rand.N(4) {
	case 0:
		var found []string
		if err := l.handle(ctx).Raw("select tenant from canaries").Scan(&found).Error; err != nil {
			return err
		}
		saw(strings.Join(found, ","))
	case 1:
		var b book
		if err := l.handle(ctx).First(&b, 1+rand.N(3)).Error; err != nil {
			return err
		}
		saw(strings.Fields(b.Title)[0])
	case 2:
		var titles []string
		err := l.handle(ctx).Raw("update books set stock = stock + 1 where id = any($1) returning title", []int64{1 + rand.Int64N(3)}).Scan(&titles).Error
		if err != nil {
			return err
		}
		saw(strings.Fields(titles[0] + " ?")[0])
	case 3:
		rows, err := l.handle(ctx).Raw("select tenant from canaries, generate_series(1, 50)").Rows()
		if err != nil {
			return err
		}
		defer rows.Close()
		for n := rand.N(60); n > 0 && rows.Next(); n-- {
			var found string
			if err := rows.Scan(&found); err != nil {
				return err
			}
			saw(found)
		}
		if rand.N(2) == 0 {
			return rows.Close()
		}
	}
	return nil
}

var errFuzz = errors.New("fuzz")

// step does one of the things that happen to a request, in any of the ways it can end.
func (l *workload) step(ctx context.Context, tenant, depth int) (err error) {
	look := func(ctx context.Context) error { return l.look(ctx, tenant) }
	switch rand.N(10) {
	case 0, 1, 2:
		return look(ctx)
	case 3:
		return l.handle(ctx).Exec("select 1 / 0").Error
	case 4:
		short, cancel := context.WithTimeout(ctx, time.Duration(rand.N(3000))*time.Microsecond)
		defer cancel()
		return l.handle(short).Exec("select pg_sleep(0.002)").Error
	case 5:
		short, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := time.AfterFunc(time.Duration(rand.N(2000))*time.Microsecond, cancel)
		defer stop.Stop()
		return l.tx(short, func(ctx context.Context) error { return errors.Join(look(ctx), look(ctx)) })
	case 6:
		defer func() {
			if p := recover(); p != nil && p != errFuzz {
				panic(p)
			}
		}()
		return l.tx(ctx, func(ctx context.Context) error {
			_ = look(ctx)
			panic(errFuzz)
		})
	case 7:
		return l.tx(ctx, func(ctx context.Context) error {
			_ = look(ctx)
			_ = l.handle(ctx).Transaction(func(tx *gorm.DB) error { return tx.Exec("select nothing").Error })
			return look(ctx)
		})
	case 8:
		return l.tx(ctx, func(ctx context.Context) error {
			if depth < 2 {
				_ = l.step(ctx, tenant, depth+1)
			}
			if err := look(ctx); err != nil || rand.N(2) == 0 {
				return errFuzz
			}
			return nil
		})
	default:
		if depth > 0 {
			return look(ctx) // a goroutine inside a transaction would wait for the connection its parent holds
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _ = look(ctx) })
		}
		wg.Wait()
		return nil
	}
}

// run exercises the tenants from many goroutines.
func (l *workload) run(t *testing.T, scoped func(tenant int) context.Context) {
	ends := time.Now().Add(fuzzFor(t))
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for time.Now().Before(ends) {
				tenant := rand.N(len(l.w.scopes))
				_ = l.step(scoped(tenant), tenant, 0)
			}
		})
	}
	wg.Wait()
}

func TestDriverNeverShowsAForeignRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24, 2)
	for name, tt := range map[string]struct {
		conns   int
		options []func(*Config)
	}{
		"one connection":        {1, []func(*Config){func(cfg *Config) { cfg.Statements = 20 }}},
		"three connections":     {3, nil},
		"three behind a pooler": {3, []func(*Config){pooler}},
	} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, tt.conns, tt.options...)
			l := &workload{w: w, handle: db.Gorm, tx: db.Tx}
			l.run(t, func(tenant int) context.Context { return w.as(t, tenant) })
			for tenant := range w.scopes {
				if err := l.look(w.as(t, tenant), tenant); err != nil {
					t.Errorf("tenant %d afterwards: %v", tenant, err)
				}
			}
			t.Logf("%d rows, %d connections", l.reads.Load(), wire.conns.Load())
			if l.leaks.Load() > 0 || l.reads.Load() < 100 {
				t.Errorf("%d leaks in %d rows: %v", l.leaks.Load(), l.reads.Load(), l.leaked.Load())
			}
			for _, stats := range db.Stats() {
				if stats.InUse != 0 {
					t.Errorf("%+v", stats)
				}
			}
		})
	}
}

// The fuzzer must be able to fail: switching by SET on the pool, as most libraries do it, leaks under it.
func TestTheFuzzerFindsTheLeaksOfSessionSwitching(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24, 2)
	config, err := w.connect(0)
	must(t, err)
	config.User = "" // one login that may see all, as such libraries have it
	for _, s := range w.scopes {
		w.do(t, fmt.Sprintf("grant %s to %s", s.role, w.login(0)))
	}
	w.do(t, fmt.Sprintf("alter role %s inherit", w.login(0)))
	config.User = w.login(0)
	pool := stdlib.OpenDB(*config)
	defer pool.Close()
	pool.SetMaxOpenConns(3)
	naive, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard, DisableAutomaticPing: true})
	must(t, err)
	type tenantKey struct{}
	type handleKey struct{}
	handle := func(ctx context.Context) *gorm.DB {
		if tx, ok := ctx.Value(handleKey{}).(*gorm.DB); ok {
			return tx.WithContext(ctx)
		}
		db := naive.WithContext(ctx)
		db.Exec("set search_path = " + ctx.Value(tenantKey{}).(string))
		return db
	}
	l := &workload{w: w, handle: handle, tx: func(ctx context.Context, fn func(context.Context) error) error {
		if _, ok := ctx.Value(handleKey{}).(*gorm.DB); ok {
			return fn(ctx)
		}
		return handle(ctx).Transaction(func(tx *gorm.DB) error { return fn(context.WithValue(ctx, handleKey{}, tx)) }, &sql.TxOptions{})
	}}
	l.run(t, func(tenant int) context.Context {
		return context.WithValue(t.Context(), tenantKey{}, w.scopes[tenant].schema)
	})
	t.Logf("%d leaks in %d rows: %v", l.leaks.Load(), l.reads.Load(), l.leaked.Load())
	if l.leaks.Load() == 0 {
		t.Errorf("no leak in %d rows", l.reads.Load())
	}
}
