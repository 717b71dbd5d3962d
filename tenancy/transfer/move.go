package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

// How long a move waits for what is under way in the tenant. It never waits for a lock longer than lockTry at a time: Postgres looks
// for deadlocks after a second, and would end one of the tenant's own transactions; and everyone who wants the table waits meanwhile.
const (
	drainWait = 3 * time.Second
	lockTry   = 500 * time.Millisecond
	lockWait  = 30 * time.Second
	lockPause = 50 * time.Millisecond
)

// Moved is what a move did.
type Moved struct {
	Rows, Bytes int64
	Shut        time.Duration // for how long the tenant was refused
}

// Move takes the tenant (slug or id) to another cluster, or to a new schema on its own. Everything is prepared there first; then the
// tenant is under maintenance until its rows have been copied, which is the only time that requests are refused. If transactions of
// the tenant do not end, Move gives up and leaves everything as it was. The old schema is kept, shut, until Accept.
func (p *Porter) Move(ctx context.Context, tenant, cluster string, report Report) (Moved, error) {
	var moved Moved
	t, err := p.find(ctx, tenant)
	if err != nil {
		return moved, err
	}
	if err := t.has(); err != nil {
		return moved, err
	}
	free, err := p.hold(ctx, t.id, false)
	if err != nil {
		return moved, err
	}
	defer free()
	w, err := p.begin(ctx, t.id, "move", cluster)
	if err != nil {
		return moved, err
	}
	if err := p.move(ctx, w, &moved, report); err != nil {
		if err := p.end(ctx, w, err); err != nil {
			return moved, fmt.Errorf("move tenant %s to cluster %s: %w", t.slug, cluster, err)
		}
	}
	return moved, nil
}

func (p *Porter) move(ctx context.Context, w *work, moved *Moved, report Report) error {
	report(Progress{Step: "prepare"})
	old, err := placeOf(ctx, w.from, w.fromSchema)
	if err != nil {
		return err
	}
	if old.Version > len(p.fleet.Set()) {
		return fmt.Errorf("its schema is at migration %d, and this version knows %d", old.Version, len(p.fleet.Set()))
	}
	shadow, err := p.fleet.Make(ctx, w.to, &w.tenant, "shadow", old.Version, false)
	if err != nil {
		return err
	}
	if err := p.step("made"); err != nil {
		return err
	}
	if err := p.made(ctx, w, shadow); err != nil {
		return err
	}
	there, err := connect(ctx, w.to)
	if err != nil {
		return err
	}
	defer there.Close(context.WithoutCancel(ctx))
	here, err := connect(ctx, w.from)
	if err != nil {
		return err
	}
	defer here.Close(context.WithoutCancel(ctx))

	report(Progress{Step: "lock"})
	begun := time.Now()
	if err := p.shut(ctx, w); err != nil {
		return err
	}
	if err := p.step("shut"); err != nil {
		return err
	}
	if err := drain(ctx, w.from, old); err != nil {
		return err
	}
	if err := p.copyAll(ctx, w, here, there, old, shadow, moved, report); err != nil {
		return err
	}
	if err := p.step("copied"); err != nil {
		return err
	}
	report(Progress{Step: "switch", Rows: moved.Rows, Bytes: moved.Bytes})
	err = p.flip(ctx, w, func(tx pgx.Tx, status tenancy.Status) (string, error) {
		if w.from == w.to {
			return exchange(ctx, tx, w, status)
		}
		return promote(ctx, tx, w.to, w.tenant, shadow.Schema, status)
	})
	if err != nil {
		return err
	}
	moved.Shut = time.Since(begun)
	if err := p.step("flipped"); err != nil {
		return err
	}
	analyze(ctx, there, shadow.Schema)
	return p.settle(ctx, w)
}

// shut puts the tenant under maintenance, where it can be entered, and shuts the gate: from then on Postgres refuses every entry.
func (p *Porter) shut(ctx context.Context, w *work) error {
	return pgx.BeginFunc(ctx, p.fleet.Main().Owner(), func(tx pgx.Tx) error {
		t, err := read(ctx, tx, "id = $1 for update", w.tenant)
		if err != nil {
			return err
		}
		if t.cluster != w.from.Name || t.schema != w.fromSchema {
			return Busy
		}
		if t.status == tenancy.Active || t.status == tenancy.ReadOnly {
			if err := setStatus(ctx, tx, w.tenant, tenancy.Maintenance, reason); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, "update central.transfers set status_before = $3, updated_at = now() where tenant_id = $1 and id = $2 and phase = 'running'", w.tenant, w.id, t.status)
			if err := once(tag.RowsAffected(), err); err != nil {
				return err
			}
		}
		gate := func(tx pgx.Tx) error {
			_, err := w.from.Turn(ctx, tx, w.tenant, tenancy.Maintenance)
			return err
		}
		if w.from == p.fleet.Main() {
			return gate(tx)
		}
		return pgx.BeginFunc(ctx, w.from.Owner(), gate)
	})
}

