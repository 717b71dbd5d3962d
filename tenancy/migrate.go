package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/migrations"
)

// MigrateOptions choose which tenants are migrated, and by how many workers.
type MigrateOptions struct {
	Slug    string // one tenant only; empty: all
	Workers int    // at least one
}

// MigrateEvent is one tenant done, or failed.
type MigrateEvent struct {
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
}

// Behind returns the tenants whose schema is older than the set, by one query on the ledger, active ones first.
func (p *Provisioner) Behind(ctx context.Context, slug string) ([]Behind, error) {
	rows, err := p.owner.Query(ctx, `select t.id, t.slug, m.version from central.tenants t
		join (select tenant_id, max(version) as version from central.tenant_migrations group by tenant_id) m on m.tenant_id = t.id
		where m.version < $1 and t.status not in ('dropping', 'dropped') and ($2 = '' or t.slug = $2)
		order by t.status <> 'active', t.slug`, len(p.set), slug)
	if err != nil {
		return nil, fmt.Errorf("find the tenants that are behind: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Behind])
	if err != nil {
		return nil, fmt.Errorf("find the tenants that are behind: %w", err)
	}
	return out, nil
}

// Migrate brings every tenant that is behind up to the set. A tenant that fails does not stop the others; the failures come
// back joined. progress is called for each tenant, never at the same time.
func (p *Provisioner) Migrate(ctx context.Context, o MigrateOptions, progress func(MigrateEvent)) error {
	behind, err := p.Behind(ctx, o.Slug)
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
				err := p.migrateOne(ctx, b.ID)
				mu.Lock()
				done++
				if err != nil {
					failures = append(failures, fmt.Errorf("tenant %s: %w", b.Slug, err))
				}
				if progress != nil {
					progress(MigrateEvent{Slug: b.Slug, From: b.Version, To: len(p.set), Err: err, Done: done, Total: len(behind)})
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

// migrateOne applies what is missing, each migration in a transaction with its ledger row; the row lock on the tenant keeps
// other processes from the same one.
func (p *Provisioner) migrateOne(ctx context.Context, id uuid.UUID) error {
	for {
		var next migrations.Migration
		err := pgx.BeginFunc(ctx, p.owner, func(tx pgx.Tx) error {
			// A statement that waits for a lock makes everyone else wait behind it: give up soon instead.
			if _, err := tx.Exec(ctx, "set local lock_timeout = '2s'"); err != nil {
				return err
			}
			t, applied, err := lockTenant(ctx, tx, id)
			if err != nil || applied >= len(p.set) {
				return err
			}
			next = p.set[applied]
			if next.NoTransaction {
				return fmt.Errorf("migration tenant/%s: steps outside a transaction are not supported yet", next.Name)
			}
			b := &pgx.Batch{}
			queueMigration(b, t, next)
			return tx.SendBatch(ctx, b).Close()
		})
		if err != nil {
			return fmt.Errorf("migrate to %s: %w", next.Name, err)
		}
		if next.Version == 0 || next.Version == len(p.set) {
			return nil
		}
	}
}
