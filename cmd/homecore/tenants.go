package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/modules/central/tenants"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

type tenantsCommand struct {
	List        tenantsList        `cmd:"" help:"List tenants."`
	Show        tenantsShow        `cmd:"" help:"Show one tenant, and what became of it."`
	Create      tenantsCreate      `cmd:"" help:"Make a tenant for somebody who has an account."`
	Suspend     tenantsSuspend     `cmd:"" help:"Shut a tenant, at once and in every process."`
	Resume      tenantsResume      `cmd:"" help:"Open a tenant again."`
	Maintenance tenantsMaintenance `cmd:"" help:"Shut a tenant for a moment; clients are told when to come back."`
	ReadOnly    tenantsReadOnly    `cmd:"" name:"read-only" help:"Let a tenant be read only; Postgres refuses its writes."`
	Archive     tenantsArchive     `cmd:"" help:"Shut a tenant for good, and keep its data."`
	Unarchive   tenantsUnarchive   `cmd:"" help:"Undo an archive."`
	Drop        tenantsDrop        `cmd:"" help:"Shut a tenant now, and drop its data after a time of grace."`
	Undrop      tenantsUndrop      `cmd:"" help:"Undo a drop in its time of grace."`
	Rename      tenantsRename      `cmd:"" help:"Give a tenant another slug or name. No data moves."`
	Heal        tenantsHeal        `cmd:"" help:"Put right what crashes left: restores and moves that were cut off, and what differs between the registry and the clusters. A job does so by itself."`
	Reap        tenantsReap        `cmd:"" help:"Drop what nobody needs any more, drops whose time has come among it. A job does so by itself."`
	Domains     domainsCommand     `cmd:"" help:"Names that a tenant brings along."`
	Export      tenantsExport      `cmd:"" help:"Write all rows of a tenant to an archive, as they are at one moment."`
	Restore     tenantsRestore     `cmd:"" help:"Bring a tenant back to the state in an archive. The old state is kept until --accept."`
	Move        tenantsMove        `cmd:"" help:"Move a tenant to another cluster. It is under maintenance while its rows are copied."`
}

// tenants opens the operators' side of the tenants module, for which the databases are enough; done closes it.
func (d dataDir) tenants(c *console) (service *tenants.Service, done func(), err error) {
	environ, err := d.environ(c)
	if err != nil {
		return nil, nil, err
	}
	return app.Tenants(c.ctx, app.LoadDatabases(environ), slog.New(slog.DiscardHandler))
}

// fleet opens the clusters as their owner; done closes them.
func (d dataDir) fleet(c *console) (f *fleet.Fleet, done func(), err error) {
	s, done, err := d.tenants(c)
	if err != nil {
		return nil, nil, err
	}
	return s.Fleet, done, nil
}

// table writes lines whose cells are separated by tabs, under each other.
func table(w io.Writer, lines func(line func(format string, args ...any))) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines(func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) })
	return t.Flush()
}

type tenantsList struct {
	dataDir
	Status  string `help:"Only those of this status; dropped ones are listed only so." enum:",requested,creating,ready,active,read_only,suspended,maintenance,archived,dropping,dropped" default:"" placeholder:"STATUS"`
	Cluster string `help:"Only those on this cluster."`
	Q       string `name:"q" help:"Only those with this text in slug or name." placeholder:"TEXT"`
	JSON    bool   `name:"json" help:"Print JSON."`
}

