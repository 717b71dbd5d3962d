package tenancy

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"garment.id/homecore/platform/database"
)

func tenantScope(slug string) Scope {
	return newScope(Scope{tenant: uuid.New(), slug: slug, schema: "t_" + slug, role: slug, cluster: "main"})
}

func TestLogsNameTheTenant(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(LogHandler(slog.NewTextHandler(&out, nil)))
	s := tenantScope("rapi-jahit")
	line := func(ctx context.Context, log *slog.Logger, attrs ...slog.Attr) string {
		out.Reset()
		log.LogAttrs(ctx, slog.LevelInfo, "x", attrs...)
		return out.String()
	}
	named := "tenant=rapi-jahit tenant_id=" + s.tenant.String()
	ctx := With(t.Context(), s)
	for what, text := range map[string]string{
		"a record": line(ctx, log), "one with attributes": line(ctx, log.With("a", 1), slog.Int("b", 2)),
	} {
		if !strings.Contains(text, named) {
			t.Errorf("%s: %s", what, text)
		}
	}
	if text := line(t.Context(), log); strings.Contains(text, "tenant") {
		t.Errorf("without a tenant: %s", text)
	}
	if text := line(ctx, log, slog.GroupAttrs("", s.logAttrs()...)); strings.Count(text, "tenant=") != 1 {
		t.Errorf("one that names it: %s", text)
	}

	// As a slow query does it.
	out.Reset()
	query := database.QueryLog{Log: log, Slow: time.Nanosecond, Attrs: func(ctx context.Context) slog.Attr {
		s, _ := Current(ctx)
		return slog.GroupAttrs("", append(s.logAttrs(), slog.String("cluster", s.cluster))...)
	}}
	query.Trace(ctx, time.Now().Add(-time.Second), func() (string, int64) { return "select 1", 1 }, nil)
	if text := out.String(); !strings.Contains(text, named+" cluster=main") || strings.Count(text, "tenant=") != 1 {
		t.Errorf("a slow query: %s", text)
	}
}

func TestCacheKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	mine, theirs := tenantScope("rapi-jahit"), tenantScope("maju-busana")
	c := NewCache[string, string](100, time.Hour)
	loads := 0
	get := func(t *testing.T, s Scope) string {
		t.Helper()
		v, err := c.Get(With(t.Context(), s), "key", func(ctx context.Context) (string, error) {
			loads++
			in, err := Current(ctx)
			return fmt.Sprint(in.slug, " ", in.schema, " ", loads), err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := func(t *testing.T, s Scope, value string) {
		t.Helper()
		if got := get(t, s); got != value {
			t.Errorf("got %q, want %q", got, value)
		}
	}
	want(t, mine, "rapi-jahit t_rapi-jahit 1")
	want(t, theirs, "maju-busana t_maju-busana 2")
	want(t, mine, "rapi-jahit t_rapi-jahit 1")

	t.Run("forgets one tenant's, or one entry", func(t *testing.T) {
		if err := c.ForgetTenant(With(t.Context(), mine)); err != nil {
			t.Fatal(err)
		}
		want(t, mine, "rapi-jahit t_rapi-jahit 3")
		want(t, theirs, "maju-busana t_maju-busana 2")
		if err := c.Forget(With(t.Context(), theirs), "key"); err != nil {
			t.Fatal(err)
		}
		want(t, theirs, "maju-busana t_maju-busana 4")
	})

	t.Run("a restored tenant does not see what was before", func(t *testing.T) {
		moved := mine
		moved.schema = "t_restored"
		want(t, newScope(moved), "rapi-jahit t_restored 5")
	})

	t.Run("without a tenant there is nothing", func(t *testing.T) {
		_, err := c.Get(t.Context(), "key", func(context.Context) (string, error) { t.Error("loaded"); return "", nil })
		if err != ErrNoTenant || c.Forget(t.Context(), "key") != ErrNoTenant || c.ForgetTenant(t.Context()) != ErrNoTenant {
			t.Error(err)
		}
	})

	t.Run("a load is in nobody's transaction and outlives who asked first", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.WithValue(With(t.Context(), mine), txKey{}, openTx{}))
		loaded := false
		_, _ = c.Get(ctx, "other", func(ctx context.Context) (string, error) {
			cancel()
			loaded = ctx.Value(txKey{}) == nil && ctx.Err() == nil
			return "", nil
		})
		if !loaded {
			t.Error("it was not loaded so")
		}
	})
}

