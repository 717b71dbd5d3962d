package migrate_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

var addNote = step("alter table taxonomies add column note text not null default '';", "create index taxonomies_note_idx on taxonomies (note);")

// counter counts statements.
type counter struct{ n atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}
func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestARun(t *testing.T) {
	t.Parallel()

	t.Run("with nothing to do asks once, whatever the number of tenants", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.tenants(t, 1)
		do(t, w.owner, `insert into tenancy.schemas (schema_name, role_name, login_group, tenant_id, state, is_open, version)
			select 't_' || i, 'r', 0, gen_random_uuid(), 'current', true, $1 from generate_series(1, 10000) i`, len(w.Fleet.Set()))
		counted := &counter{}
		config := w.owner.Config()
		config.ConnConfig.Tracer = counted
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		f, err := fleet.Load(t.Context(), w.config(pool))
		if err != nil {
			t.Fatal(err)
		}
		fastest := time.Hour
		for range 5 { // the machine may be busy with something else
			counted.n.Store(0)
			begun := time.Now()
			r, err := migrate.New(f).Run(t.Context(), migrate.Options{Workers: 4}, nil)
			fastest = min(fastest, time.Since(begun))
			if err != nil || r.Total != 0 || len(r.Waves) != 0 {
				t.Errorf("%+v, %v", r, err)
			}
			// One of the cluster's ledger, one of the registry.
			if n := counted.n.Load(); n > 2 {
				t.Errorf("%d statements", n)
			}
		}
		if fastest > time.Second {
			t.Errorf("it took %s", fastest)
		}
	})

	t.Run("applies a schema's whole lag, whatever the schema is for", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 5)
		do(t, w.owner, "update tenancy.schemas set state = 'retired', is_open = false where schema_name = $1", n[1].Schema)
		do(t, w.owner, "update tenancy.schemas set state = 'dropping', is_open = false where schema_name = $1", n[2].Schema)
		do(t, w.owner, "update tenancy.schemas set state = 'shadow', is_open = false where schema_name = any($1)", []string{n[3].Schema, n[4].Schema})
		warm, err := w.Fleet.Make(t.Context(), w.Fleet.Main(), nil, "warm", len(w.Fleet.Set()), true)
		if err != nil {
			t.Fatal(err)
		}
		do(t, w.owner, "update central.tenants set status = 'archived' where id = $1", n[0].id.String())
		runner := w.runner(t, addNote, step("alter table members add column note text;"))
		r, err := runner.Run(t.Context(), migrate.Options{Workers: 2}, nil)
		if err != nil || r.Migrated != 3 || r.Total != 3 || r.NotBegun != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		// A shadow is its maker's.
		if err := runner.Schema(t.Context(), w.Fleet.Main(), n[3].Schema); err != nil {
			t.Error(err)
		}
		was := len(w.Fleet.Set())
		w.at(t, n[0], was+2)
		for schema, want := range map[string]int{n[1].Schema: was + 2, n[2].Schema: was, n[3].Schema: was + 2, n[4].Schema: was, warm.Schema: was + 2} {
			if v := ask[int](t, w.owner, "select version from tenancy.schemas where schema_name = $1", schema); v != want {
				t.Errorf("%s is at %d, want %d", schema, v, want)
			}
		}
	})

	t.Run("grants what it creates to the tenant", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 1)[0]
		if _, err := w.runner(t, step("create table orders (id bigserial primary key);")).Run(t.Context(), migrate.Options{}, nil); err != nil {
			t.Fatal(err)
		}
		if !ask[bool](t, w.owner, "select has_table_privilege($1, $2, 'select, insert, update, delete') and has_sequence_privilege($1, $3, 'usage')",
			n.Role, n.in("orders"), n.in("orders_id_seq")) {
			t.Error("the tenant may not use it")
		}
	})

	t.Run("of one tenant leaves the others alone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 2)
		r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Slug: n[1].slug}, nil)
		if err != nil || r.Migrated != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		w.at(t, n[0], len(w.Fleet.Set()))
		w.at(t, n[1], len(w.Fleet.Set())+1)
		if r, err = w.runner(t, addNote).Run(t.Context(), migrate.Options{Slug: "tidak-ada"}, nil); err != nil || r.Total != 0 {
			t.Errorf("an unknown one: %+v, %v", r, err)
		}
	})

	t.Run("beside another one migrates each schema exactly once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 40)
		var reports [2]migrate.Report
		var wait sync.WaitGroup
		for i := range reports {
			wait.Go(func() {
				var err error
				// A second time would fail: the column is there.
				reports[i], err = w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2}, nil)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if reports[0].Migrated+reports[1].Migrated != len(n) {
			t.Errorf("%+v", reports)
		}
		for _, one := range n {
			w.at(t, one, len(w.Fleet.Set())+1)
		}
	})
}

