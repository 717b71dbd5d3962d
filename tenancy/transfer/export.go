package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// Export writes all rows of the tenant (slug or id), as they are at one moment, to an archive at path. The tenant stays in use.
// The file has its name only once it is whole and on the disk; until then, and if anything fails, there is none.
func (p *Porter) Export(ctx context.Context, tenant, path string, report Report) (*Manifest, error) {
	t, err := p.find(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if err := t.has(); err != nil {
		return nil, err
	}
	done, err := p.hold(ctx, t.id, true)
	if err != nil {
		return nil, err
	}
	defer done()
	a, err := create(path, p.now().UTC(), p.disk)
	if err != nil {
		return nil, err
	}
	defer a.abandon()
	m, err := p.manifest(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("export tenant %s: %w", t.slug, err)
	}
	if err := p.export(ctx, t, a, m, report); err != nil {
		return nil, fmt.Errorf("export tenant %s: %w", t.slug, err)
	}
	if err := a.finish(m); err != nil {
		return nil, fmt.Errorf("export tenant %s: %w", t.slug, err)
	}
	return m, nil
}

// manifest is what the registry knows of the tenant.
func (p *Porter) manifest(ctx context.Context, t registered) (*Manifest, error) {
	m := &Manifest{Format: Format, CreatedAt: p.now().UTC(), Installation: p.fleet.ID, Memberships: []Membership{}}
	owner := p.fleet.Main().Owner()
	err := owner.QueryRow(ctx, `select id, slug, name, plan, country, currency, timezone, locale, statement_timeout_ms
		from central.tenants where id = $1`, t.id).
		Scan(&m.Tenant.ID, &m.Tenant.Slug, &m.Tenant.Name, &m.Tenant.Plan, &m.Tenant.Country, &m.Tenant.Currency,
			&m.Tenant.Timezone, &m.Tenant.Locale, &m.Tenant.StatementTimeoutMS)
	if err != nil {
		return nil, err
	}
	rows, err := owner.Query(ctx, "select user_id, role, status from central.memberships where tenant_id = $1 order by user_id", t.id)
	if err != nil {
		return nil, err
	}
	m.Memberships, err = pgx.AppendRows(m.Memberships, rows, pgx.RowToStructByPos[Membership])
	return m, err
}

// export copies every table under one snapshot.
func (p *Porter) export(ctx context.Context, t registered, a *archive, m *Manifest, report Report) error {
	c, err := p.fleet.Cluster(t.cluster)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it only reads
	err = tx.QueryRow(ctx, "select version, current_setting('server_version') from tenancy.schemas where schema_name = $1 and state = 'current'", t.schema).
		Scan(&m.SchemaVersion, &m.Postgres)
	if errors.Is(err, pgx.ErrNoRows) {
		return Busy // it has just gone elsewhere
	}
	if err != nil {
		return err
	}
	if err := session(ctx, tx, t.schema); err != nil {
		return err
	}
	if m.Tables, err = tables(ctx, tx, t.schema); err != nil {
		return err
	}
	var rows, bytes int64
	for i := range m.Tables {
		table := &m.Tables[i]
		w := &parts{measure: newMeasure(), to: a, table: table.Name, told: func(r, b int64) {
			report(Progress{Step: "export", Tables: i, TablesTotal: len(m.Tables), Rows: rows + r, Bytes: bytes + b})
		}}
		if _, err := conn.PgConn().CopyTo(ctx, w, "copy ("+table.out(t.schema)+") to stdout"); err != nil {
			return fmt.Errorf("copy table %s: %w", table.Name, err)
		}
		if err := w.flush(); err != nil {
			return err
		}
		w.into(table)
		rows, bytes = rows+w.rows, bytes+w.bytes
		report(Progress{Step: "export", Tables: i + 1, TablesTotal: len(m.Tables), Rows: rows, Bytes: bytes})
	}
	m.Sequences, err = sequences(ctx, tx, t.schema)
	return err
}

// Writable fails, naming the folder, where no archive could be written to it. It makes the folder.
func Writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for exports: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe.*.partial")
	if err != nil {
		return fmt.Errorf("write to the folder for exports: %w", err)
	}
	_ = probe.Close()
	return os.Remove(filepath.Clean(probe.Name()))
}

// FileName is what an archive is called unless somebody says otherwise: the tenant, and when.
func FileName(slug string, at time.Time) string {
	return slug + "-" + at.UTC().Format("20060102T150405Z") + ".tar.zst"
}
