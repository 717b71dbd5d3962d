package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

type tenantsCommand struct {
	List    tenantsList    `cmd:"" help:"List tenants."`
	Export  tenantsExport  `cmd:"" help:"Write all rows of a tenant to an archive, as they are at one moment."`
	Restore tenantsRestore `cmd:"" help:"Bring a tenant back to the state in an archive. The old state is kept until --accept."`
	Move    tenantsMove    `cmd:"" help:"Move a tenant to another cluster. It is under maintenance while its rows are copied."`
}

// fleet opens the clusters as their owner, which is all that operators' work on tenants needs; done closes them.
func (d dataDir) fleet(c *console) (f *fleet.Fleet, done func(), err error) {
	environ, err := d.environ(c)
	if err != nil {
		return nil, nil, err
	}
	config := app.LoadDatabases(environ)
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return nil, nil, err
	}
	if f, err = app.LoadFleet(c.ctx, config, owner); err != nil {
		owner.Close()
		return nil, nil, err
	}
	return f, func() { f.Close(); owner.Close() }, nil
}

type tenantsList struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

type tenantRow struct {
	ID      uuid.UUID      `json:"id"`
	Slug    string         `json:"slug"`
	Name    string         `json:"name"`
	Status  tenancy.Status `json:"status"`
	Cluster string         `json:"cluster"`
}

func (l *tenantsList) Run(c *console) error {
	f, done, err := l.fleet(c)
	if err != nil {
		return err
	}
	defer done()
	rows, err := f.Main().Owner().Query(c.ctx, "select id, slug, name, status, cluster from central.tenants order by slug")
	if err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	tenants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[tenantRow])
	if err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	if l.JSON {
		return printJSON(c.out, tenants)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SLUG\tSTATUS\tCLUSTER\tNAME")
	for _, t := range tenants {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Slug, t.Status, t.Cluster, t.Name)
	}
	return w.Flush()
}