func TestFileKey(t *testing.T) {
	t.Parallel()
	s := tenantScope("rapi-jahit")
	ctx := With(t.Context(), s)
	if key, err := FileKey(ctx, "logo/besar.png"); err != nil || key != "tenants/"+s.tenant.String()+"/logo/besar.png" {
		t.Errorf("%q %v", key, err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../../x", "a//b", "a/"} {
		if key, err := FileKey(ctx, name); err == nil {
			t.Errorf("%q is %q", name, key)
		}
	}
	if _, err := FileKey(t.Context(), "x"); err != ErrNoTenant {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics(func() []Stats { return []Stats{{Cluster: "main", Group: 1, Open: 2, InUse: 1, Waiting: 3, Moved: 4}} })
	now := time.Now()
	m.now = func() time.Time { return now }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)

	for range 3 * busiest {
		m.count(tenantScope("lain"), now, time.Millisecond, nil)
	}
	loud := tenantScope("rapi-jahit")
	end := m.Start(t.Context(), Statement{Scope: loud})
	now = now.Add(time.Minute)
	end(Outcome{Err: &EntryError{}})

	t.Run("has a bounded number of series, the busiest tenants among them", func(t *testing.T) {
		if n, err := testutil.GatherAndCount(registry, "homecore_tenants_busiest"); err != nil || n != busiest {
			t.Errorf("%d tenants %v", n, err)
		}
		if top := m.top()[0]; top.slug != "rapi-jahit" || top.tenant != loud.tenant || top.load < 0.1 || top.load > 0.2 {
			t.Errorf("the busiest is %v", top)
		}
		if n, err := testutil.GatherAndCount(registry); err != nil || n > busiest+15 {
			t.Errorf("%d series %v", n, err)
		}
	})

	t.Run("says how the pools are", func(t *testing.T) {
		err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP homecore_tenants_connections Connections to the tenants' databases.
# TYPE homecore_tenants_connections gauge
homecore_tenants_connections{cluster="main",group="1"} 2
# HELP homecore_tenants_moved_total Calls made once more because their tenant had moved.
# TYPE homecore_tenants_moved_total counter
homecore_tenants_moved_total{cluster="main",group="1"} 4
# HELP homecore_tenants_waiting Calls that wait for a connection now.
# TYPE homecore_tenants_waiting gauge
homecore_tenants_waiting{cluster="main",group="1"} 3
`), "homecore_tenants_connections", "homecore_tenants_moved_total", "homecore_tenants_waiting")
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("forgets who has been quiet", func(t *testing.T) {
		now = now.Add(24 * time.Hour)
		if n := len(m.top()); n != 0 {
			t.Errorf("%d tenants", n)
		}
	})

	t.Run("has a word for every outcome", func(t *testing.T) {
		for err, want := range map[error]string{
			nil: "ok", sql.ErrNoRows: "ok", &EntryError{}: "refused", ErrExhausted: "exhausted", ErrNoTenant: "misuse",
			context.Canceled: "cancelled", context.DeadlineExceeded: "timeout", &pgconn.PgError{Code: "57014"}: "timeout",
			&pgconn.PgError{Code: "57P01"}: "unavailable", &pgconn.PgError{Code: "23505"}: "constraint", IsReadOnly: "read_only",
			&pgconn.PgError{Code: "40001"}: "conflict", errors.New("x"): "error", &pgconn.PgError{Code: "42601"}: "error",
		} {
			if got := outcome(err); got != want {
				t.Errorf("%v is %s, want %s", err, got, want)
			}
		}
	})
}
