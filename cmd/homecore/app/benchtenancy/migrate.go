package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/migrate"
)

// migration is how long a change of all tenants took: a column and an index on it.
type migration struct {
	Tenants int       `json:"tenants"`
	Workers int       `json:"workers"`
	Ours    []float64 `json:"homecore_s"` // each round
	Bare    []float64 `json:"bare_s"`     // the DDL alone, one transaction and one round trip a tenant, over as many workers
	Nothing float64   `json:"nothing_s"`  // when nobody is behind
}

const migrationWorkers = 4

// migrations changes all tenants, in turns with the bare DDL, with commits that survive a crash.
func (w *world) migrations(ctx context.Context) (m migration, err error) {
	if err := w.durable(ctx, true); err != nil {
		return m, err
	}
	m = migration{Tenants: len(w.tenants), Workers: migrationWorkers}
	for round := range w.options.migrationRounds {
		for turn := range 2 {
			var took float64
			if side := (turn + round) % 2; side == 0 {
				took, err = w.migrate(ctx)
				m.Ours = append(m.Ours, took)
			} else {
				took, err = w.migrateBare(ctx, fmt.Sprintf("b%d_%d", len(w.tenants), round))
				m.Bare = append(m.Bare, took)
			}
			if err != nil {
				return m, err
			}
		}
	}
	begun := time.Now()
	if err := w.runMigrations(ctx); err != nil {
		return m, err
	}
	m.Nothing = time.Since(begun).Seconds()
	w.options.progress("  migrate %d tenants: %.2f s, bare %.2f s; nothing to do %.3f s", m.Tenants, median(m.Ours), median(m.Bare), m.Nothing)
	return m, w.durable(ctx, false)
}

// migrate brings a release with one more migration.
func (w *world) migrate(ctx context.Context) (seconds float64, err error) {
	w.versions++
	if err := w.install(ctx); err != nil {
		return 0, err
	}
	begun := time.Now()
	err = w.runMigrations(ctx)
	return time.Since(begun).Seconds(), err
}

func (w *world) runMigrations(ctx context.Context) error {
	_, err := migrate.New(w.fleet).Run(ctx, migrate.Options{Workers: migrationWorkers}, nil)
	return err
}

func (w *world) migrateBare(ctx context.Context, column string) (seconds float64, err error) {
	_, elapsed, err := together(ctx, migrationWorkers, 0, len(w.tenants), func(ctx context.Context, i int) error {
		ddl := "begin; set local search_path = " + w.tenants[i].schema + ", pg_temp; " + strings.Join(change(column), " ") + " commit"
		_, err := w.owner.Exec(ctx, ddl, pgx.QueryExecModeSimpleProtocol)
		return err
	})
	return elapsed.Seconds(), err
}
