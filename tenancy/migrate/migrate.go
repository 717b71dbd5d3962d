// Package migrate brings tenants' schemas up to the newest migration, on all clusters.
package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
)

// Options choose which tenants are migrated, and by how many workers.
type Options struct {
	Slug    string // one tenant only; empty: all
	Workers int    // at least one
}

// Event is one tenant done, or failed.
type Event struct {
	Slug        string
	From, To    int // versions
	Err         error
	Done, Total int // tenants
}

// Behind is a tenant whose schema is older than the binary.
type Behind struct {
	ID      uuid.UUID `json:"id"`
	Slug    string    `json:"slug"`
	Version int       `json:"version"`

	cluster *fleet.Cluster
	schema  string
}

// Runner migrates. It is safe for concurrent use, in any number of processes.
type Runner struct {
	fleet *fleet.Fleet
	set   []migrations.Migration
}

// New returns a Runner that brings the fleet's schemas to its set.
func New(f *fleet.Fleet) *Runner { return &Runner{fleet: f, set: f.Set()} }

// Behind returns the tenants whose schema is older than the set, by one query on each cluster's ledger.
func (r *Runner) Behind(ctx context.Context, slug string) ([]Behind, error) {
	var out []Behind
	for _, c := range r.fleet.Clusters() {
		rows, err := c.Owner().Query(ctx, `select schema_name, tenant_id, version from tenancy.schemas
			where version < $1 and state in ('warm', 'current') order by state desc, schema_name`, len(r.set))
		if err != nil {
			return nil, fmt.Errorf("find the schemas that are behind on cluster %s: %w", c.Name, err)
		}
		b := Behind{cluster: c}
		var tenant *uuid.UUID
		_, err = pgx.ForEachRow(rows, []any{&b.schema, &tenant, &b.Version}, func() error {
			b.ID = uuid.UUID{}
			if tenant != nil {
				b.ID = *tenant
			}
			out = append(out, b)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("find the schemas that are behind on cluster %s: %w", c.Name, err)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return r.named(ctx, out, slug)
}

func (r *Runner) named(ctx context.Context, all []Behind, slug string) ([]Behind, error) {
	ids := make([]string, len(all))
	for i, b := range all {
		ids[i] = b.ID.String()
	}
	rows, err := r.fleet.Main().Owner().Query(ctx, "select id, slug from central.tenants where id = any($1::uuid[])", ids)
	if err != nil {
		return nil, fmt.Errorf("name the tenants that are behind: %w", err)
	}
	names := map[uuid.UUID]string{}
	var id uuid.UUID
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil }); err != nil {
		return nil, fmt.Errorf("name the tenants that are behind: %w", err)
	}
	for i := range all {
		all[i].Slug = cmp.Or(names[all[i].ID], all[i].schema)
	}
	if slug != "" {
		all = slices.DeleteFunc(all, func(b Behind) bool { return b.Slug != slug })
	}
	return all, nil
}

// Run brings every tenant that is behind up to the set. A tenant that fails does not stop the others; the failures come back
// joined. progress is called for each tenant, never at the same time.
func (r *Runner) Run(ctx context.Context, o Options, progress func(Event)) error {
	behind, err := r.Behind(ctx, o.Slug)
	if err != nil {
		return err
	}
	queue := make(chan Behind)
	var (
		wait     sync.WaitGroup
		mu       sync.Mutex
		done     int
		failures []error
	)
	for range max(1, min(o.Workers, len(behind))) {
		wait.Go(func() {
			for b := range queue {
				err := r.one(ctx, b)
				mu.Lock()
				done++
				if err != nil {
					failures = append(failures, fmt.Errorf("tenant %s: %w", b.Slug, err))
				}
				if progress != nil {
					progress(Event{Slug: b.Slug, From: b.Version, To: len(r.set), Err: err, Done: done, Total: len(behind)})
				}
				mu.Unlock()
			}
		})
	}
	for _, b := range behind {
		select {
		case queue <- b:
		case <-ctx.Done():
		}
	}
	close(queue)
	wait.Wait()
	return errors.Join(append(failures, ctx.Err())...)
}

// one applies what is missing, each migration in a transaction with its ledger row; the row lock keeps other processes from
// the same schema.
func (r *Runner) one(ctx context.Context, b Behind) error {
	for {
		var next migrations.Migration
		err := pgx.BeginFunc(ctx, b.cluster.Owner(), func(tx pgx.Tx) error {
			// A statement that waits for a lock makes everyone else wait behind it: give up soon instead.
			if _, err := tx.Exec(ctx, "set local lock_timeout = '2s'"); err != nil {
				return err
			}
			var applied int
			if err := tx.QueryRow(ctx, "select version from tenancy.schemas where schema_name = $1 for update", b.schema).Scan(&applied); err != nil || applied >= len(r.set) {
				return err
			}
			next = r.set[applied]
			if next.NoTransaction {
				return fmt.Errorf("migration tenant/%s: steps outside a transaction are not supported yet", next.Name)
			}
			batch := &pgx.Batch{}
			batch.Queue("select set_config('search_path', $1, true)", pgx.Identifier{b.schema}.Sanitize()+", pg_temp")
			for _, s := range next.Statements {
				batch.Queue(s)
			}
			batch.Queue("insert into tenancy.applied (schema_name, version, name) values ($1, $2, $3)", b.schema, next.Version, next.Name)
			batch.Queue("update tenancy.schemas set version = $2 where schema_name = $1", b.schema, next.Version)
			if b.cluster == r.fleet.Main() {
				batch.Queue("update central.tenants set schema_version = $2 where id = $1 and schema_name = $3", b.ID, next.Version, b.schema)
			}
			return tx.SendBatch(ctx, batch).Close()
		})
		if err != nil {
			return fmt.Errorf("migrate to %s: %w", next.Name, err)
		}
		if next.Version == 0 || next.Version == len(r.set) {
			return r.report(ctx, b)
		}
	}
}

// report tells the registry how far the schema is, where it stands on another server.
func (r *Runner) report(ctx context.Context, b Behind) error {
	if b.cluster == r.fleet.Main() {
		return nil
	}
	_, err := r.fleet.Main().Owner().Exec(ctx, "update central.tenants set schema_version = $2 where id = $1 and schema_name = $3 and schema_version < $2",
		b.ID, len(r.set), b.schema)
	return err
}
