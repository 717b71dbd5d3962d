package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/tenancy/transfer"
)

type tenantsExport struct {
	dataDir
	Slug string `arg:"" help:"The tenant's slug or id."`
	File string `help:"Where to write the archive; by default SLUG-TIME.tar.zst in HOMECORE_EXPORT_DIR, else here." type:"path" placeholder:"FILE"`
	JSON bool   `name:"json" help:"Print what the archive says of itself."`
}

func (e *tenantsExport) Run(c *console) error {
	environ, err := e.environ(c)
	if err != nil {
		return err
	}
	file := e.File
	if file == "" {
		dir := cmp.Or(variable(environ, "EXPORT_DIR"), ".")
		if err := transfer.Writable(dir); err != nil {
			return fmt.Errorf("%sEXPORT_DIR: %w", app.Prefix, err)
		}
		file = filepath.Join(dir, transfer.FileName(e.Slug, time.Now()))
	}
	p, done, err := e.porter(c)
	if err != nil {
		return err
	}
	defer done()
	report, end := progressLine(c)
	m, err := p.Export(c.ctx, e.Slug, file, report)
	end()
	if err != nil {
		return inWords(err)
	}
	if e.JSON {
		return printJSON(c.out, m)
	}
	fmt.Fprintf(c.out, "%s: %d rows of %d tables in %s\n", m.Tenant.Slug, m.Rows(), len(m.Tables), file)
	return nil
}

type tenantsRestore struct {
	dataDir
	Slug   string `arg:"" help:"The tenant's slug or id."`
	File   string `arg:"" optional:"" help:"The archive." type:"path"`
	Accept bool   `help:"Drop the state from before the last restore or move, for good." xor:"what"`
	Undo   bool   `help:"Change places with the state kept since the last restore." xor:"what"`
}

func (r *tenantsRestore) Run(c *console) error {
	if (r.File == "") == !(r.Accept || r.Undo) {
		return fmt.Errorf("%w: give an archive, or --accept, or --undo", errUsage)
	}
	p, done, err := r.porter(c)
	if err != nil {
		return err
	}
	defer done()
	switch {
	case r.Accept:
		if err := p.Accept(transfer.By(c.ctx, atTheConsole()), r.Slug); err != nil {
			return inWords(err)
		}
		fmt.Fprintf(c.out, "%s: the old state is dropped\n", r.Slug)
	case r.Undo:
		if err := p.Undo(transfer.By(c.ctx, atTheConsole()), r.Slug); err != nil {
			return inWords(err)
		}
		fmt.Fprintf(c.out, "%s: the state in use and the one kept have changed places; --undo changes them back, --accept drops the one kept\n", r.Slug)
	default:
		report, end := progressLine(c)
		m, err := p.Restore(transfer.By(c.ctx, atTheConsole()), r.Slug, r.File, report)
		end()
		if err != nil {
			return inWords(err)
		}
		fmt.Fprintf(c.out, "%s: %d rows restored, as of %s; the old state is kept: restore %[1]s --accept drops it, --undo returns to it\n",
			r.Slug, m.Rows(), m.CreatedAt.Format(time.RFC3339))
	}
	return nil
}

type tenantsMove struct {
	dataDir
	Slug string `arg:"" help:"The tenant's slug or id."`
	To   string `required:"" help:"The cluster to move it to." placeholder:"CLUSTER"`
}

func (m *tenantsMove) Run(c *console) error {
	p, done, err := m.porter(c)
	if err != nil {
		return err
	}
	defer done()
	report, end := progressLine(c)
	moved, err := p.Move(transfer.By(c.ctx, atTheConsole()), m.Slug, m.To, report)
	end()
	if err != nil {
		return inWords(err)
	}
	fmt.Fprintf(c.out, "%s: %d rows moved to cluster %s, shut for %s; the old schema is kept: tenants restore %[1]s --accept drops it\n",
		m.Slug, moved.Rows, m.To, moved.Shut.Round(time.Millisecond))
	return nil
}

// porter opens what exports, restores and moves; done closes it.
func (d dataDir) porter(c *console) (p *transfer.Porter, done func(), err error) {
	f, done, err := d.fleet(c)
	if err != nil {
		return nil, nil, err
	}
	return transfer.New(f, slog.New(slog.DiscardHandler)), done, nil
}

// progressLine writes one line again and again, on a terminal; elsewhere nothing. end finishes it.
func progressLine(c *console) (report transfer.Report, end func()) {
	if !isTerminal(c.err) {
		return func(transfer.Progress) {}, func() {}
	}
	var last time.Time
	step := ""
	return func(p transfer.Progress) {
			if p.Step == step && time.Since(last) < 100*time.Millisecond {
				return
			}
			last, step = time.Now(), p.Step
			writeProgress(c.err, p)
		}, func() {
			if step != "" {
				fmt.Fprintln(c.err)
			}
		}
}

func writeProgress(w io.Writer, p transfer.Progress) {
	// ECMA-48 §8.3.41: the rest of the line is erased.
	fmt.Fprintf(w, "\r%-8s %d of %d tables, %d rows, %d MiB\x1b[K", p.Step, p.Tables, p.TablesTotal, p.Rows, p.Bytes>>20)
}
