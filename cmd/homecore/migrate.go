package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/tenancy/migrate"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Run what is missing. May be repeated, and run by several at once."`
	Status migrateStatus `cmd:"" default:"withargs" help:"Show what is missing. Changes nothing."`
}

type migrateUp struct {
	dataDir
	Set     string `help:"Only central or only tenant." enum:"central,tenant,all" default:"all"`
	Tenant  string `help:"Only the tenant of this slug." placeholder:"SLUG"`
	Workers int    `help:"Tenants migrated at a time." default:"4"`
}

func (m *migrateUp) Run(c *console) error {
	if m.Workers < 1 {
		return fmt.Errorf("%w: --workers: want 1 or more", errUsage)
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
	if m.Set != "tenant" && m.Tenant == "" {
		if err := migrateCentral(c.ctx, config, owner, slog.New(slog.DiscardHandler), func(line string) { fmt.Fprintln(c.out, line) }); err != nil {
			return err
		}
	}
	if m.Set == "central" {
		return nil
	}
	if m.Tenant != "" {
		if err := app.TenantExists(c.ctx, owner, m.Tenant); err != nil {
			return err
		}
	}
	terminal := isTerminal(c.err)
	failed, done := 0, 0
	fleet, err := app.LoadFleet(c.ctx, config, owner)
	if err != nil {
		return err
	}
	defer fleet.Close()
	err = migrate.New(fleet).Run(c.ctx, migrate.Options{Slug: m.Tenant, Workers: m.Workers}, func(e migrate.Event) {
		done = e.Total
		if e.Err != nil {
			failed++
			fmt.Fprintf(c.out, "failed   %s: %v\n", e.Slug, e.Err)
		}
		if terminal {
			fmt.Fprintf(c.err, "\rtenants  %d of %d", e.Done, e.Total)
			if e.Done == e.Total {
				fmt.Fprintln(c.err)
			}
		}
	})
	if err != nil && failed == 0 {
		return err
	}
	fmt.Fprintf(c.out, "tenants  %d migrated, %d failed\n", done-failed, failed)
	if failed > 0 {
		return errors.New("some tenants could not be migrated; run it again once the cause is gone")
	}
	return nil
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
		fmt.Fprintf(c.out, "tenants  %d are behind, the newest migration is %d\n", len(s.Behind), s.Tenant)
		for _, b := range s.Behind {
			fmt.Fprintf(c.out, "         %s is at %d\n", b.Slug, b.Version)
		}
	}
	return nil
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
