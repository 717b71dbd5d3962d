package tenancy

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A backend keeps what it has read of each tenant's tables: it is given back before that is too much.
func TestConnectionsAreReplacedAfterSoManyTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, 1)
	for atMost, want := range map[int]int64{2: 3, 0: 1} { // 0: as many as there usually are
		db, wire := w.open(t, 1, func(cfg *Config) { cfg.Tenants = atMost })
		for _, i := range []int{0, 0, 0, 1, 2, 3, 4, 5} { // the same tenant again counts once
			if found, err := canary(w.as(t, i), db); err != nil || found != w.scopes[i].slug {
				t.Error(found, err)
			}
		}
		if n := wire.conns.Load(); n != want {
			t.Errorf("with at most %d tenants each: %d connections for %d tenants, want %d", atMost, n, len(w.scopes), want)
		}
	}
}

// Whoever reads our log, or Postgres's, sees whose statement was slow.
func TestSlowStatementsNameTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	var log strings.Builder
	db, _ := w.open(t, 1, func(cfg *Config) {
		cfg.SlowQuery, cfg.Logger = time.Nanosecond, slog.New(slog.NewTextHandler(&log, nil))
	})
	for i, s := range w.scopes {
		log.Reset()
		var application string
		must(t, db.Gorm(w.as(t, i)).Raw("select current_setting('application_name')").Scan(&application).Error)
		if application != "hc:"+s.slug {
			t.Errorf("to Postgres it is %q", application)
		}
		if want := "tenant=" + s.slug + " tenant_id=" + s.tenant.String() + " cluster=main"; !strings.Contains(log.String(), want) {
			t.Errorf("logged %s, want %s", &log, want)
		}
	}
	if found, err := naked(t, w.as(t, 0), db, "select current_setting('application_name')"); err != nil || strings.HasPrefix(found, "hc:") {
		t.Errorf("between tenants it is %q, %v", found, err)
	}
}
