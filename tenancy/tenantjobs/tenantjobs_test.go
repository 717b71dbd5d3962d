package tenantjobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/jobs"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/tenantjobs"
)

type greet struct {
	Whom string `json:"whom"`
}

func (greet) Kind() string { return "test.greet" }
func (greet) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 3, UniqueOpts: river.UniqueOpts{ByPeriod: 24 * time.Hour}}
}

type greeter struct {
	river.WorkerDefaults[greet]
	log *slog.Logger

	mu   sync.Mutex
	done map[uuid.UUID][]string
}

func (g *greeter) Work(ctx context.Context, job *river.Job[greet]) error {
	s, err := tenancy.Current(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done[s.Tenant()] = append(g.done[s.Tenant()], job.Args.Whom)
	g.log.InfoContext(ctx, "greeted")
	return nil
}

func (g *greeter) of(tenant uuid.UUID) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.done[tenant], " ")
}

func TestJobsOfTenants(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	a := apptest.New(t)
	person := a.SignUp(t)
	mine, theirs := person.Onboard(t, "rapi-jahit").TenantID, person.Onboard(t, "maju-busana").TenantID
	if err := a.Runner.Stop(ctx); err != nil { // its workers do not know these jobs
		t.Fatal(err)
	}
	config, err := pgxpool.ParseConfig(a.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
	var out bytes.Buffer
	log := slog.New(tenancy.LogHandler(slog.NewTextHandler(&out, nil)))
	db, err := database.Open(ctx, config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	queue, err := jobs.NewQueue(db, log)
	if err != nil {
		t.Fatal(err)
	}
	workers := river.NewWorkers()
	g := &greeter{done: map[uuid.UUID][]string{}, log: log}
	tenantjobs.AddWorker(workers, a.Registry, g)
	runner, err := jobs.NewRunner(db, jobs.Config{Workers: 2}, workers, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := pgx.Connect(ctx, a.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { owner.Close(context.WithoutCancel(ctx)) })
	enter := func(tenant uuid.UUID) context.Context {
		entered, err := a.Registry.Enter(ctx, tenant)
		if err != nil {
			t.Fatal(err)
		}
		return entered
	}
	count := func(where string) (n int) {
		if err := owner.QueryRow(ctx, "select count(*) from central.river_job where kind = 'test.greet' and "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	set := func(tenant uuid.UUID, status string) {
		if _, err := owner.Exec(ctx, "update central.tenants set status = $2 where id = $1", tenant, status); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("one without a tenant cannot be made", func(t *testing.T) {
		if err := tenantjobs.Insert(ctx, queue, greet{"x"}, nil); !errors.Is(err, tenancy.ErrNoTenant) {
			t.Error(err)
		}
		if n := count("true"); n != 0 {
			t.Errorf("%d jobs", n)
		}
	})

	t.Run("each tenant has its own, unique or not, by its metadata too", func(t *testing.T) {
		for range 2 {
			for _, tenant := range []uuid.UUID{mine, theirs} {
				if err := tenantjobs.Insert(enter(tenant), queue, greet{"Budi"}, &river.InsertOpts{Metadata: []byte(`{"a": 1}`)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := count("max_attempts = 3 and metadata ->> 'a' = '1'"); n != 2 {
			t.Errorf("%d jobs", n)
		}
		if n := count(fmt.Sprintf("metadata ->> 'tenant' = 'rapi-jahit' and metadata ->> 'tenant_id' = '%s'", mine)); n != 1 {
			t.Errorf("%d jobs of mine", n)
		}
	})

	t.Run("it vanishes with the transaction", func(t *testing.T) {
		sentinel := errors.New("no")
		err := db.Tx(enter(mine), func(ctx context.Context) error {
			if err := tenantjobs.Insert(ctx, queue, greet{"tidak"}, nil); err != nil {
				return err
			}
			return sentinel
		})
		if err != sentinel || count("true") != 2 {
			t.Errorf("%v, %d jobs", err, count("true"))
		}
	})

	// One of each, before anybody works.
	if err := tenantjobs.Insert(enter(theirs), queue, greet{"Ani"}, nil); err != nil {
		t.Fatal(err)
	}
	set(theirs, "suspended")
	apptest.Until(t, "the suspension is known", func() bool { _, err := a.Registry.Enter(ctx, theirs); return err != nil })
	if err := runner.Start(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = runner.Stop(context.WithoutCancel(ctx)) })

	t.Run("a worker is in the job's tenant, and its logs say so", func(t *testing.T) {
		apptest.Until(t, "the job is done", func() bool { return g.of(mine) == "Budi" })
		g.mu.Lock()
		defer g.mu.Unlock()
		if !strings.Contains(out.String(), "tenant=rapi-jahit tenant_id="+mine.String()) {
			t.Errorf("logged %s", out.String())
		}
	})

	t.Run("a suspended tenant's wait, and use up no attempts", func(t *testing.T) {
		apptest.Until(t, "both wait", func() bool { return count("state = 'scheduled'") == 2 })
		if n := count("state = 'scheduled' and scheduled_at > now() + interval '1 minute' and coalesce(attempt, 0) = 0"); n != 2 || g.of(theirs) != "" {
			t.Errorf("%d jobs wait; done are %q", n, g.of(theirs))
		}
	})

	t.Run("they are done once it is back", func(t *testing.T) {
		set(theirs, "active")
		apptest.Until(t, "it is known", func() bool { _, err := a.Registry.Enter(ctx, theirs); return err == nil })
		if _, err := owner.Exec(ctx, "update central.river_job set scheduled_at = now() where kind = 'test.greet' and state = 'scheduled'"); err != nil {
			t.Fatal(err)
		}
		apptest.Until(t, "they are done", func() bool { return len(strings.Fields(g.of(theirs))) == 2 })
	})

	t.Run("one of a tenant that is gone is cancelled", func(t *testing.T) {
		gone := enter(mine)
		set(mine, "dropped")
		apptest.Until(t, "it is known", func() bool { _, err := a.Registry.Enter(ctx, mine); return errors.Is(err, tenancy.Unknown) })
		if err := tenantjobs.Insert(gone, queue, greet{"Cici"}, nil); err != nil {
			t.Fatal(err)
		}
		apptest.Until(t, "it is cancelled", func() bool { return count("state = 'cancelled'") == 1 })
	})
}
