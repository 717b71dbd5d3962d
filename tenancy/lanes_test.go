package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hog keeps every lane of the tenant's group busy until the returned function is called.
func hog(t *testing.T, w *world, db *DB, tenant, lanes int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(w.as(t, tenant))
	var wait sync.WaitGroup
	for range lanes {
		wait.Go(func() { _ = db.Gorm(ctx).Exec("select pg_sleep(60)").Error })
	}
	until(t, "all lanes are busy", func() bool {
		var asleep int
		must(t, w.admin.QueryRow(t.Context(), `select count(*) from pg_stat_activity
			where datname = current_database() and application_name = $1 and wait_event = 'PgSleep'`, "hc:"+w.scopes[tenant].slug).Scan(&asleep))
		return asleep == lanes
	})
	return func() { cancel(); wait.Wait() }
}

func TestOneTenantDoesNotStarveItsGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, 1)

	t.Run("others are answered while its statements never end", func(t *testing.T) {
		for _, conns := range []int{1, 2} {
			db, wire := w.open(t, conns)
			stop := hog(t, w, db, 0, conns)
			for i := range 40 {
				other := 1 + i%2
				if found, err := canary(w.as(t, other), db); err != nil || found != w.scopes[other].slug {
					t.Error(found, err)
					break
				}
			}
			if n := wire.conns.Load(); n != int64(conns)+1 {
				t.Errorf("%d connections, want %d and a spare one", n, conns)
			}
			stop()
		}
	})
	t.Run("it has no use of the spare lane itself, and is told so in time", func(t *testing.T) {
		db, _ := w.open(t, 1, func(cfg *Config) { cfg.Wait = 200 * time.Millisecond })
		stop := hog(t, w, db, 0, 1)
		defer stop()
		if _, err := canary(w.as(t, 0), db); !errors.Is(err, ErrExhausted) {
			t.Error(err)
		}
	})
	t.Run("who waits for nothing any more leaves no lane behind", func(t *testing.T) {
		db, _ := w.open(t, 1)
		stop := hog(t, w, db, 0, 1)
		short, cancel := context.WithTimeout(w.as(t, 0), 50*time.Millisecond)
		defer cancel()
		if _, err := canary(short, db); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		stop()
		for tenant := range w.scopes {
			if _, err := canary(w.as(t, tenant), db); err != nil {
				t.Error(err)
			}
		}
		if s := db.Stats()[0]; s.InUse != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	g := newLaneGroup(1)
	first, err := g.acquire(t.Context(), "a", time.Minute)
	must(t, err)
	// Held as well, so that nobody takes a short cut by it.
	g.take(g.lanes[1], "nobody")
	var order []string
	var mu sync.Mutex
	var waiting atomic.Int64
	var wait sync.WaitGroup
	for _, tenant := range []string{"a", "a", "a", "a", "b", "c"} {
		wait.Go(func() {
			l, err := g.acquire(t.Context(), tenant, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, tenant)
			mu.Unlock()
			l.release()
		})
		waiting.Add(1)
		until(t, "it waits", func() bool { return int64(g.queued()) == waiting.Load() })
	}
	first.release()
	wait.Wait()
	if got := fmt.Sprint(order); got != "[a b c a a a]" {
		t.Errorf("turns: %s", got)
	}
}

// newLaneGroup is a group whose lanes are never used: only who gets them is looked at.
func newLaneGroup(size int) *group {
	g := &group{held: make(map[string]int)}
	for i := range size + 1 {
		g.lanes = append(g.lanes, &lane{group: g, spare: i == size})
	}
	return g
}

func (g *group) queued() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		for _, all := range l.waiting.of {
			n += len(all)
		}
	}
	return n
}