func TestATenantThatFails(t *testing.T) {
	t.Parallel()

	t.Run("is rolled back, recorded and reported, and the others go on", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 6)
		bad := n[2]
		do(t, w.owner, "create index taxonomies_note_idx on "+bad.in("taxonomies")+" (name)") // the second statement fails
		runner := w.runner(t, addNote)
		var events []migrate.Event
		r, err := runner.Run(t.Context(), migrate.Options{Workers: 3}, func(e migrate.Event) {
			if e.Err != nil {
				events = append(events, e)
			}
		})
		if r.Migrated != 5 || r.Failed != 1 || err == nil || !strings.Contains(err.Error(), bad.slug) || errors.Is(err, migrate.ErrStopped) {
			t.Errorf("%+v, %v", r, err)
		}
		if len(r.Failures) != 1 || r.Failures[0].Slug != bad.slug || !strings.Contains(r.Failures[0].Failure, "taxonomies_note_idx") {
			t.Errorf("failures %+v", r.Failures)
		}
		// Once when it was its turn, once more at the end.
		if len(events) != 2 || events[0].Slug != bad.slug || events[0].Again || !events[1].Again {
			t.Errorf("events %+v", events)
		}
		if ask[bool](t, w.owner, "select exists (select from pg_attribute where attrelid = $1::regclass and attname = 'note')", bad.in("taxonomies")) {
			t.Error("half of the migration is there")
		}
		behind, err := runner.Behind(t.Context(), "")
		if err != nil || len(behind) != 1 || behind[0].Slug != bad.slug || behind[0].Attempts < 2 || behind[0].FailedAt == nil ||
			!strings.Contains(behind[0].Failure, "migration 00004_test_step") {
			t.Errorf("behind %+v, %v", behind, err)
		}
		do(t, w.owner, "drop index "+bad.in("taxonomies_note_idx"))
		if r, err := runner.Run(t.Context(), migrate.Options{}, nil); err != nil || r.Migrated != 1 {
			t.Errorf("once the cause is gone: %+v, %v", r, err)
		}
		for _, one := range n {
			w.at(t, one, len(w.Fleet.Set())+1)
		}
		if ask[int](t, w.owner, "select count(*) from tenancy.schemas where failure is not null or attempts > 0") != 0 {
			t.Error("the failure is remembered after all went well")
		}
	})

	t.Run("because of a lock keeps the others no longer than the limit, and is tried again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 5)
		release := hold(t, w.owner, "select count(*) from "+n[0].in("taxonomies")) // a long report
		type result struct {
			migrate.Report
			err error
		}
		done := make(chan result, 1)
		options := migrate.Options{Workers: 2, LockTimeout: 250 * time.Millisecond, Backoff: 50 * time.Millisecond, Attempts: 100}
		go func() {
			r, err := w.runner(t, addNote).Run(t.Context(), options, nil)
			done <- result{r, err}
		}()
		apptest.Until(t, "the others", func() bool {
			return ask[int](t, w.owner, "select count(*) from tenancy.schemas where version > $1", len(w.Fleet.Set())) == 4
		})
		apptest.Until(t, "the wait for the lock", func() bool {
			return ask[int](t, w.owner, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") > 0
		})
		begun := time.Now()
		ask[int](t, w.owner, "select count(*) from "+n[0].in("taxonomies")) // waits behind the migration
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("a request waited %s", took)
		}
		release()
		r := <-done
		if r.err != nil || r.Migrated != 5 || r.Failed != 0 {
			t.Errorf("%+v", r)
		}
		w.at(t, n[0], len(w.Fleet.Set())+1)
	})

	t.Run("because of a lock that stays is given up in the end", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 3)
		hold(t, w.owner, "lock table "+n[1].in("taxonomies")+" in share mode")
		r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2, LockTimeout: 50 * time.Millisecond, Backoff: time.Millisecond, Attempts: 3}, nil)
		if err == nil || r.Migrated != 2 || r.Failed != 1 || !strings.Contains(r.Failures[0].Failure, "55P03") {
			t.Errorf("%+v, %v", r, err)
		}
		if n := ask[int](t, w.owner, "select attempts from tenancy.schemas where schema_name = $1", n[1].Schema); n < 4 {
			t.Errorf("%d attempts are recorded", n)
		}
	})

	t.Run("more often than the budget allows stops the run", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 12)
		for _, bad := range n {
			do(t, w.owner, "alter table "+bad.in("taxonomies")+" add column note text")
		}
		none := 0
		for _, c := range []struct {
			budget *int
			failed int
		}{{nil, 2}, {&none, 1}} {
			r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 1, MaxFailures: c.budget}, nil)
			if !errors.Is(err, migrate.ErrStopped) || r.Stopped == "" || r.Failed != c.failed || r.NotBegun != 12-c.failed {
				t.Errorf("%+v, %v", r, err)
			}
		}
		all := len(n)
		if r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2, MaxFailures: &all}, nil); errors.Is(err, migrate.ErrStopped) || r.Failed != 12 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestCanaries(t *testing.T) {
	t.Parallel()

	t.Run("come first, and nobody begins the rest before they are done", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 8)
		do(t, w.owner, "update central.tenants set is_canary = true where id = $1", n[6].id.String())
		const claimed = "select 1 from tenancy.schemas where schema_name = $1 for update" // by another process
		first, second := hold(t, w.owner, claimed, n[3].Schema), hold(t, w.owner, claimed, n[6].Schema)
		var mu sync.Mutex
		var order []string
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() {
				r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2, Canaries: []string{n[3].slug}}, func(e migrate.Event) {
					mu.Lock()
					defer mu.Unlock()
					if !e.Elsewhere {
						order = append(order, e.Slug)
					}
				})
				if err != nil || len(r.Waves) != 2 || r.Waves[0].Name != "canary" || r.Waves[0].Total != 2 || r.Waves[1].Total != 6 {
					t.Errorf("%+v, %v", r, err)
				}
			})
		}
		apptest.Until(t, "both to have begun", func() bool {
			return ask[int](t, w.owner, "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'homecore migrate'") == 4
		})
		first()
		apptest.Until(t, "the one canary", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(order) > 0
		})
		if done := ask[int](t, w.owner, "select count(*) from tenancy.schemas where version > $1", len(w.Fleet.Set())); done != 1 {
			t.Errorf("%d are migrated before the canaries are done", done)
		}
		second()
		wait.Wait()
		if len(order) != 8 || order[0] != n[3].slug || order[1] != n[6].slug {
			t.Errorf("order %v", order)
		}
	})

	t.Run("that fail stop the run", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 4)
		do(t, w.owner, "alter table "+n[2].in("taxonomies")+" add column note text")
		r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2, Canaries: []string{n[2].slug}}, nil)
		if !errors.Is(err, migrate.ErrStopped) || r.Failed != 1 || r.Migrated != 0 || r.NotBegun != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		// Without waves it is one like any other.
		r, err = w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2, Canaries: []string{n[2].slug}, NoWaves: true}, nil)
		if errors.Is(err, migrate.ErrStopped) || r.Failed != 1 || r.Migrated != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRequestsGoOnMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	person := w.SignUp(t)
	members := []*apptest.Member{person.Onboard(t, "rapi-jahit"), person.Onboard(t, "maju-busana"), person.Onboard(t, "seragam-kita")}
	w.tenants(t, 20)
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	var answered, refused atomic.Int64
	for i, m := range members {
		wait.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				r := m.Get(t, "/master-data/taxonomies")
				if r.Status == http.StatusOK {
					code := "W" + strings.ToUpper(uuid.NewString()[:6])
					r = m.Post(t, "/master-data/taxonomies", map[string]any{"kind": "color", "code": code, "name": code})
				}
				switch {
				case r.Status < 300:
					answered.Add(1)
				case r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
					refused.Add(1)
				default:
					t.Errorf("tenant %d: %d %s", i, r.Status, r.Code)
				}
			}
		})
	}
	more := step("alter table taxonomies add column ordering int not null default 7;", "alter table taxonomies alter column description type varchar;")
	r, err := w.runner(t, addNote, more).Run(t.Context(), migrate.Options{Workers: 2}, nil)
	if err != nil || r.Migrated != 23 {
		t.Errorf("%+v, %v", r, err)
	}
	begun := answered.Load()
	apptest.Until(t, "answers afterwards", func() bool { return answered.Load() > begun+6 })
	stop()
	wait.Wait()
	t.Logf("%d answered, %d asked to come again", answered.Load(), refused.Load())
}

func TestSeveralClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := pgtest.Database(t)
	admin := openOwner(t, second)
	do(t, admin, "alter database "+quoteDatabase(t, second)+" owner to "+ownerOf(t, w.OwnerURL))
	admin.Close()
	w.refer["HOMECORE_CLUSTER_DUA"] = withDatabase(t, w.OwnerURL, second)
	f := w.fleet(t)
	config := w.config(w.owner)
	if err := f.AddCluster(t.Context(), config, fleet.Cluster{Name: "dua", URLRef: "HOMECORE_CLUSTER_DUA", Groups: 1}, func(string) string { return "x" }); err != nil {
		t.Fatal(err)
	}
	f = w.fleet(t)
	dua, err := f.Cluster("dua")
	if err != nil {
		t.Fatal(err)
	}
	here, there := w.tenants(t, 3), w.tenantsOn(t, dua, 9)
	bad := there[4]
	do(t, dua.Owner(), "alter table "+bad.in("taxonomies")+" add column note text")
	r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2}, nil)
	if err == nil || r.Migrated != 11 || r.Failed != 1 || r.Failures[0].Cluster != "dua" {
		t.Errorf("%+v, %v", r, err)
	}
	was := len(w.Fleet.Set())
	for _, one := range slices.Concat(here, there) {
		if one.id == bad.id {
			w.at(t, one, was)
			continue
		}
		w.at(t, one, was+1)
	}

	t.Run("what a crash left untold is told by the next run", func(t *testing.T) {
		do(t, w.owner, "update central.tenants set schema_version = $1 where id = $2", was, there[0].id.String())
		do(t, w.owner, "update central.tenants set schema_version = $1 where id = $2", was, here[0].id.String())
		do(t, dua.Owner(), "alter table "+bad.in("taxonomies")+" drop column note")
		if _, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{}, nil); err != nil {
			t.Fatal(err)
		}
		w.at(t, there[0], was+1)
		w.at(t, here[0], was+1)
		w.at(t, bad, was+1)
	})

	t.Run("one that is away does not keep the others", func(t *testing.T) {
		address := w.refer["HOMECORE_CLUSTER_DUA"]
		w.refer["HOMECORE_CLUSTER_DUA"] = "postgres://nobody@127.0.0.1:1/nowhere"
		steps := []string{"alter table members add column note text;"}
		r, err := w.runner(t, addNote, step(steps...)).Run(t.Context(), migrate.Options{}, nil)
		if err == nil || !strings.Contains(err.Error(), "cluster dua") || r.Migrated != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		w.refer["HOMECORE_CLUSTER_DUA"] = address
		if r, err := w.runner(t, addNote, step(steps...)).Run(t.Context(), migrate.Options{}, nil); err != nil || r.Migrated != 9 {
			t.Errorf("once it is back: %+v, %v", r, err)
		}
	})
}
