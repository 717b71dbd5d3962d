package main

import (
	"errors"
	"fmt"
	"log/slog"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/modules/central/tenants"
	"garment.id/homecore/platform/fault"
)

type domainsCommand struct {
	List   domainsList   `cmd:"" help:"List a tenant's own domains, and the DNS record that proves each."`
	Add    domainsAdd    `cmd:"" help:"Claim a domain for a tenant."`
	Verify domainsVerify `cmd:"" help:"Look for a domain's proof in DNS, and let it be served."`
	Remove domainsRemove `cmd:"" help:"Give up a domain."`
}

// domains opens the operators' side of tenants' domains; done closes it.
func (d dataDir) domains(c *console) (domains *tenants.Domains, done func(), err error) {
	config, err := d.config(c)
	if err != nil {
		return nil, nil, err
	}
	return app.Domains(c.ctx, config, slog.New(slog.DiscardHandler))
}

type domainsList struct {
	dataDir
	Slug string `arg:"" help:"The tenant's slug or id."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (l *domainsList) Run(c *console) error {
	domains, done, err := l.domains(c)
	if err != nil {
		return err
	}
	defer done()
	rows, err := domains.List(c.ctx, l.Slug)
	if errors.Is(err, fault.ResourceNotFound) {
		return fmt.Errorf("there is no tenant %s", l.Slug)
	}
	if err != nil {
		return inWords(err)
	}
	records := make([]tenants.DomainRecord, len(rows))
	for i, row := range rows {
		records[i] = row.Record()
	}
	if l.JSON {
		return printJSON(c.out, records)
	}
	return table(c.out, func(line func(format string, args ...any)) {
		line("DOMAIN\tSTATUS\tTXT RECORD\tVALUE")
		for _, r := range records {
			line("%s\t%s\t%s\t%s", r.Domain, r.Status, r.Record.Name, r.Record.Value)
		}
	})
}

type domainArgs struct {
	dataDir
	Slug   string `arg:"" help:"The tenant's slug or id."`
	Domain string `arg:"" help:"The domain."`
}

// inWords says what was not found.
func (d *domainArgs) inWords(err error) error {
	if errors.Is(err, fault.ResourceNotFound) {
		return fmt.Errorf("there is no tenant %s, or it has not claimed %s", d.Slug, d.Domain)
	}
	return inWords(err)
}

type domainsAdd struct{ domainArgs }

func (a *domainsAdd) Run(c *console) error {
	domains, done, err := a.domains(c)
	if err != nil {
		return err
	}
	defer done()
	row, err := domains.Claim(c.ctx, a.Slug, a.Domain)
	if err != nil {
		return a.inWords(err)
	}
	fmt.Fprintf(c.out, "Enter this record where the DNS of %s is kept, then run homecore tenants domains verify %s %s\n\n%s TXT %s\n",
		row.Domain, a.Slug, row.Domain, row.RecordName(), row.RecordValue())
	return nil
}

type domainsVerify struct{ domainArgs }

func (v *domainsVerify) Run(c *console) error {
	domains, done, err := v.domains(c)
	if err != nil {
		return err
	}
	defer done()
	row, err := domains.Verify(c.ctx, v.Slug, v.Domain)
	if err != nil {
		return v.inWords(err)
	}
	fmt.Fprintf(c.out, "%s is now served for %s\n", row.Domain, v.Slug)
	return nil
}

type domainsRemove struct{ domainArgs }

func (r *domainsRemove) Run(c *console) error {
	domains, done, err := r.domains(c)
	if err != nil {
		return err
	}
	defer done()
	if err := domains.Remove(c.ctx, r.Slug, r.Domain); err != nil {
		return r.inWords(err)
	}
	fmt.Fprintf(c.out, "%s is no longer a domain of %s\n", r.Domain, r.Slug)
	return nil
}
