package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os/user"
	"slices"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/modules/central/identity"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
)

type operatorsCommand struct {
	Grant  operatorsGrant  `cmd:"" help:"Give an account a role on the platform."`
	Revoke operatorsRevoke `cmd:"" help:"Take roles from an account."`
	List   operatorsList   `cmd:"" help:"List who has which role."`
}

type operatorsGrant struct {
	dataDir
	Email string `arg:"" help:"The account's e-mail address."`
	Role  string `required:"" enum:"owner,billing,support,auditor" help:"owner, billing, support or auditor."`
}

func (g *operatorsGrant) Run(c *console) error {
	service, done, err := g.operators(c)
	if err != nil {
		return err
	}
	defer done()
	if err := service.GrantRole(c.ctx, g.Email, g.Role, atTheConsole()); err != nil {
		return inWords(err)
	}
	fmt.Fprintf(c.out, "%s is now %s\n", g.Email, g.Role)
	return nil
}

type operatorsRevoke struct {
	dataDir
	Email string `arg:"" help:"The account's e-mail address."`
	Role  string `enum:",owner,billing,support,auditor" default:"" help:"Only this role; otherwise all of them."`
}

func (r *operatorsRevoke) Run(c *console) error {
	service, done, err := r.operators(c)
	if err != nil {
		return err
	}
	defer done()
	n, err := service.RevokeRole(c.ctx, r.Email, r.Role)
	if err != nil {
		return inWords(err)
	}
	roles := "roles"
	if n == 1 {
		roles = "role"
	}
	fmt.Fprintf(c.out, "%s: %d %s taken\n", r.Email, n, roles)
	return nil
}

type operatorsList struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

func (l *operatorsList) Run(c *console) error {
	service, done, err := l.operators(c)
	if err != nil {
		return err
	}
	defer done()
	operators, err := service.ListOperators(c.ctx)
	if err != nil {
		return err
	}
	if l.JSON {
		return printJSON(c.out, operators)
	}
	return table(c.out, func(line func(string, ...any)) {
		line("ROLE\tEMAIL")
		for _, o := range operators {
			line("%s\t%s", o.Role, o.Email)
		}
	})
}

// operators opens the operators' side of the identity module; done closes it.
func (d dataDir) operators(c *console) (service *identity.Service, done func(), err error) {
	url, err := d.databaseURL(c)
	if err != nil {
		return nil, nil, err
	}
	return app.Operators(c.ctx, url, slog.New(slog.DiscardHandler))
}

// inWords turns a fault into the sentence people read.
func inWords(err error) error {
	if f, ok := fault.From(err); ok {
		text := f.Text().In(locale.EN)
		fields := f.Fields()
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			for _, wrong := range fields[field] {
				text += " " + field + ": " + wrong.In(locale.EN)
			}
		}
		return errors.New(text)
	}
	return err
}

// atTheConsole is who works at the command line, for the history.
func atTheConsole() string {
	by := "command line"
	if u, err := user.Current(); err == nil {
		by += ", " + u.Username
	}
	return by
}
