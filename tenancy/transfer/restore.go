package transfer

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
)

// Restore brings the tenant (slug or id) back to the state in the archive. The whole archive is verified before anything changes;
// the state is built beside the tenant's own, in a schema with a role of its own, and compared row by row; and then the two change
// places at once. What the tenant had until then is kept, shut: Accept drops it, Undo goes back to it. Nobody else notices.
func (p *Porter) Restore(ctx context.Context, tenant, path string, report Report) (*Manifest, error) {
	t, err := p.find(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if err := t.has(); err != nil {
		return nil, err
	}
	report(Progress{Step: "verify"})
	m, err := Verify(path)
	if err != nil {
		return nil, err
	}
	if m.Tenant.ID != t.id {
		return nil, badArchive("it is of tenant %s (%s), not of %s", m.Tenant.Slug, m.Tenant.ID, t.slug)
	}
	if m.SchemaVersion < 1 || m.SchemaVersion > len(p.fleet.Set()) {
		return nil, badArchive("its rows are of migration %d, and this version knows %d", m.SchemaVersion, len(p.fleet.Set()))
	}
	done, err := p.hold(ctx, t.id, false)
	if err != nil {
		return nil, err
	}
	defer done()
	w, err := p.begin(ctx, t.id, "restore", "")
	if err != nil {
		return nil, err
	}
	if err := p.restore(ctx, w, m, path, report); err != nil {
		if err := p.end(ctx, w, err); err != nil {
			return nil, fmt.Errorf("restore tenant %s: %w", t.slug, err)
		}
	}
	return m, nil
}

func (p *Porter) restore(ctx context.Context, w *work, m *Manifest, path string, report Report) error {
	report(Progress{Step: "prepare"})
	shadow, err := p.fleet.Make(ctx, w.to, &w.tenant, "shadow", m.SchemaVersion, false)
	if err != nil {
		return err
	}
	if err := p.step("made"); err != nil {
		return err
	}
	if err := p.made(ctx, w, shadow); err != nil {
		return err
	}
	conn, err := connect(ctx, w.to)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return p.load(ctx, tx, shadow.Schema, m, path, report) })
	if err != nil {
		return err
	}
	if err := p.step("loaded"); err != nil {
		return err
	}
	report(Progress{Step: "compare", RowsTotal: m.Rows()})
	if err := compare(ctx, conn, shadow.Schema, m); err != nil {
		return err
	}
	report(Progress{Step: "migrate", RowsTotal: m.Rows()})
	if err := p.migrator.Schema(ctx, w.to, shadow.Schema); err != nil {
		return err
	}
	analyze(ctx, conn, shadow.Schema)
	if err := p.step("migrated"); err != nil {
		return err
	}
	report(Progress{Step: "switch", RowsTotal: m.Rows()})
	if err := p.flip(ctx, w, func(tx pgx.Tx, status tenancy.Status) (string, error) { return exchange(ctx, tx, w, status) }); err != nil {
		return err
	}
	if err := p.step("flipped"); err != nil {
		return err
	}
	return p.settle(ctx, w)
}

// load reads the archive once more, into the shadow.
func (p *Porter) load(ctx context.Context, tx pgx.Tx, schema string, m *Manifest, path string, report Report) error {
	if err := session(ctx, tx, schema); err != nil {
		return err
	}
	have, err := tables(ctx, tx, schema)
	if err != nil {
		return err
	}
	if err := alike(have, m.Tables); err != nil {
		return err
	}
	r, err := open(path)
	if err != nil {
		return err
	}
	defer r.close()
	err = withoutForeignKeys(ctx, tx, schema, func() error {
		progress := Progress{Step: "load", TablesTotal: len(m.Tables), RowsTotal: m.Rows()}
		for {
			name, err := r.next()
			if err != nil || name == "" {
				return err
			}
			i := indexOf(m.Tables, name)
			if i < 0 {
				return badArchive("table %s is not in its manifest", name)
			}
			sum := newMeasure()
			tag, err := tx.Conn().PgConn().CopyFrom(ctx, io.TeeReader(r.table(name), sum), m.Tables[i].in(schema, "text"))
			if err != nil {
				return fmt.Errorf("load table %s: %w", name, err)
			}
			var read Table
			sum.into(&read)
			if read.SHA256 != m.Tables[i].SHA256 || tag.RowsAffected() != m.Tables[i].Rows {
				return badArchive("table %s has changed since it was verified", name)
			}
			progress.Tables, progress.Rows, progress.Bytes = progress.Tables+1, progress.Rows+read.Rows, progress.Bytes+read.Bytes
			report(progress)
		}
	})
	if err != nil {
		return err
	}
	return setSequences(ctx, tx, schema, m.Sequences)
}

func indexOf(all []Table, name string) int {
	for i, t := range all {
		if t.Name == name {
			return i
		}
	}
	return -1
}

// alike refuses data of other tables or columns than the schema has.
func alike(have, data []Table) error {
	name := func(t Table) string { return t.Name }
	if a, b := names(have, name), names(data, name); a != b {
		return badArchive("its tables are %s; at its migration they are %s", b, a)
	}
	column := func(c Column) string { return c.Name + " " + c.Type }
	for i := range have {
		if a, b := names(have[i].Columns, column), names(data[i].Columns, column); a != b {
			return badArchive("the columns of its table %s are %s; at its migration they are %s", have[i].Name, b, a)
		}
	}
	return nil
}

// compare reads the rows back, as an export would, and fails if they are not byte for byte those of the archive.
func compare(ctx context.Context, conn *pgx.Conn, schema string, m *Manifest) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := session(ctx, tx, schema); err != nil {
			return err
		}
		have, err := tables(ctx, tx, schema)
		if err != nil {
			return err
		}
		for i, t := range have {
			sum := newMeasure()
			if _, err := conn.PgConn().CopyTo(ctx, sum, "copy ("+t.out(schema)+") to stdout"); err != nil {
				return fmt.Errorf("read table %s back: %w", t.Name, err)
			}
			sum.into(&t)
			if t.Rows != m.Tables[i].Rows || len(t.Key) > 0 && t.SHA256 != m.Tables[i].SHA256 {
				return fmt.Errorf("table %s: the rows that were loaded are not those of the archive", t.Name)
			}
		}
		return nil
	})
}

// analyze gives the planner its statistics now, rather than whenever autovacuum comes by. Without them it is slow, not wrong.
func analyze(ctx context.Context, conn *pgx.Conn, schema string) {
	rows, err := conn.Query(ctx, "select relname from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p')", quote(schema))
	if err != nil {
		return
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return
	}
	for _, t := range all {
		_, _ = conn.Exec(ctx, "analyze "+quote(schema, t))
	}
}
