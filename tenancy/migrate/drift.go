package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/fleet"
)

// DriftReport counts what Drift has looked at.
type DriftReport struct {
	Schemas   int `json:"schemas"`
	Different int `json:"different"` // schemas that are not as the migrations make them
}

// Schemas looked at by one query. The catalogue has no index by schema, so that each query reads much of it.
const driftBatch = 500

// Drift compares the schemas of one tenant, or of all where slug is empty, with what the migrations make of a new one at the
// same version, and calls found for each difference. Schemas that are behind are compared with what they should be by now.
func (r *Runner) Drift(ctx context.Context, slug string, found func(Difference)) (DriftReport, error) {
	var report DriftReport
	var only *string
	if slug != "" {
		var id string
		err := r.fleet.Main().Owner().QueryRow(ctx, "select id::text from central.tenants where slug = $1", slug).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return report, nil
		}
		if err != nil {
			return report, fmt.Errorf("look for tenant %s: %w", slug, err)
		}
		only = &id
	}
	var away error
	for _, c := range r.fleet.Clusters() {
		d := drift{Runner: r, cluster: c, use: c.Kind != fleet.Citus, samples: map[int]sample{}, found: found, report: &report}
		if err := d.all(ctx, only); err != nil {
			away = errors.Join(away, fmt.Errorf("look for drift on cluster %s: %w", c.Name, err))
		}
	}
	return report, away
}

// drift is the search on one cluster.
type drift struct {
	*Runner
	cluster *fleet.Cluster
	use     bool // the right to use a schema is not the gate
	samples map[int]sample
	found   func(Difference)
	report  *DriftReport
}

// sample is what a fresh schema of a version looks like.
type sample struct {
	hash  string
	facts []fact
}

type standing struct {
	schema  string
	tenant  *uuid.UUID
	version int
}

func (d *drift) all(ctx context.Context, tenant *string) error {
	after := ""
	for {
		rows, err := d.cluster.Owner().Query(ctx, `select schema_name, tenant_id, version from tenancy.schemas
			where schema_name > $1 and state not in ('shadow', 'dropping') and ($2::uuid is null or tenant_id = $2) order by schema_name limit $3`,
			after, tenant, driftBatch)
		if err != nil {
			return err
		}
		page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s standing, err error) {
			err = row.Scan(&s.schema, &s.tenant, &s.version)
			return s, err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		if err := d.page(ctx, page); err != nil {
			return err
		}
		if len(page) < driftBatch {
			return nil
		}
		after = page[len(page)-1].schema
	}
}

func (d *drift) page(ctx context.Context, page []standing) error {
	names := make([]string, len(page))
	for i, s := range page {
		names[i] = s.schema
	}
	known, err := hashes(ctx, d.cluster.Owner(), names, d.use)
	if err != nil {
		return err
	}
	d.report.Schemas += len(page)
	different := map[uuid.UUID][]Difference{}
	for _, s := range page {
		fresh, err := d.sample(ctx, s.version)
		if err != nil {
			return err
		}
		if fresh.hash != "" && known[s.schema] == fresh.hash {
			continue
		}
		ds, err := d.compare(ctx, s)
		if err != nil {
			return err
		}
		if len(ds) > 0 {
			d.report.Different++
			var id uuid.UUID
			if s.tenant != nil {
				id = *s.tenant
			}
			different[id] = append(different[id], ds...)
		}
	}
	return d.tell(ctx, different)
}

// compare reads a schema whose hash differs, between two looks at its version: it may be migrated just now.
func (d *drift) compare(ctx context.Context, s standing) ([]Difference, error) {
	version := func() (v int, err error) {
		err = d.cluster.Owner().QueryRow(ctx, "select version from tenancy.schemas where schema_name = $1 and state not in ('shadow', 'dropping')", s.schema).Scan(&v)
		return v, err
	}
	for {
		before, err := version()
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil // dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		facts, err := factsAbout(ctx, d.cluster.Owner(), s.schema, d.use)
		if err != nil {
			return nil, err
		}
		after, err := version()
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, err
		}
		if before != after {
			continue
		}
		ds := []Difference{{Kind: "schema", Name: s.schema, Should: "there"}}
		if len(d.set) < before {
			ds = []Difference{{Kind: "version", Name: fmt.Sprint(before), Is: fmt.Sprintf("newer than this binary's %d", len(d.set))}}
		} else if facts != nil {
			fresh, err := d.sample(ctx, before)
			if err != nil {
				return nil, err
			}
			ds = differences(facts, fresh.facts)
		}
		for i := range ds {
			ds[i].Cluster, ds[i].Schema, ds[i].Version = d.cluster.Name, s.schema, before
		}
		return ds, nil
	}
}

// sample returns what a schema of the version should be: nothing if this binary does not know the version.
func (d *drift) sample(ctx context.Context, version int) (sample, error) {
	if s, ok := d.samples[version]; ok || version > len(d.set) {
		return s, nil
	}
	var s sample
	err := d.fleet.Sample(ctx, d.cluster, version, func(ctx context.Context, tx pgx.Tx, schema string) error {
		hash, err := hashes(ctx, tx, []string{schema}, d.use)
		if err != nil {
			return err
		}
		s.hash = hash[schema]
		s.facts, err = factsAbout(ctx, tx, schema, d.use)
		return err
	})
	if err == nil {
		d.samples[version] = s
	}
	return s, err
}

// tell names the tenants of what was found, and hands it on.
func (d *drift) tell(ctx context.Context, different map[uuid.UUID][]Difference) error {
	if len(different) == 0 {
		return nil
	}
	ids := make([]string, 0, len(different))
	for id := range different {
		ids = append(ids, id.String())
	}
	rows, err := d.fleet.Main().Owner().Query(ctx, "select id, slug from central.tenants where id = any($1::uuid[])", ids)
	if err != nil {
		return err
	}
	names := map[uuid.UUID]string{}
	var id uuid.UUID
	var slug string
	if _, err := pgx.ForEachRow(rows, []any{&id, &slug}, func() error { names[id] = slug; return nil }); err != nil {
		return err
	}
	order := slices.SortedFunc(maps.Keys(different), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range order {
		for _, one := range different[id] {
			one.Tenant = names[id]
			d.found(one)
		}
	}
	return nil
}