func (l *tenantsList) Run(c *console) error {
	s, done, err := l.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	all := []tenants.Record{}
	for cursor := ""; ; {
		rows, next, err := s.List(c.ctx, tenants.Filter{Status: l.Status, Cluster: l.Cluster, Q: l.Q}, 1000, cursor, "slug")
		if err != nil {
			return inWords(err)
		}
		for _, t := range rows {
			all = append(all, s.Record(t))
		}
		if cursor = next; next == "" {
			break
		}
	}
	if l.JSON {
		return printJSON(c.out, all)
	}
	return table(c.out, func(line func(string, ...any)) {
		line("SLUG\tSTATUS\tCLUSTER\tMIGRATION\tSINCE\tNAME")
		for _, t := range all {
			line("%s\t%s\t%s\t%d\t%s\t%s", t.Slug, t.Status, t.Cluster, t.SchemaVersion, t.StatusChangedAt.Format(time.DateTime), t.Name)
		}
	})
}

// one is the tenant a command works on.
type one struct {
	dataDir
	Tenant string `arg:"" help:"Its slug or its id."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// inWords says which tenant was not found; a slug that was dropped is free, and names nothing.
func (o *one) inWords(err error) error {
	if errors.Is(err, fault.ResourceNotFound) {
		return fmt.Errorf("there is no tenant %s; tenants list names all, and with --status dropped those that are gone", o.Tenant)
	}
	return inWords(err)
}

type tenantsShow struct {
	one
	Events int `help:"How many of the last events." default:"20"`
}

// shown is a tenant with its place and its history.
type shown struct {
	tenants.Record
	Schema string          `json:"schema"`
	Role   string          `json:"role"`
	Group  int16           `json:"login_group"`
	Events []tenants.Event `json:"events"`
}

func (w *tenantsShow) Run(c *console) error {
	s, done, err := w.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	t, err := s.Find(c.ctx, w.Tenant)
	if err != nil {
		return w.inWords(err)
	}
	events, _, err := s.Events(c.ctx, t.ID, max(1, w.Events), "", "")
	if err != nil {
		return err
	}
	v := shown{s.Record(*t), t.SchemaName, t.RoleName, t.LoginGroup, events}
	if w.JSON {
		return printJSON(c.out, v)
	}
	err = table(c.out, func(line func(string, ...any)) {
		line("id\t%s\nslug\t%s\nname\t%s\nstatus\t%s, since %s", v.ID, v.Slug, v.Name, v.Status, v.StatusChangedAt.Format(time.DateTime))
		if v.StatusReason != nil {
			line("reason\t%s", *v.StatusReason)
		}
		if v.DropAfter != nil {
			line("dropped after\t%s", v.DropAfter.Format(time.DateTime))
		}
		line("cluster\t%s\nschema\t%s, at migration %d\nrole\t%s, group %d\ncreated\t%s",
			v.Cluster, v.Schema, v.SchemaVersion, v.Role, v.Group, v.CreatedAt.Format(time.DateTime))
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	return table(c.out, func(line func(string, ...any)) {
		line("AT\tWHAT\tFROM\tTO\tBY\tWHY")
		for _, e := range v.Events {
			line("%s\t%s\t%s\t%s\t%s\t%s", e.At.Format(time.DateTime), e.Action, e.FromStatus, e.ToStatus, e.ByWhom,
				strings.Trim(e.Detail+"; "+e.Reason, "; "))
		}
	})
}

// change is what the commands share that change a status.
func (o *one) change(c *console, a fleet.Action, order fleet.Order) error {
	return o.with(c, func(s *tenants.Service) (*tenancy.Tenant, error) {
		order.By = atTheConsole()
		return s.Change(c.ctx, o.Tenant, a, order)
	})
}

func (o *one) with(c *console, do func(*tenants.Service) (*tenancy.Tenant, error)) error {
	s, done, err := o.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	t, err := do(s)
	if err != nil {
		return o.inWords(err)
	}
	if o.JSON {
		return printJSON(c.out, s.Record(*t))
	}
	fmt.Fprintf(c.out, "%s is %s\n", strings.SplitN(t.Slug, "~", 2)[0], t.Status)
	return nil
}

type why struct {
	Reason string `help:"Why, for the history."`
}

type tenantsSuspend struct {
	one
	Reason string `required:"" help:"Why, for the history."`
}

func (t *tenantsSuspend) Run(c *console) error {
	return t.change(c, fleet.Suspend, fleet.Order{Reason: t.Reason})
}

type tenantsResume struct {
	one
	why
}

func (t *tenantsResume) Run(c *console) error {
	return t.change(c, fleet.Resume, fleet.Order{Reason: t.Reason})
}

type tenantsMaintenance struct {
	one
	why
	RetryAfter time.Duration `help:"When clients shall ask again, such as 90s or 10m."`
}

func (t *tenantsMaintenance) Run(c *console) error {
	if t.RetryAfter != 0 && t.RetryAfter < time.Second || t.RetryAfter > 24*time.Hour {
		return fmt.Errorf("%w: --retry-after: want 1s to 24h", errUsage)
	}
	return t.change(c, fleet.Maintenance, fleet.Order{Reason: t.Reason, RetryAfter: t.RetryAfter})
}

type tenantsReadOnly struct {
	one
	why
}

func (t *tenantsReadOnly) Run(c *console) error {
	return t.change(c, fleet.ReadOnly, fleet.Order{Reason: t.Reason})
}

type tenantsArchive struct {
	one
	why
}

func (t *tenantsArchive) Run(c *console) error {
	return t.change(c, fleet.Archive, fleet.Order{Reason: t.Reason})
}

type tenantsUnarchive struct {
	one
	why
}

func (t *tenantsUnarchive) Run(c *console) error {
	return t.change(c, fleet.Unarchive, fleet.Order{Reason: t.Reason})
}

type tenantsDrop struct {
	one
	Reason string `required:"" help:"Why, for the history."`
	Grace  *int   `help:"Days in which it can be undone; 30 by default." placeholder:"DAYS" xor:"when"`
	Now    bool   `help:"Without grace: the data is gone when the command returns." xor:"when"`
}

func (t *tenantsDrop) Run(c *console) error {
	grace := 30
	if t.Grace != nil {
		grace = *t.Grace
	}
	if grace < 1 || grace > 3650 {
		return fmt.Errorf("%w: --grace: want 1 to 3650 days, or --now", errUsage)
	}
	order := fleet.Order{Reason: t.Reason, Grace: time.Duration(grace) * 24 * time.Hour}
	if !t.Now {
		return t.change(c, fleet.Drop, order)
	}
	order.Grace = 0
	return t.with(c, func(s *tenants.Service) (*tenancy.Tenant, error) {
		order.By = atTheConsole()
		dropped, err := s.Change(c.ctx, t.Tenant, fleet.Drop, order)
		if err != nil {
			return nil, err
		}
		if dropped.DropAfter != nil && dropped.DropAfter.After(time.Now().Add(time.Minute)) {
			return nil, errors.New("it is being dropped already, after a time of grace; undrop it first")
		}
		if _, err := s.Fleet.Purge(c.ctx, steps(c)); err != nil {
			return nil, err
		}
		return s.Find(c.ctx, dropped.ID.String())
	})
}

// steps shows the progress of a drop that takes several, on a terminal.
func steps(c *console) fleet.Dropped {
	if !isTerminal(c.err) {
		return nil
	}
	return func(slug string, left int) { fmt.Fprintf(c.err, "%s: %d tables left\n", slug, left) }
}

type tenantsUndrop struct {
	one
	why
}

func (t *tenantsUndrop) Run(c *console) error {
	return t.change(c, fleet.Undrop, fleet.Order{Reason: t.Reason})
}

type tenantsRename struct {
	one
	why
	Slug string `help:"The new slug. The old address leads nowhere from then on."`
	Name string `help:"The new name."`
}

func (t *tenantsRename) Run(c *console) error {
	if t.Slug == "" && t.Name == "" {
		return fmt.Errorf("%w: want --slug, --name or both", errUsage)
	}
	if err := tenants.CheckNames(t.Slug, t.Name); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return t.with(c, func(s *tenants.Service) (*tenancy.Tenant, error) {
		return s.Rename(c.ctx, t.Tenant, t.Slug, t.Name, 0, fleet.Order{By: atTheConsole(), Reason: t.Reason})
	})
}

type tenantsCreate struct {
	dataDir
	Slug  string        `arg:"" help:"The workspace's name in its address."`
	Owner string        `required:"" help:"E-mail address of the account that shall own it." placeholder:"EMAIL"`
	Name  string        `required:"" help:"The name that people read."`
	Wait  time.Duration `help:"How long to wait for the workers to make it; 0 does not wait." default:"1m"`
	JSON  bool          `name:"json" help:"Print JSON."`
}

func (t *tenantsCreate) Run(c *console) error {
	if err := tenants.CheckNames(t.Slug, t.Name); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	people, closePeople, err := t.operators(c)
	if err != nil {
		return err
	}
	defer closePeople()
	owner, err := people.AccountOf(c.ctx, t.Owner)
	if err != nil {
		return inWords(err)
	}
	s, done, err := t.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	draft := tenants.Draft{Slug: t.Slug, Name: t.Name, Country: "ID", Currency: "IDR", Timezone: "Asia/Jakarta", Locale: "id"}
	o, err := s.Onboard(c.ctx, owner, draft)
	if err != nil {
		return inWords(err)
	}
	if err := s.Hasten(c.ctx, o.ID); err != nil {
		return err
	}
	tenant, err := t.wait(c, s, owner, o.ID)
	if err != nil {
		return err
	}
	if t.JSON {
		return printJSON(c.out, s.Record(*tenant))
	}
	fmt.Fprintf(c.out, "%s is %s\n", tenant.Slug, tenant.Status)
	return nil
}

// wait follows the workers' progress: what a tenant begins with is written as its own role, whose password they have.
func (t *tenantsCreate) wait(c *console, s *tenants.Service, owner, onboarding uuid.UUID) (*tenancy.Tenant, error) {
	ctx, cancel := context.WithTimeout(c.ctx, t.Wait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for {
		o, tenant, err := s.Show(c.ctx, owner, onboarding)
		if err != nil {
			return nil, err
		}
		steps, err := json.Marshal(o.Steps)
		if err != nil {
			return nil, err
		}
		if text := string(steps); isTerminal(c.err) && text != said {
			said = text
			for _, step := range o.Steps {
				fmt.Fprintf(c.err, "%s %s  ", step.Name, step.Status)
			}
			fmt.Fprintln(c.err)
		}
		switch {
		case o.Status == "active" || t.Wait == 0:
			return tenant, nil
		case o.Status == "failed":
			return nil, errors.New("it could not be made, and its name is free again; the workers' log says why")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is claimed but not made after %s: a homecore work or dev that runs makes it", t.Slug, t.Wait)
		}
	}
}

type tenantsHeal struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

func (h *tenantsHeal) Run(c *console) error {
	s, done, err := h.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	healed, err := s.Heal(c.ctx)
	if h.JSON {
		return errors.Join(err, printJSON(c.out, healed))
	}
	for _, slug := range healed.Tenants {
		fmt.Fprintf(c.out, "healed     %s\n", slug)
	}
	fmt.Fprintf(c.out, "tenants    %d healed\ntransfers  %d put right\n", len(healed.Tenants), healed.Transfers)
	return err
}

type tenantsReap struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

func (r *tenantsReap) Run(c *console) error {
	s, done, err := r.tenants(c)
	if err != nil {
		return err
	}
	defer done()
	reaped, err := s.Reap(c.ctx, steps(c))
	if r.JSON {
		return errors.Join(err, printJSON(c.out, reaped))
	}
	fmt.Fprintf(c.out, "tenants  %d given up, %d dropped\nschemas  %d swept\n", reaped.Abandoned, reaped.Tenants, reaped.Schemas)
	return err
}
