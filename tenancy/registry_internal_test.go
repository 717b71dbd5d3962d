package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/fault"
)

// remembering is a registry whose database is a function, on a clock that the test turns.
type remembering struct {
	*Registry
	tenant  Tenant
	queries atomic.Int64
	away    atomic.Bool
	clock   atomic.Int64
}

func newRemembering() *remembering {
	r := &remembering{Registry: NewRegistry(nil, "garment.id", 3), tenant: Tenant{
		ID: uuid.New(), Slug: "rapi-jahit", Status: Active, SchemaName: "t_a", RoleName: "a", SchemaVersion: 3, Cluster: DefaultCluster}}
	begin := time.Now()
	r.now = func() time.Time { return begin.Add(time.Duration(r.clock.Load())) }
	r.reads.now = r.now
	r.reads.query = func(_ context.Context, keys []key) (map[key]Tenant, error) {
		r.queries.Add(1)
		if r.away.Load() {
			return nil, errors.New("away")
		}
		found := map[key]Tenant{}
		for _, k := range keys {
			if k.id == r.tenant.ID || k.name == r.tenant.Slug || k.name == "jahit.example.com" {
				found[k] = r.tenant
			}
		}
		return found, nil
	}
	return r
}

func (r *remembering) pass(d time.Duration) { r.clock.Add(int64(d)) }

// asks returns how many queries f takes.
func (r *remembering) asks(f func()) int64 {
	before := r.queries.Load()
	f()
	return r.queries.Load() - before
}

func (r *remembering) resolve(t *testing.T, host string, want error) {
	t.Helper()
	if _, err := r.Resolve(t.Context(), host); !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", host, err, want)
	}
}

func TestRegistryRemembers(t *testing.T) {
	t.Parallel()
	const host, domain = "rapi-jahit.garment.id", "jahit.example.com"

	t.Run("for two seconds while it hears of nothing, for a minute while it does", func(t *testing.T) {
		t.Parallel()
		r := newRemembering()
		for heard, limit := range map[bool]time.Duration{false: 2 * time.Second, true: time.Minute} {
			r.listening.Store(heard)
			for _, name := range []string{host, domain} {
				r.forgetAll()
				enter := func() {
					r.resolve(t, name, nil)
					if _, err := r.Enter(t.Context(), r.tenant.ID); err != nil {
						t.Error(err)
					}
				}
				if n := r.asks(enter); n != 1 {
					t.Errorf("heard %t: %d queries at first", heard, n)
				}
				r.pass(limit - time.Millisecond)
				if n := r.asks(enter); n != 0 {
					t.Errorf("heard %t: %d queries while fresh", heard, n)
				}
				r.pass(time.Millisecond)
				if n := r.asks(enter); n != 1 {
					t.Errorf("heard %t: %d queries once stale", heard, n)
				}
			}
		}
	})

	t.Run("who cannot be entered is read again every second", func(t *testing.T) {
		t.Parallel()
		for _, shut := range []func(*Tenant){
			func(t *Tenant) { t.Status = Maintenance }, func(t *Tenant) { t.SchemaVersion = 2 }, func(t *Tenant) { t.Status = Suspended },
		} {
			r := newRemembering()
			r.listening.Store(true)
			shut(&r.tenant)
			ask := func() { _, _ = r.Enter(t.Context(), r.tenant.ID) }
			for range 3 {
				if n := r.asks(func() { ask(); ask(); ask() }); n != 1 {
					t.Errorf("%d queries", n)
				}
				r.pass(time.Second)
			}
		}
	})

	t.Run("what it hears of is read anew, and a name that has a new tenant is not the old one's", func(t *testing.T) {
		t.Parallel()
		r := newRemembering()
		r.listening.Store(true)
		r.resolve(t, host, nil)
		r.resolve(t, domain, nil)
		r.resolve(t, "lain.garment.id", Unknown)
		r.tenant.Slug = "lain"
		r.heard(r.tenant.ID.String() + " rapi-jahit")
		r.heard(r.tenant.ID.String() + " lain")
		r.resolve(t, "lain.garment.id", nil)
		r.resolve(t, host, Unknown)
		if found, err := r.Resolve(t.Context(), domain); err != nil || found.Slug != "lain" {
			t.Errorf("%s is %s (%v)", domain, found.Slug, err)
		}
		r.heard("domain " + domain)
		if n := r.asks(func() { r.resolve(t, domain, nil) }); n != 1 {
			t.Errorf("%d queries", n)
		}
		r.heard("listener x")
		r.heard("")
	})

	t.Run("a change that comes while it reads is not forgotten over the answer", func(t *testing.T) {
		t.Parallel()
		r := newRemembering()
		r.listening.Store(true)
		query := r.reads.query
		for _, change := range []func(){
			func() { r.heard(r.tenant.ID.String() + " rapi-jahit") }, r.forgetAll,
		} {
			r.reads.query = func(ctx context.Context, keys []key) (map[key]Tenant, error) {
				found, err := query(ctx, keys)
				change()
				return found, err
			}
			if n := r.asks(func() { r.resolve(t, host, nil); r.resolve(t, host, nil) }); n != 2 {
				t.Errorf("%d queries", n)
			}
		}
	})

	t.Run("while the database is away, two minutes are survived and no more", func(t *testing.T) {
		t.Parallel()
		r := newRemembering()
		r.resolve(t, host, nil)
		r.away.Store(true)
		r.pass(2 * time.Second)
		r.resolve(t, host, nil)
		if n := r.asks(func() { r.resolve(t, host, nil); r.resolve(t, host, nil) }); n != 0 {
			t.Errorf("%d queries a moment after one has failed", n)
		}
		if _, err := r.Resolve(t.Context(), "lain.garment.id"); err == nil || errors.Is(err, Unknown) {
			t.Errorf("a name never seen: %v", err)
		}
		r.pass(2*time.Minute - 3*time.Second)
		r.resolve(t, host, nil)
		r.pass(time.Second)
		if _, err := r.Resolve(t.Context(), host); err == nil || errors.Is(err, Unknown) {
			t.Errorf("after two minutes: %v", err)
		}
		r.away.Store(false)
		r.resolve(t, host, nil)
	})
}

