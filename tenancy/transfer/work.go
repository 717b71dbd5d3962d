package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

// work is a restore, an undo or a move under way: a row of central.transfers.
type work struct {
	id         uuid.UUID
	tenant     uuid.UUID
	kind       string
	phase      string
	from, to   *fleet.Cluster
	fromSchema string
	toSchema   string // empty until it is made
}

// The phases of a work. Until the registry points to the new schema it is running; given up, it goes back; after it is flipped,
// and once the old place has been shut, done. A work that is done stays until the old state is accepted.
const (
	running = "running"
	back    = "back"
	flipped = "flipped"
	done    = "done"
)

// reason is what an operator reads of a tenant that is shut for a move, and how a status that the move set is told from an
// operator's own.
const reason = "moving to another place"

// begin writes down what is about to be done. What a crash left of earlier work is put right first. It refuses where the old state
// of earlier work is still kept.
func (p *Porter) begin(ctx context.Context, tenant uuid.UUID, kind, to string) (*work, error) {
	if left, err := p.workOn(ctx, p.fleet.Main().Owner(), tenant, ""); err == nil {
		if left.phase == done {
			return nil, Unaccepted
		}
		if err := p.settle(ctx, left); err != nil {
			return nil, err
		}
		if left.phase == done {
			return nil, Unaccepted
		}
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	w := &work{id: id, tenant: tenant, kind: kind, phase: running}
	err = pgx.BeginFunc(ctx, p.fleet.Main().Owner(), func(tx pgx.Tx) error {
		t, err := read(ctx, tx, "id = $1 for update", tenant)
		if err != nil {
			return err
		}
		if err := t.has(); err != nil {
			return err
		}
		w.fromSchema = t.schema
		if w.from, err = p.fleet.Cluster(t.cluster); err != nil {
			return err
		}
		if to == "" {
			to = t.cluster
		}
		if w.to, err = p.fleet.Cluster(to); err != nil {
			return ClusterUnknown.WithCause(err)
		}
		_, err = tx.Exec(ctx, `insert into central.transfers (tenant_id, id, kind, phase, from_cluster, from_schema, to_cluster)
			values ($1, $2, $3, 'running', $4, $5, $6)`, tenant, id, kind, w.from.Name, w.fromSchema, w.to.Name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("begin the %s of tenant %s: %w", kind, tenant, err)
	}
	return w, nil
}

// workOn reads the tenant's work; pgx.ErrNoRows where there is none.
func (p *Porter) workOn(ctx context.Context, q querier, tenant uuid.UUID, lock string) (*work, error) {
	w := &work{tenant: tenant}
	var from, to string
	err := q.QueryRow(ctx, `select id, kind, phase, from_cluster, from_schema, to_cluster, coalesce(to_schema, '')
		from central.transfers where tenant_id = $1 `+lock, tenant).Scan(&w.id, &w.kind, &w.phase, &from, &w.fromSchema, &to, &w.toSchema)
	if err != nil {
		return nil, err
	}
	if w.from, err = p.fleet.Cluster(from); err != nil {
		return nil, err
	}
	w.to, err = p.fleet.Cluster(to)
	return w, err
}

// made writes down which schema the work has made.
func (p *Porter) made(ctx context.Context, w *work, place fleet.Place) error {
	w.toSchema = place.Schema
	tag, err := p.fleet.Main().Owner().Exec(ctx, "update central.transfers set to_schema = $3, updated_at = now() where tenant_id = $1 and id = $2 and phase = 'running'",
		w.tenant, w.id, w.toSchema)
	return once(tag.RowsAffected(), err)
}

// once is for a step that fails where somebody else has given the work up meanwhile.
func once(affected int64, err error) error {
	if err == nil && affected != 1 {
		return errors.New("somebody else has put an end to it")
	}
	return err
}

// flip points the registry to the new schema. Both rows of the registry are locked before the cluster changes, so that nobody gives
// the work up, or suspends the tenant, in between; and they commit after it: until then the old place is what counts.
func (p *Porter) flip(ctx context.Context, w *work, change func(tx pgx.Tx, status tenancy.Status) (role string, err error)) error {
	return pgx.BeginFunc(ctx, p.fleet.Main().Owner(), func(tx pgx.Tx) error {
		t, err := read(ctx, tx, "id = $1 for update", w.tenant)
		if err != nil {
			return err
		}
		now, err := p.workOn(ctx, tx, w.tenant, "for update")
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (now.id != w.id || now.phase != running) {
			return once(0, nil)
		}
		if err != nil {
			return err
		}
		if t.cluster != w.from.Name || t.schema != w.fromSchema {
			return Busy
		}
		before := t.status
		if t.status, err = p.statusAfter(ctx, tx, t); err != nil {
			return err
		}
		if err := t.has(); err != nil {
			return err
		}
		var role string
		there := func(tx pgx.Tx) (err error) {
			if role, err = change(tx, t.status); err != nil {
				return err
			}
			return p.step("changed")
		}
		if w.to == p.fleet.Main() {
			err = there(tx)
		} else {
			err = pgx.BeginFunc(ctx, w.to.Owner(), there)
		}
		if err != nil {
			return err
		}
		if err := p.step("before the flip"); err != nil {
			return err
		}
		place, err := placeOf(ctx, w.to, w.toSchema)
		if w.to == p.fleet.Main() {
			place, err = placeIn(ctx, tx, w.to, w.toSchema)
		}
		if err != nil {
			return err
		}
		if before != t.status {
			if err := setStatus(ctx, tx, w.tenant, t.status, ""); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `update central.tenants set cluster = $2, schema_name = $3, role_name = $4, login_group = $5, schema_version = $6, updated_at = now()
			where id = $1`, w.tenant, w.to.Name, place.Schema, role, place.Group, place.Version); err != nil {
			return err
		}
		if err := record(ctx, tx, w, before, t.status); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "update central.transfers set phase = 'flipped', status_before = null, updated_at = now() where tenant_id = $1", w.tenant)
		return err
	})
}

// statusAfter is the status that a tenant has once it is no longer shut for the work: what it was, unless an operator has changed it.
func (p *Porter) statusAfter(ctx context.Context, tx pgx.Tx, t registered) (tenancy.Status, error) {
	var before, why *string
	err := tx.QueryRow(ctx, `select w.status_before, t.status_reason from central.tenants t join central.transfers w on w.tenant_id = t.id where t.id = $1`, t.id).
		Scan(&before, &why)
	if err != nil {
		return "", err
	}
	if before != nil && t.status == tenancy.Maintenance && why != nil && *why == reason {
		return tenancy.Status(*before), nil
	}
	return t.status, nil
}

// setStatus is for the time of a move alone: it is no operator's doing, and leaves what undoing an archive returns to.
func setStatus(ctx context.Context, tx pgx.Tx, tenant uuid.UUID, to tenancy.Status, why string) error {
	_, err := tx.Exec(ctx, `update central.tenants set status = $2, status_reason = nullif($3, ''), retry_after = null, status_changed_at = now(),
		version = version + 1, updated_at = now() where id = $1`, tenant, to, why)
	return err
}

// record adds to the tenant's history what has been done.
func record(ctx context.Context, tx pgx.Tx, w *work, from, to tenancy.Status) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	detail := ""
	if w.kind == "move" {
		detail = w.from.Name + " → " + w.to.Name
	}
	_, err = tx.Exec(ctx, `insert into central.tenant_events (id, tenant_id, action, from_status, to_status, detail, by_whom) values ($1, $2, $3, $4, $5, $6, $7)`,
		id, w.tenant, w.kind, from, to, detail, actor(ctx))
	return err
}

type actorKey struct{}

// By says in the tenants' history who has asked for what is done with the context.
func By(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

func actor(ctx context.Context) string {
	if who, ok := ctx.Value(actorKey{}).(string); ok {
		return who
	}
	return "unknown"
}

// settle brings the clusters to what the registry says, whether the work was done, failed or was cut off, and ends the work. It may
// be repeated; it sets w.phase to done if the registry points to the new schema.
func (p *Porter) settle(ctx context.Context, w *work) error {
	ctx, cancel := undoing(ctx)
	defer cancel()
	err := pgx.BeginFunc(ctx, p.fleet.Main().Owner(), func(tx pgx.Tx) error {
		t, err := read(ctx, tx, "id = $1 for update", w.tenant)
		if err != nil {
			return err
		}
		now, err := p.workOn(ctx, tx, w.tenant, "for update")
		if err != nil {
			return err
		}
		if now.id != w.id {
			return pgx.ErrNoRows
		}
		*w = *now
		if w.phase == running || w.phase == back {
			w.phase = back
			if w.toSchema != "" && t.cluster == w.to.Name && t.schema == w.toSchema {
				w.phase = flipped // whoever heals the registry found the cluster one step ahead
			}
		}
		_, err = tx.Exec(ctx, "update central.transfers set phase = $2, updated_at = now() where tenant_id = $1", w.tenant, w.phase)
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
	case w.phase == back:
		err = p.goBack(ctx, w)
	case w.phase == flipped:
		err = p.finish(ctx, w)
	}
	if err != nil {
		return fmt.Errorf("put the %s of tenant %s right: %w", w.kind, w.tenant, err)
	}
	return nil
}

// finish shuts the place that the tenant has left.
func (p *Porter) finish(ctx context.Context, w *work) error {
	err := pgx.BeginFunc(ctx, w.from.Owner(), func(tx pgx.Tx) error {
		if err := retire(ctx, tx, w.from, w.tenant, w.fromSchema); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil // dropped together with the tenant
	})
	if err != nil {
		return err
	}
	// An undone restore is a restore the other way round, which can be accepted, or undone again.
	_, err = p.fleet.Main().Owner().Exec(ctx, `update central.transfers set phase = 'done', kind = case kind when 'undo' then 'restore' else kind end, updated_at = now()
		where tenant_id = $1 and id = $2`, w.tenant, w.id)
	if err == nil {
		w.phase = done
	}
	return err
}

// goBack drops what the work has made and opens the tenant's own place again.
func (p *Porter) goBack(ctx context.Context, w *work) error {
	if err := p.returnTo(ctx, w); err != nil {
		return err
	}
	if w.kind != "undo" {
		if err := p.dropMade(ctx, w); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, p.fleet.Main().Owner(), func(tx pgx.Tx) error {
		t, err := read(ctx, tx, "id = $1 for update", w.tenant)
		if err != nil {
			return err
		}
		status, err := p.statusAfter(ctx, tx, t)
		if err != nil {
			return err
		}
		var role string
		there := func(tx pgx.Tx) (err error) {
			role, err = promote(ctx, tx, w.from, w.tenant, w.fromSchema, status)
			return err
		}
		if w.from == p.fleet.Main() {
			err = there(tx)
		} else {
			err = pgx.BeginFunc(ctx, w.from.Owner(), there)
		}
		if err != nil {
			return err
		}
		if status != t.status {
			if err := setStatus(ctx, tx, w.tenant, status, ""); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, "update central.tenants set role_name = $2 where id = $1 and role_name <> $2", w.tenant, role); err != nil {
			return err
		}
		if w.kind == "undo" {
			_, err = tx.Exec(ctx, `update central.transfers set phase = 'done', kind = 'restore', status_before = null, updated_at = now(),
				from_cluster = to_cluster, from_schema = to_schema, to_cluster = from_cluster, to_schema = from_schema where tenant_id = $1`, w.tenant)
		} else {
			_, err = tx.Exec(ctx, "delete from central.transfers where tenant_id = $1", w.tenant)
		}
		return err
	})
}

// returnTo makes the old schema the tenant's on its cluster again, if that is as far as the work came, with its rights.
func (p *Porter) returnTo(ctx context.Context, w *work) error {
	if w.kind == "move" {
		if err := thaw(ctx, w.from, w.fromSchema); err != nil {
			return err
		}
	}
	if w.toSchema == "" {
		return nil
	}
	return pgx.BeginFunc(ctx, w.to.Owner(), func(tx pgx.Tx) error {
		err := retire(ctx, tx, w.to, w.tenant, w.toSchema)
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil // dropped by an earlier attempt
		}
		if err != nil || w.to != w.from {
			return err
		}
		_, err = tx.Exec(ctx, "update tenancy.schemas set state = 'current' where schema_name = $1 and state <> 'current'", w.fromSchema)
		return err
	})
}

// dropMade drops the schema that the work has made, also one it had no time to write down.
func (p *Porter) dropMade(ctx context.Context, w *work) error {
	rows, err := w.to.Owner().Query(ctx, `select schema_name from tenancy.schemas
		where tenant_id = $1 and (state in ('shadow', 'dropping') or schema_name = $2 and state <> 'current')`, w.tenant, w.toSchema)
	if err != nil {
		return err
	}
	schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if err := drop(ctx, w.to, schema); err != nil {
			return err
		}
	}
	return nil
}

// Heal puts right what crashes have left of restores and moves, for every tenant on which nobody is working now, and returns how
// many there were. It may be run at any time, by any number of processes. Everything else that a crash can leave is for
// fleet.Fleet.Heal, which takes the place that the registry names as given.
func (p *Porter) Heal(ctx context.Context) (healed int, err error) {
	rows, err := p.fleet.Main().Owner().Query(ctx, "select tenant_id from central.transfers where phase <> 'done' order by updated_at")
	if err != nil {
		return 0, fmt.Errorf("find interrupted transfers: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return 0, fmt.Errorf("find interrupted transfers: %w", err)
	}
	for _, id := range ids {
		wrong := p.heal(ctx, id)
		if errors.Is(wrong, Busy) {
			continue
		}
		err = errors.Join(err, wrong)
		if wrong == nil {
			healed++
		}
	}
	return healed, err
}

func (p *Porter) heal(ctx context.Context, tenant uuid.UUID) error {
	free, err := p.hold(ctx, tenant, false)
	if err != nil {
		return err
	}
	defer free()
	w, err := p.workOn(ctx, p.fleet.Main().Owner(), tenant, "")
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.settle(ctx, w)
}

// end settles the work after cause, and returns what is to be said of it: nothing where the registry had been changed after all.
func (p *Porter) end(ctx context.Context, w *work, cause error) error {
	if errors.Is(cause, errKilled) {
		return cause
	}
	err := p.settle(ctx, w)
	if w.phase == done {
		return err
	}
	return errors.Join(cause, err)
}
