package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/tenancy/migrate"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Run what is missing. May be repeated, and run by several at once."`
	Status migrateStatus `cmd:"" default:"withargs" help:"Show what is missing. Changes nothing."`
	Drift  migrateDrift  `cmd:"" help:"Find tenants' schemas that are not as the migrations make them, and say what differs. Changes nothing."`
}

type migrateUp struct {
	dataDir
	Set         string   `help:"Only central or only tenant." enum:"central,tenant,all" default:"all"`
	Tenant      string   `help:"Only the tenant of this slug." placeholder:"SLUG"`
	Workers     int      `help:"Schemas migrated at a time on each cluster." default:"4"`
	Canary      []string `help:"Tenants that come first; if one fails, the run stops. May be repeated." placeholder:"SLUG"`
	MaxFailures *int     `help:"Failures in a wave after which the run stops. Default: one, or one in a hundred; none among canaries." placeholder:"N"`
	Waves       bool     `help:"Begin with few schemas and go on if that went well." default:"true" negatable:""`
	JSON        bool     `name:"json" help:"Print the report as JSON."`
}

// migrateReport is what --json prints.
type migrateReport struct {
	Central []string        `json:"central"` // what ran in the schemas all tenants share
	Tenants *migrate.Report `json:"tenants,omitempty"`
}

func (m *migrateUp) Run(c *console) error {
	if m.Workers < 1 {
		return fmt.Errorf("%w: --workers: want 1 or more", errUsage)
	}
	if m.MaxFailures != nil && *m.MaxFailures < 0 {
		return fmt.Errorf("%w: --max-failures: want 0 or more", errUsage)
	}
	config, err := m.config(c)
	if err != nil {
		return err
	}
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	r := migrateReport{Central: []string{}}
	if m.Set != "tenant" && m.Tenant == "" {
		err := migrateCentral(c.ctx, config, owner, slog.New(slog.DiscardHandler), func(line string) {
			r.Central = append(r.Central, line)
			if !m.JSON {
				fmt.Fprintln(c.out, line)
			}
		})
		if err != nil {
			return err
		}
	}
	if m.Set != "central" {
		if r.Tenants, err = m.tenants(c, config, owner); r.Tenants == nil {
			return err
		}
	}
	switch {
	case m.JSON:
		err = errors.Join(printJSON(c.out, r), failing(r.Tenants, err))
	case r.Tenants != nil:
		printMigrated(c.out, r.Tenants)
		err = failing(r.Tenants, err)
	}
	return err
}

func (m *migrateUp) tenants(c *console, config app.Config, owner *pgxpool.Pool) (*migrate.Report, error) {
	for _, slug := range append(slices.Clone(m.Canary), m.Tenant) {
		if slug == "" {
			continue
		}
		if err := app.TenantExists(c.ctx, owner, slug); err != nil {
			return nil, err
		}
	}
	fleet, err := app.LoadFleet(c.ctx, config, owner)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	p := &migrateProgress{c: c, json: m.JSON, terminal: isTerminal(c.err), begun: time.Now()}
	r, err := migrate.New(fleet).Run(c.ctx, migrate.Options{
		Slug: m.Tenant, Workers: m.Workers, Canaries: m.Canary, NoWaves: !m.Waves, MaxFailures: m.MaxFailures,
	}, p.show)
	p.clear()
	return &r, err
}

// failing is the command's error: what failed has been printed already, a line each.
func failing(r *migrate.Report, err error) error {
	switch {
	case err == nil || r == nil:
		return err
	case r.Stopped != "":
		return fmt.Errorf("stopped %s; %d schemas are not begun; run it again once the cause is gone", r.Stopped, r.NotBegun)
	case r.Failed > 0:
		return errors.New("some tenants could not be migrated; run it again once the cause is gone")
	}
	return err
}

func printMigrated(w io.Writer, r *migrate.Report) {
	if len(r.Waves) > 1 {
		for _, wave := range r.Waves {
			fmt.Fprintf(w, "wave     %s: %s, %.1f s\n", wave.Name, outcome(wave.Migrated, wave.Failed, wave.Elsewhere, 0), wave.Seconds)
		}
	}
	fmt.Fprintf(w, "tenants  %s, %.1f s\n", outcome(r.Migrated, r.Failed, r.Elsewhere, r.NotBegun), r.Seconds)
}

func outcome(migrated, failed, elsewhere, notBegun int) string {
	text := fmt.Sprintf("%d migrated, %d failed", migrated, failed)
	if elsewhere > 0 {
		text += fmt.Sprintf(", %d by another process", elsewhere)
	}
	if notBegun > 0 {
		text += fmt.Sprintf(", %d not begun", notBegun)
	}
	return text
}

// migrateProgress shows a run as it goes: a line for each failure, and on a terminal one that is written again and again.
type migrateProgress struct {
	c              *console
	json, terminal bool
	begun, shown   time.Time
}

func (p *migrateProgress) show(e migrate.Event) {
	if !p.json && (e.Err != nil && !e.Again || e.Err == nil && e.Again) {
		p.clear()
		if e.Err != nil {
			fmt.Fprintf(p.c.out, "failed   %s: %v\n", e.Slug, e.Err)
		} else {
			fmt.Fprintf(p.c.out, "mended   %s\n", e.Slug)
		}
	}
	if !p.terminal || time.Since(p.shown) < 200*time.Millisecond && e.Done < e.Total {
		return
	}
	p.shown = time.Now()
	rate := float64(e.Done) / time.Since(p.begun).Seconds()
	left := time.Duration(float64(e.Total-e.Done) / rate * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(p.c.err, "\r\x1b[Ktenants  wave %s: %d of %d, %.0f/s, %d failed, %s left", e.Wave, e.Done, e.Total, rate, e.Failed, left)
}

// clear takes the line away.
func (p *migrateProgress) clear() {
	if p.terminal && !p.shown.IsZero() {
		fmt.Fprint(p.c.err, "\r\x1b[K")
	}
}

// migrateCentral brings schema central and the login roles up to this binary.
func migrateCentral(ctx context.Context, config app.Config, owner *pgxpool.Pool, log *slog.Logger, report app.Progress) error {
	if err := app.MigrateCentral(ctx, owner, log, report); err != nil {
		return err
	}
	f, err := app.Install(ctx, config, owner)
	if err != nil {
		return err
	}
	f.Close()
	return nil
}

type migrateStatus struct {
	dataDir
	Set    string `help:"Only central or only tenant." enum:"central,tenant,all" default:"all"`
	Tenant string `help:"Only the tenant of this slug." placeholder:"SLUG"`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (m *migrateStatus) Run(c *console) error {
	environ, err := m.environ(c)
	if err != nil {
		return err
	}
	config := app.LoadDatabases(environ)
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	s, err := app.MigrationStatus(c.ctx, config, owner)
	if err != nil {
		return err
	}
	if m.Tenant != "" {
		if err := app.TenantExists(c.ctx, owner, m.Tenant); err != nil {
			return err
		}
		s.Behind = slices.DeleteFunc(s.Behind, func(b migrate.Behind) bool { return b.Slug != m.Tenant })
	}
	if m.JSON {
		return printJSON(c.out, s)
	}
	if m.Set != "tenant" {
		fmt.Fprintf(c.out, "central  %d of %d\n", s.Central.Applied, s.Central.Available)
	}
	if m.Set != "central" {
		printBehind(c.out, s)
	}
	return nil
}

type migrateDrift struct {
	dataDir
	Tenant string `help:"Only the tenant of this slug." placeholder:"SLUG"`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (m *migrateDrift) Run(c *console) error {
	environ, err := m.environ(c)
	if err != nil {
		return err
	}
	config := app.LoadDatabases(environ)
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	f, err := app.LoadFleet(c.ctx, config, owner)
	if err != nil {
		return err
	}
	defer f.Close()
	if m.Tenant != "" {
		if err := app.TenantExists(c.ctx, owner, m.Tenant); err != nil {
			return err
		}
	}
	r := struct {
		migrate.DriftReport
		Differences []migrate.Difference `json:"differences"`
	}{Differences: []migrate.Difference{}}
	r.DriftReport, err = migrate.New(f).Drift(c.ctx, m.Tenant, func(d migrate.Difference) {
		if m.JSON {
			r.Differences = append(r.Differences, d)
			return
		}
		fmt.Fprintln(c.out, d)
	})
	if err != nil {
		return err
	}
	if m.JSON {
		if err := printJSON(c.out, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.out, "schemas  %d compared, %d differ\n", r.Schemas, r.Different)
	}
	if r.Different > 0 {
		return errors.New("some schemas are not as the migrations make them, see above")
	}
	return nil
}

// printBehind says how many are behind, and of the failed ones and some others, why or how far.
func printBehind(w io.Writer, s app.Status) {
	fmt.Fprintf(w, "tenants  %d are behind, the newest migration is %d\n", len(s.Behind), s.Tenant)
	const some = 20
	shown := 0
	for _, b := range s.Behind {
		switch {
		case b.Failure != "":
			fmt.Fprintf(w, "         %s is at %d, failed %d times, at %s: %s\n", b.Slug, b.Version, b.Attempts, b.FailedAt.Format(time.DateTime), b.Failure)
		case shown < some:
			fmt.Fprintf(w, "         %s is at %d\n", b.Slug, b.Version)
		default:
			continue
		}
		shown++
	}
	if shown < len(s.Behind) {
		fmt.Fprintf(w, "         … and %d more\n", len(s.Behind)-shown)
	}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
