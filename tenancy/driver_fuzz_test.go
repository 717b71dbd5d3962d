package tenancy

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
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

// fuzzFor is how long each pool is exercised: a moment, or as HOMECORE_FUZZ says, which is a duration (10m) or a number of
// statements (500000); see make fuzz-leaks.
func fuzzFor(t *testing.T) (d time.Duration, statements int64) {
	text := os.Getenv("HOMECORE_FUZZ")
	if text == "" {
		return time.Second, 0
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Hour, n
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d, 0
}

// workload is what every way of switching tenants is put through: it knows only handles that are said to be a tenant's.
type workload struct {
	w      *world
	handle func(ctx context.Context) *gorm.DB
	tx     func(ctx context.Context, fn func(ctx context.Context) error) error
	db     *DB // for what only it has; nil where the way of switching has nothing like it

	statements, reads, leaks, copied atomic.Int64
	leaked                           atomic.Value
}

// Start counts the statements: the workload is the DB's Tracer.
func (l *workload) Start(context.Context, Statement) EndOfStatement {
	l.statements.Add(1)
	return nil
}

func traced(l *workload) func(*Config) { return func(cfg *Config) { cfg.Tracer = l } }

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
	ways := 4
	if l.db != nil {
		ways = 5
	}
	switch rand.N(ways) {
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
	case 4:
		return l.copy(ctx, want, saw)
	}
	return nil
}

// copy writes rows that say whose they are, and reads the tenant's by COPY.
func (l *workload) copy(ctx context.Context, want string, saw func(string)) error {
	if rand.N(2) == 0 {
		first := 1000 + rand.Int64N(1<<40)*10
		var failure error
		if rand.N(4) == 0 {
			failure = errFuzz
		}
		n, err := l.db.CopyFrom(ctx, "books", []string{"id", "title"}, rowsOf(failure, []any{first, fmt.Sprint(want, " ", first)}, []any{first + 1, fmt.Sprint(want, " ", first+1)}))
		l.copied.Add(n)
		return err
	}
	var out bytes.Buffer
	if _, err := l.db.CopyTo(ctx, "select title from books order by id limit 20", &out); err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		saw(strings.Fields(line + " ?")[0])
	}
	return nil
}

var errFuzz = errors.New("fuzz")

// step does one of the things that happen to a request, in any of the ways it can end.
func (l *workload) step(ctx context.Context, tenant, depth int) (err error) {
	look := func(ctx context.Context) error { return l.look(ctx, tenant) }
	switch rand.N(12) {
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
	case 9: // a job: its context is not the request's, and the request has ended
		if depth > 0 {
			return look(ctx)
		}
		request, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		job := context.WithoutCancel(request)
		go func() { done <- l.tx(job, look) }()
		cancel()
		return errors.Join(look(request), <-done)
	case 10: // the tenant's own limit, met
		if l.db == nil || depth > 0 {
			return look(ctx)
		}
		limited := l.w.scopes[tenant]
		limited.timeout = time.Millisecond
		ctx := With(ctx, newScope(limited))
		return errors.Join(l.handle(ctx).Exec("select pg_sleep(0.002)").Error, look(ctx))
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
	d, statements := fuzzFor(t)
	ends := time.Now().Add(d)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for time.Now().Before(ends) && (statements == 0 || l.statements.Load() < statements) {
				tenant := rand.N(len(l.w.scopes))
				_ = l.step(scoped(tenant), tenant, 0)
			}
		})
	}
	wg.Wait()
}

// check fuzzes a DB and holds that no tenant has seen or written a row of another's.
func (l *workload) check(t *testing.T, db *DB) {
	t.Helper()
	l.db, l.handle, l.tx = db, db.Gorm, db.Tx
	began := time.Now()
	l.run(t, func(tenant int) context.Context { return l.w.as(t, tenant) })
	ran := time.Since(began)
	for tenant := range l.w.scopes {
		if err := l.look(l.w.as(t, tenant), tenant); err != nil && !errors.Is(err, errFuzz) {
			t.Errorf("tenant %d afterwards: %v", tenant, err)
			break // the next two hundred will be alike
		}
	}
	t.Logf("%d statements, %d rows seen, %d copied, %d leaks, %v", l.statements.Load(), l.reads.Load(), l.copied.Load(), l.leaks.Load(), ran.Round(time.Second))
	if l.leaks.Load() > 0 || l.reads.Load() < 100 {
		t.Errorf("%d leaks in %d rows: %v", l.leaks.Load(), l.reads.Load(), l.leaked.Load())
	}
	for _, stats := range db.Stats() {
		if stats.InUse != 0 {
			t.Errorf("%+v", stats)
		}
	}
	l.w.untouched(t)
}

// untouched looks from outside whether a tenant has a row that says it is another's.
func (w *world) untouched(t *testing.T) {
	t.Helper()
	var all []string
	for _, s := range w.scopes {
		all = append(all, fmt.Sprintf("select '%[1]s' as own, tenant as found from %[1]s.canaries union all select '%[1]s', split_part(title, ' ', 1) from %[1]s.books", s.schema))
	}
	var foreign, rows int
	must(t, w.admin.QueryRow(t.Context(), "select count(*) filter (where own <> found), count(*) from ("+strings.Join(all, " union all ")+") x").Scan(&foreign, &rows))
	if foreign != 0 || rows < 4*len(w.scopes) {
		t.Errorf("%d of %d rows are in the schema of another", foreign, rows)
	}
}

func TestDriverNeverShowsAForeignRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 200, 2)
	for name, tt := range map[string]struct {
		conns   int
		options []func(*Config)
	}{
		"one connection":              {1, []func(*Config){func(cfg *Config) { cfg.Statements = 20 }}},
		"three connections":           {3, nil},
		"three that prepare nothing":  {3, []func(*Config){pooler}},
		"three that are soon changed": {3, []func(*Config){func(cfg *Config) { cfg.Tenants = 20 }}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &workload{w: w}
			db, _ := w.open(t, tt.conns, append(tt.options, traced(l))...)
			l.check(t, db)
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
	// From PostgreSQL 16 on it is the grant that says whether rights are inherited, and it takes that from the role as it then is.
	w.do(t, fmt.Sprintf("alter role %s inherit", w.login(0)))
	for _, s := range w.scopes {
		w.do(t, fmt.Sprintf("revoke %[1]s from %[2]s; grant %[1]s to %[2]s", s.role, w.login(0)))
	}
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