func TestRegistryIsNotHammered(t *testing.T) {
	t.Parallel()
	r := newRemembering()
	query := r.reads.query
	release := make(chan struct{})
	var most atomic.Int64
	r.reads.query = func(ctx context.Context, keys []key) (map[key]Tenant, error) {
		most.Store(max(most.Load(), int64(len(keys))))
		<-release
		return query(ctx, keys)
	}

	t.Run("thousands of names at once are a few queries, and who comes when they are full is told to try again", func(t *testing.T) {
		var wait sync.WaitGroup
		var refused atomic.Int64
		for i := range 3_000 {
			wait.Go(func() {
				_, err := r.Resolve(t.Context(), fmt.Sprintf("n%d.garment.id", i))
				switch {
				case errors.Is(err, fault.ServiceUnavailable):
					refused.Add(1)
				case !errors.Is(err, Unknown):
					t.Error(err)
				}
			})
		}
		// The first is being read, a thousand go together with the next.
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); refused.Load() < 3_000-1-maxTogether; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%d are refused", refused.Load())
			}
		}
		close(release)
		wait.Wait()
		if n := r.queries.Load(); n != 2 || most.Load() != maxTogether {
			t.Errorf("%d queries, of %d names at most", n, most.Load())
		}
	})

	t.Run("unknown names do not grow memory", func(t *testing.T) {
		for i := range 3 * maxUnknown {
			r.keep(key{name: fmt.Sprintf("m%d", i)}, Tenant{}, false, r.now())
		}
		r.unknown.CleanUp()
		if n := r.unknown.EstimatedSize(); n > maxUnknown {
			t.Errorf("%d are kept", n)
		}
	})

	t.Run("a host that can be nobody's costs nothing", func(t *testing.T) {
		if n := r.asks(func() {
			for _, host := range []string{"garment.id", ".garment.id", "a.b.garment.id", "localhost", ""} {
				r.resolve(t, host, Unknown)
			}
		}); n != 0 {
			t.Errorf("%d queries", n)
		}
	})
}
