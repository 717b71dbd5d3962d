package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
)

// kept returns the tenant's work whose old state is still kept, held against others.
func (p *Porter) kept(ctx context.Context, tenant string) (*work, func(), error) {
	t, err := p.find(ctx, tenant)
	if err != nil {
		return nil, nil, err
	}
	free, err := p.hold(ctx, t.id, false)
	if err != nil {
		return nil, nil, err
	}
	w, err := p.workOn(ctx, p.fleet.Main().Owner(), t.id, "")
	if err == nil && w.phase != done {
		err = p.settle(ctx, w)
	}
	if err == nil && w.phase != done || errors.Is(err, pgx.ErrNoRows) {
		err = NothingKept
	}
	if err != nil {
		free()
		return nil, nil, err
	}
	return w, free, nil
}

// Kept returns what left an old state of the tenant (slug or id) that is kept: "restore", "move", or "" where none is.
func (p *Porter) Kept(ctx context.Context, tenant string) (kind string, err error) {
	w, free, err := p.kept(ctx, tenant)
	if errors.Is(err, NothingKept) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	free()
	return w.kind, nil
}

// Accept drops what the tenant (slug or id) had before its last restore or move. There is no way back after it.
func (p *Porter) Accept(ctx context.Context, tenant string) error {
	w, free, err := p.kept(ctx, tenant)
	if err != nil {
		return err
	}
	defer free()
	if err = drop(ctx, w.from, w.fromSchema); err == nil {
		_, err = p.fleet.Main().Owner().Exec(ctx, "delete from central.transfers where tenant_id = $1 and id = $2", w.tenant, w.id)
	}
	if err != nil {
		return fmt.Errorf("accept the %s of tenant %s: %w", w.kind, tenant, err)
	}
	return nil
}

// Undo goes back to what the tenant (slug or id) had before its last restore. What the restore brought, and what was written since,
// is kept in its place: Accept drops it, and another Undo returns to it. A move is undone by moving back.
func (p *Porter) Undo(ctx context.Context, tenant string) error {
	w, free, err := p.kept(ctx, tenant)
	if err != nil {
		return err
	}
	defer free()
	if w.kind != "restore" {
		return NotNow
	}
	if err := p.undo(ctx, w); err != nil {
		if err := p.end(ctx, w, err); err != nil {
			return fmt.Errorf("undo the restore of tenant %s: %w", tenant, err)
		}
	}
	return nil
}

func (p *Porter) undo(ctx context.Context, w *work) error {
	// Releases may have come since; nobody migrates a schema that is kept.
	if err := p.migrator.Schema(ctx, w.from, w.fromSchema); err != nil {
		return err
	}
	tag, err := p.fleet.Main().Owner().Exec(ctx, `update central.transfers set phase = 'running', kind = 'undo', updated_at = now(),
		from_cluster = to_cluster, from_schema = to_schema, to_cluster = from_cluster, to_schema = from_schema where tenant_id = $1 and id = $2 and phase = 'done'`,
		w.tenant, w.id)
	if err := once(tag.RowsAffected(), err); err != nil {
		return err
	}
	w.kind, w.phase = "undo", running
	w.from, w.to, w.fromSchema, w.toSchema = w.to, w.from, w.toSchema, w.fromSchema
	if err := p.step("undoing"); err != nil {
		return err
	}
	if err := p.flip(ctx, w, func(tx pgx.Tx, status tenancy.Status) (string, error) { return exchange(ctx, tx, w, status) }); err != nil {
		return err
	}
	return p.settle(ctx, w)
}

// exchange retires the schema that the tenant has and gives it the other, on one cluster.
func exchange(ctx context.Context, tx pgx.Tx, w *work, status tenancy.Status) (role string, err error) {
	if err := retire(ctx, tx, w.from, w.tenant, w.fromSchema); err != nil {
		return "", err
	}
	return promote(ctx, tx, w.to, w.tenant, w.toSchema, status)
}
