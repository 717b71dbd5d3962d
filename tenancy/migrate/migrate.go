package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
)

// Options choose what is migrated, and how carefully.
type Options struct {
	Slug        string   // one tenant only; empty: all
	Workers     int      // schemas at a time on each cluster; at least one
	Canaries    []string // slugs that come first in this run, beside those marked in the registry
	NoWaves     bool     // all at once
	MaxFailures *int     // that a wave may have before the run stops; nil: one, or one in a hundred if that is more, and no canary

	LockTimeout time.Duration // how long a statement waits for a lock; default 2 s
	Attempts    int           // that waited in vain before that counts as a failure; default 5
	Backoff     time.Duration // after the first such attempt, doubled with each; default 1 s
}

func (o Options) complete() Options {
	o.Workers = max(1, o.Workers)
	o.LockTimeout = cmp.Or(o.LockTimeout, 2*time.Second)
	o.Attempts = cmp.Or(o.Attempts, 5)
	o.Backoff = cmp.Or(o.Backoff, time.Second)
	return o
}

// Behind is a schema that is older than the binary.
type Behind struct {
	ID       uuid.UUID  `json:"id,omitzero"` // of the tenant; none for a warm schema
	Slug     string     `json:"slug"`        // of the tenant; the schema's name for a warm schema
	Cluster  string     `json:"cluster"`
	Schema   string     `json:"schema"`
	State    string     `json:"state"`
	Version  int        `json:"version"`
	Failure  string     `json:"failure,omitempty"` // of the last attempt
	FailedAt *time.Time `json:"failed_at,omitempty"`
	Attempts int        `json:"attempts,omitempty"` // that failed
}

// Event is one schema done, or failed.
type Event struct {
	Behind
	To        int
	Err       error
	Elsewhere bool // another process did it
	Again     bool // it had failed, and this is the attempt at the end of the run
	Wave      string
	Done      int // schemas of the run that are migrated or have failed
	Failed    int
	Total     int
}

// Report is what a run did.
type Report struct {
	Target    int       `json:"target"` // the newest migration
	Total     int       `json:"total"`  // schemas that were behind
	Migrated  int       `json:"migrated"`
	Elsewhere int       `json:"elsewhere"` // done by another process meanwhile
	Failed    int       `json:"failed"`
	NotBegun  int       `json:"not_begun"` // since the run was stopped
	Stopped   string    `json:"stopped,omitempty"`
	Seconds   float64   `json:"seconds"`
	Waves     []Wave    `json:"waves"`
	Failures  []Failure `json:"failures"`
}

// Wave is what became of one of a run's waves.
type Wave struct {
	Name      string  `json:"name"`
	Total     int     `json:"total"`
	Migrated  int     `json:"migrated"`
	Elsewhere int     `json:"elsewhere"`
	Failed    int     `json:"failed"`
	Seconds   float64 `json:"seconds"`
}

// Failure is a schema that could not be migrated.
type Failure struct {
	Slug    string `json:"slug"`
	Cluster string `json:"cluster"`
	Schema  string `json:"schema"`
	Version int    `json:"version"` // that it is still at
	Failure string `json:"failure"`
}

// ErrStopped is in the error of a run that has used up the failures a wave may have.
var ErrStopped = errors.New("stopped")

// Runner migrates. It is safe for concurrent use, in any number of processes.
type Runner struct {
	fleet *fleet.Fleet
	set   []migrations.Migration
}

// New returns a Runner that brings the fleet's schemas to its set.
func New(f *fleet.Fleet) *Runner { return &Runner{fleet: f, set: f.Set()} }

// schema is one that is behind, in a run.
type schema struct {
	Behind
	cluster  *fleet.Cluster
	isOpen   bool
	isCanary bool
	tries    int
	err      error
}

// list is what is behind on all clusters.
type list struct {
	schemas  []*schema
	standing int // schemas in all
	asOf     map[string]time.Time
	away     error // clusters that could not be asked
}

// Behind returns the schemas that are older than the set, by one query on each cluster's ledger: of one tenant, or of all
// where slug is empty. A shadow is not among them: it is the business of who fills it, until it takes a tenant's place.
func (r *Runner) Behind(ctx context.Context, slug string) ([]Behind, error) {
	l, err := r.list(ctx, slug)
	if err = errors.Join(err, l.away); err != nil {
		return nil, err
	}
	var out []Behind
	for _, s := range l.schemas {
		out = append(out, s.Behind)
	}
	return out, nil
}

