package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

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

// migrations changes all tenants, in turns with the bare DDL, with commits that survive a crash. Whoever comes first meets pages
// of the catalogue that nobody has touched since the tenants were made, so a round of the bare DDL goes before those that count.
func (w *world) migrations(ctx context.Context) (m migration, err error) {
	if err := w.durable(ctx, true); err != nil {
		return m, err
	}
	m = migration{Tenants: len(w.tenants), Workers: migrationWorkers}
	if _, err := w.migrateBare(ctx, fmt.Sprintf("b%d_warm", len(w.tenants))); err != nil {
		return m, err
	}
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
	w.owner.Reset()
	begun := time.Now()
	err = w.runMigrations(ctx)
	return time.Since(begun).Seconds(), err
}

func (w *world) runMigrations(ctx context.Context) error {
	_, err := migrate.New(w.fleet).Run(ctx, migrate.Options{Workers: migrationWorkers}, nil)
	return err
}

// migrateBare runs on connections of its own, as the migrator's workers do: those of a pool would stay, with all they know of the
// tenants' tables, and hear of every change that others make.
func (w *world) migrateBare(ctx context.Context, column string) (seconds float64, err error) {
	w.owner.Reset()
	workers, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for worker := range migrationWorkers {
		workers.Go(func() error {
			conn, err := pgx.ConnectConfig(ctx, w.owner.Config().ConnConfig)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is left to lose
			for i := worker; i < len(w.tenants); i += migrationWorkers {
				ddl := "begin; set local search_path = " + w.tenants[i].schema + ", pg_temp; " + strings.Join(change(column), " ") + " commit"
				if _, err := conn.PgConn().Exec(ctx, ddl).ReadAll(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = workers.Wait()
	return time.Since(begun).Seconds(), err
}
