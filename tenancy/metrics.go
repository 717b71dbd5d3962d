package tenancy

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"garment.id/homecore/platform/database"
)

// Metrics are what a monitor wants to know of the tenants' database. The number of series does not grow with the number of
// tenants: of single ones it shows the busiest. It is the Tracer of its DB.
type Metrics struct {
	stats func() []Stats

	statements *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	busy       [16]busyShard
	now        func() time.Time

	pools []pool
	load  *prometheus.Desc
}

// pool is one figure of every group's connections.
type pool struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(Stats) float64
}

func newPool(name, help string, kind prometheus.ValueType, value func(Stats) float64) pool {
	return pool{prometheus.NewDesc(name, help, []string{"cluster", "group"}, nil), kind, value}
}

const (
	busiest  = 100             // tenants that are shown
	halfLife = 5 * time.Minute // of what a tenant has used
)

// busyShard keeps what tenants have used, fading; shards keep processors out of each other's way.
type busyShard struct {
	mu   sync.Mutex
	used map[uuid.UUID]*usage
}

type usage struct {
	slug    string
	seconds float64 // as of at
	at      time.Time
}

func (u *usage) asOf(now time.Time) float64 {
	return u.seconds * math.Exp2(-now.Sub(u.at).Seconds()/halfLife.Seconds())
}

// NewMetrics returns a collector that asks stats for the state of the pools: DB.Stats.
func NewMetrics(stats func() []Stats) *Metrics {
	m := &Metrics{
		stats: stats, now: time.Now,
		statements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "homecore_tenants_statements_total", Help: "Statements of tenants, by cluster and what became of them.",
		}, []string{"cluster", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "homecore_tenants_statement_seconds", Help: "Time a statement of a tenant took once it had a connection.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"cluster"}),
		pools: []pool{
			newPool("homecore_tenants_connections", "Connections to the tenants' databases.", prometheus.GaugeValue, func(s Stats) float64 { return float64(s.Open) }),
			newPool("homecore_tenants_connections_in_use", "Connections that serve somebody now.", prometheus.GaugeValue, func(s Stats) float64 { return float64(s.InUse) }),
			newPool("homecore_tenants_waiting", "Calls that wait for a connection now.", prometheus.GaugeValue, func(s Stats) float64 { return float64(s.Waiting) }),
			newPool("homecore_tenants_waits_total", "Calls that had to wait for a connection.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Waits) }),
			newPool("homecore_tenants_wait_seconds_total", "How long calls waited for a connection, in all.", prometheus.CounterValue, func(s Stats) float64 { return s.WaitTime.Seconds() }),
			newPool("homecore_tenants_exhausted_total", "Calls that waited for a connection in vain.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Exhausted) }),
			newPool("homecore_tenants_moved_total", "Calls made once more because their tenant had moved.", prometheus.CounterValue, func(s Stats) float64 { return float64(s.Moved) }),
		},
		load: prometheus.NewDesc("homecore_tenants_busiest", "Connections a tenant kept busy on average over the last minutes, for the hundred busiest.",
			[]string{"tenant", "slug"}, nil),
	}
	for i := range m.busy {
		m.busy[i].used = make(map[uuid.UUID]*usage)
	}
	return m
}

// Start implements Tracer.
func (m *Metrics) Start(_ context.Context, s Statement) EndOfStatement {
	began := m.now()
	return func(o Outcome) {
		now := m.now()
		m.count(s.Scope, now, now.Sub(began), o.Err)
	}
}

func (m *Metrics) count(s Scope, now time.Time, took time.Duration, err error) {
	m.statements.WithLabelValues(s.cluster, outcome(err)).Inc()
	m.seconds.WithLabelValues(s.cluster).Observe(took.Seconds())
	shard := &m.busy[s.tenant[15]%16] // the last byte of an id is random
	shard.mu.Lock()
	defer shard.mu.Unlock()
	u, ok := shard.used[s.tenant]
	if !ok {
		u = &usage{at: now}
		shard.used[s.tenant] = u
	}
	u.slug, u.seconds, u.at = s.slug, u.asOf(now)+took.Seconds(), now
}

// outcome is the class of what became of a statement: one of a dozen words.
func outcome(err error) string {
	var entry *EntryError
	var pg *pgconn.PgError
	isPg := errors.As(err, &pg)
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return "ok"
	case errors.As(err, &entry):
		return "refused"
	case errors.Is(err, ErrExhausted):
		return "exhausted"
	case errors.Is(err, ErrNoTenant), errors.Is(err, ErrTenantMismatch), errors.Is(err, ErrMisplaced), errors.Is(err, ErrBusy):
		return "misuse"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), isPg && pg.Code == "57014":
		return "timeout"
	case errors.Is(err, IsReadOnly):
		return "read_only"
	case database.Unavailable(err):
		return "unavailable"
	case isPg && strings.HasPrefix(pg.Code, "23"):
		return "constraint"
	case isPg && (strings.HasPrefix(pg.Code, "40") || pg.Code == "55P03"):
		return "conflict" // serialization, deadlock, lock not available
	}
	return "error"
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	m.statements.Describe(to)
	m.seconds.Describe(to)
	for _, p := range m.pools {
		to <- p.desc
	}
	to <- m.load
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.statements.Collect(to)
	m.seconds.Collect(to)
	for _, s := range m.stats() {
		group := strconv.Itoa(s.Group)
		for _, p := range m.pools {
			to <- prometheus.MustNewConstMetric(p.desc, p.kind, p.value(s), s.Cluster, group)
		}
	}
	for _, b := range m.top() {
		to <- prometheus.MustNewConstMetric(m.load, prometheus.GaugeValue, b.load, b.tenant.String(), b.slug)
	}
}

type busyTenant struct {
	tenant uuid.UUID
	slug   string
	load   float64
}

// top returns the busiest tenants, and forgets those that have faded.
func (m *Metrics) top() []busyTenant {
	now := m.now()
	var all []busyTenant
	for i := range m.busy {
		shard := &m.busy[i]
		shard.mu.Lock()
		for id, u := range shard.used {
			seconds := u.asOf(now)
			if seconds < 1e-4 {
				delete(shard.used, id)
				continue
			}
			// Used at a constant rate r, seconds settles at r × half-life ÷ ln 2.
			all = append(all, busyTenant{id, u.slug, seconds * math.Ln2 / halfLife.Seconds()})
		}
		shard.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b busyTenant) int {
		return cmp.Or(cmp.Compare(b.load, a.load), strings.Compare(a.slug, b.slug))
	})
	return all[:min(len(all), busiest)]
}