func (r *Runner) list(ctx context.Context, slug string) (list, error) {
	l := list{asOf: map[string]time.Time{}}
	var only *string
	if slug != "" {
		var id string
		err := r.fleet.Main().Owner().QueryRow(ctx, "select id::text from central.tenants where slug = $1", slug).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return l, nil
		}
		if err != nil {
			return l, fmt.Errorf("look for tenant %s: %w", slug, err)
		}
		only = &id
	}
	for _, c := range r.fleet.Clusters() {
		if err := r.listOn(ctx, c, only, &l); err != nil {
			err = fmt.Errorf("find the schemas that are behind on cluster %s: %w", c.Name, err)
			var pg *pgconn.PgError
			if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000" || pg.Code == "42703") { // no such table, schema or column
				err = fmt.Errorf("%w (run homecore migrate up)", err)
			}
			l.away = errors.Join(l.away, err)
		}
	}
	if len(l.schemas) == 0 {
		return l, nil
	}
	return l, r.named(ctx, l.schemas)
}

func (r *Runner) listOn(ctx context.Context, c *fleet.Cluster, tenant *string, l *list) error {
	// The counts are computed only if there is a row.
	rows, err := c.Owner().Query(ctx, `select schema_name, tenant_id, state, is_open, version, coalesce(failure, ''), failed_at, attempts,
			(select count(*) from tenancy.schemas where state not in ('shadow', 'dropping')), now()
		from tenancy.schemas where version < $1 and state not in ('shadow', 'dropping') and ($2::uuid is null or tenant_id = $2)
		order by is_open desc, schema_name`, len(r.set), tenant)
	if err != nil {
		return err
	}
	var standing int
	var id *uuid.UUID
	s, now := schema{cluster: c, Behind: Behind{Cluster: c.Name}}, time.Time{}
	_, err = pgx.ForEachRow(rows, []any{&s.Schema, &id, &s.State, &s.isOpen, &s.Version, &s.Failure, &s.FailedAt, &s.Attempts, &standing, &now}, func() error {
		one := s
		if one.Slug = one.Schema; id != nil {
			one.ID = *id
		}
		l.schemas = append(l.schemas, &one)
		return nil
	})
	if standing > 0 {
		l.standing += standing
		l.asOf[c.Name] = now
	}
	return err
}

func (r *Runner) named(ctx context.Context, all []*schema) error {
	ids := make([]string, 0, len(all))
	for _, s := range all {
		if s.ID != (uuid.UUID{}) {
			ids = append(ids, s.ID.String())
		}
	}
	rows, err := r.fleet.Main().Owner().Query(ctx, "select id, slug, is_canary from central.tenants where id = any($1::uuid[])", ids)
	if err != nil {
		return fmt.Errorf("name the tenants that are behind: %w", err)
	}
	type tenant struct {
		slug     string
		isCanary bool
	}
	known := map[uuid.UUID]tenant{}
	var id uuid.UUID
	var t tenant
	if _, err := pgx.ForEachRow(rows, []any{&id, &t.slug, &t.isCanary}, func() error { known[id] = t; return nil }); err != nil {
		return fmt.Errorf("name the tenants that are behind: %w", err)
	}
	for _, s := range all {
		if t, ok := known[s.ID]; ok {
			s.Slug, s.isCanary = t.slug, t.isCanary
		}
	}
	return nil
}

// wave is some of what is behind, and how many of it may fail.
type wave struct {
	name    string
	schemas []*schema
	budget  int
}

// fewSchemas need no waves but that of their canaries.
const fewSchemas = 50

// waves sorts what is behind into the order in which it is migrated. All processes come to the same: it follows from names
// and from what stands, not from what happens to be left.
func (o Options) waves(all []*schema, standing int) []wave {
	ws := []wave{{name: "canary"}, {name: "1 %"}, {name: "10 %"}, {name: "rest"}}
	for _, s := range all {
		i := len(ws) - 1
		switch permille := permille(s.Schema); {
		case o.NoWaves:
		case s.isCanary || slices.Contains(o.Canaries, s.Slug):
			i = 0
		case standing < fewSchemas:
		case permille < 10:
			i = 1
		case permille < 110:
			i = 2
		}
		ws[i].schemas = append(ws[i].schemas, s)
	}
	ws = slices.DeleteFunc(ws, func(w wave) bool { return len(w.schemas) == 0 })
	for i := range ws {
		w := &ws[i]
		slices.SortStableFunc(w.schemas, func(a, b *schema) int {
			if a.isOpen != b.isOpen {
				return cmp.Compare(b2i(b.isOpen), b2i(a.isOpen))
			}
			return cmp.Compare(a.Schema, b.Schema)
		})
		switch {
		case o.MaxFailures != nil:
			w.budget = *o.MaxFailures
		case w.name != "canary":
			w.budget = max(1, len(w.schemas)/100)
		}
	}
	if len(ws) == 1 && ws[0].name == "rest" {
		ws[0].name = "all"
	}
	return ws
}

func permille(schema string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(schema))
	return h.Sum32() % 1000
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