// drain waits, for a while, until the transactions of the group's connections have ended that may have entered before the gate was
// shut. Without it a statement that was just about to run would wait for the locks below, and then fail for want of rights.
func drain(ctx context.Context, c *fleet.Cluster, old fleet.Place) error {
	rows, err := c.Owner().Query(ctx, `select distinct l.virtualtransaction from pg_locks l join pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'virtualxid' and l.granted and a.datname = current_database() and a.usename = $1`, c.GroupRole(int(old.Group)))
	if err != nil {
		return fmt.Errorf("look for open transactions: %w", err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for open transactions: %w", err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(drainWait); len(open) > 0 && time.Now().Before(deadline); {
		var left bool
		err := c.Owner().QueryRow(ctx, "select exists (select from pg_locks where locktype = 'virtualxid' and granted and virtualtransaction = any($1))", open).Scan(&left)
		if err != nil {
			return fmt.Errorf("look for open transactions: %w", err)
		}
		if !left {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// copyAll copies all rows while nobody can change them. When it returns, the rows are committed in the new schema, and nobody has any
// right left on the old one's tables: what had entered it before fails, rather than writing where nobody will look.
func (p *Porter) copyAll(ctx context.Context, w *work, here, there *pgx.Conn, old, shadow fleet.Place, moved *Moved, report Report) error {
	tx, err := lock(ctx, here, old.Schema)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a commit it has nothing to do
	if err := session(ctx, tx, old.Schema); err != nil {
		return err
	}
	all, err := tables(ctx, tx, old.Schema)
	if err != nil {
		return err
	}
	if err := p.step("locked"); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, there, func(to pgx.Tx) error {
		if err := session(ctx, to, shadow.Schema); err != nil {
			return err
		}
		same, err := tables(ctx, to, shadow.Schema)
		if err != nil {
			return err
		}
		if err := alike(same, all); err != nil {
			return err
		}
		err = withoutForeignKeys(ctx, to, shadow.Schema, func() error {
			return copyTables(ctx, tx, to, old.Schema, shadow.Schema, all, moved, report)
		})
		if err != nil {
			return err
		}
		stand, err := sequences(ctx, tx, old.Schema)
		if err != nil {
			return err
		}
		return setSequences(ctx, to, shadow.Schema, stand)
	})
	if err != nil {
		return err
	}
	if err := p.step("loaded"); err != nil {
		return err
	}
	// A migration that only adds a table waits for none of the locks.
	var version int
	if err := tx.QueryRow(ctx, "select version from tenancy.schemas where schema_name = $1", old.Schema).Scan(&version); err != nil {
		return err
	}
	if version != old.Version {
		return errors.New("it was migrated meanwhile: try again")
	}
	if err := freeze(ctx, tx, old); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// lock takes all tables of the schema for itself, waiting for the transactions that use them.
func lock(ctx context.Context, conn *pgx.Conn, schema string) (pgx.Tx, error) {
	for deadline := time.Now().Add(lockWait); ; {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return nil, err
		}
		all, err := relations(ctx, tx, schema, "rp")
		if err == nil && all != "" {
			if _, err = tx.Exec(ctx, fmt.Sprintf("set local lock_timeout = %d", lockTry.Milliseconds())); err == nil {
				_, err = tx.Exec(ctx, "lock table "+all+" in access exclusive mode")
			}
		}
		if err == nil {
			_, err = tx.Exec(ctx, "set local lock_timeout = 0")
		}
		if err == nil {
			return tx, nil
		}
		_ = tx.Rollback(context.WithoutCancel(ctx))
		if !isCode(err, "55P03", "40P01") { // lock_not_available, deadlock_detected
			return nil, fmt.Errorf("lock schema %s: %w", schema, err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("lock schema %s: a transaction of the tenant has not ended within %s: %w", schema, lockWait, err)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func copyTables(ctx context.Context, from, to pgx.Tx, old, new string, all []Table, moved *Moved, report Report) error {
	major := func(tx pgx.Tx) string {
		v, _, _ := strings.Cut(tx.Conn().PgConn().ParameterStatus("server_version"), ".")
		return v
	}
	sameMajor := major(from) == major(to)
	for i, t := range all {
		format := "text"
		if sameMajor && t.builtin {
			format = "binary" // a type of the tenant's own has another number on another server
		}
		// A query, since COPY of a partitioned table by name is refused.
		out := fmt.Sprintf("copy (select %s from %s) to stdout (format %s)", t.columns(), quote(old, t.Name), format)
		sent, arrived, bytes, err := stream(ctx, from.Conn(), to.Conn(), out, t.in(new, format))
		if err != nil {
			return fmt.Errorf("copy table %s: %w", t.Name, err)
		}
		if sent != arrived {
			return fmt.Errorf("copy table %s: %d rows were sent, %d arrived", t.Name, sent, arrived)
		}
		moved.Rows, moved.Bytes = moved.Rows+arrived, moved.Bytes+bytes
		report(Progress{Step: "copy", Tables: i + 1, TablesTotal: len(all), Rows: moved.Rows, Bytes: moved.Bytes})
	}
	return nil
}

// stream passes what one connection copies out to the other, which copies it in.
func stream(ctx context.Context, from, to *pgx.Conn, out, in string) (sent, arrived, bytes int64, err error) {
	r, w := io.Pipe()
	counted := &counter{to: w}
	buffer := bufio.NewWriterSize(counted, 256<<10) // Postgres sends each row by itself
	wrong := make(chan error, 1)
	go func() {
		tag, err := from.PgConn().CopyTo(ctx, buffer, out)
		if err == nil {
			err = buffer.Flush()
		}
		sent = tag.RowsAffected()
		_ = w.CloseWithError(err) // nil is the end
		wrong <- err
	}()
	tag, err := to.PgConn().CopyFrom(ctx, r, in)
	_ = r.CloseWithError(errors.New("the other side has failed"))
	return sent, tag.RowsAffected(), counted.n, errors.Join(err, <-wrong)
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
