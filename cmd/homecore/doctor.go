package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/mail"
)

type doctorCommand struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON; in development also database_url (superuser) and database_source."`
}

type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

type report struct {
	OK             bool      `json:"ok"`
	Checks         []finding `json:"checks"`
	DatabaseURL    string    `json:"database_url,omitempty"`
	DatabaseSource string    `json:"database_source,omitempty"`
}

func (d *doctorCommand) Run(c *console) error {
	ctx, cancel := context.WithTimeout(c.ctx, 30*time.Second)
	defer cancel()
	r := &report{OK: true}
	if running, ok := d.running(); ok && !hasVariable(c.environ, "DATABASE_URL") {
		r.DatabaseURL, r.DatabaseSource = running.SuperuserURL, running.DatabaseSource
	}
	d.examine(ctx, c, r)
	if d.JSON {
		if err := printJSON(c.out, r); err != nil {
			return err
		}
	} else {
		for _, f := range r.Checks {
			mark := "ok  "
			if !f.OK {
				mark = "FAIL"
			}
			fmt.Fprintf(c.out, "%s  %-14s %s\n", mark, f.Check, f.Detail)
			if f.Advice != "" {
				fmt.Fprintf(c.out, "      %-14s → %s\n", "", f.Advice)
			}
		}
	}
	if !r.OK {
		return fmt.Errorf("something is wrong, see above")
	}
	return nil
}

func (r *report) add(check string, err error, detail, advice string) bool {
	f := finding{Check: check, OK: err == nil, Detail: detail}
	if err != nil {
		f.Detail, f.Advice, r.OK = err.Error(), advice, false
	}
	r.Checks = append(r.Checks, f)
	return f.OK
}

func (d *doctorCommand) examine(ctx context.Context, c *console, r *report) {
	config, err := d.config(c)
	if !r.add("configuration", err, "complete", "set the variable it names; configs/ lists them all, and homecore dev needs none") {
		return
	}
	owner, err := app.OpenOwner(ctx, config.DatabaseURL)
	if err == nil {
		defer owner.Close()
		err = owner.Ping(ctx)
	}
	if !r.add("database", err, "answers", "is Postgres running, and are the address and the password in "+app.Prefix+"DATABASE_URL right?") {
		return
	}
	version, rights, err := examineServer(ctx, owner)
	r.add("server", err, version, "HomeCore needs PostgreSQL 14 or newer")
	r.add("owner role", rights, "may create roles and schemas", "alter role … createrole, and let it own the database")
	clock, err := examineClock(ctx, owner)
	r.add("clock", err, clock, "synchronise the clocks (NTP): tokens expire by them")
	s, err := app.MigrationStatus(ctx, config, owner)
	if err == nil && (s.Central.Applied < s.Central.Available || len(s.Behind) > 0) {
		err = fmt.Errorf("central at %d of %d, %d tenants behind", s.Central.Applied, s.Central.Available, len(s.Behind))
	}
	r.add("migrations", err, fmt.Sprintf("central at %d, tenants at %d", s.Central.Applied, s.Tenant), "homecore migrate up")
	if url := config.SMTPURL.Reveal(); url != "" {
		smtp, err := mail.NewSMTP(mail.SMTPConfig{URL: url, From: config.MailFrom})
		if err == nil {
			err = smtp.Check(ctx)
		}
		r.add("mail", err, "the server takes our login", "check "+app.Prefix+"SMTP_URL")
	} else {
		r.add("mail", nil, "no "+app.Prefix+"SMTP_URL: dev keeps mail at /dev/mail, serve would not start", "")
	}
}

func examineServer(ctx context.Context, owner *pgxpool.Pool) (version string, rights, err error) {
	var number int
	var may bool
	err = owner.QueryRow(ctx, `select current_setting('server_version'), current_setting('server_version_num')::int,
			(rolsuper or rolcreaterole) and has_database_privilege(current_database(), 'create')
		from pg_roles where rolname = current_user`).Scan(&version, &number, &may)
	if err == nil && number < 140000 {
		err = fmt.Errorf("PostgreSQL %s", version)
	}
	if err == nil && !may {
		rights = fmt.Errorf("it may not create roles or schemas")
	}
	return "PostgreSQL " + version, rights, err
}

func examineClock(ctx context.Context, owner *pgxpool.Pool) (string, error) {
	var theirs time.Time
	asked := time.Now()
	if err := owner.QueryRow(ctx, "select clock_timestamp()").Scan(&theirs); err != nil {
		return "", err
	}
	apart := theirs.Sub(asked.Add(time.Since(asked) / 2)).Abs().Round(time.Millisecond)
	if apart > 5*time.Second {
		return "", fmt.Errorf("this machine and the database are %s apart", apart)
	}
	return fmt.Sprintf("%s apart from the database's", apart), nil
}
