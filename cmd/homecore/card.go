package main

import (
	"fmt"
	"io"
	"strings"

	"garment.id/homecore/cmd/homecore/app"
)

// printCard says where everything is.
func printCard(w io.Writer, c app.Config, r runtime, demo app.Demo, seeded bool, server *devServer) {
	line := func(label, text string) { fmt.Fprintf(w, "  %-12s %s\n", label, text) }
	fmt.Fprintf(w, "\nHomeCore %s is ready.\n\n", buildVersion())
	line("Core API", c.Origin()+"/api/v1")
	tenant := c.Scheme + "://{slug}." + c.BaseDomain
	if seeded && len(demo.Tenants) > 0 {
		tenant = strings.Replace(tenant, "{slug}", demo.Tenants[0].Slug, 1)
	}
	line("Tenant API", tenant+"/api/v1")
	line("API docs", c.Origin()+"/docs")
	if c.SMTPURL.Reveal() == "" {
		line("Mailbox", c.Origin()+"/dev/mail")
	} else {
		line("Mail", "goes to the server of "+app.Prefix+"SMTP_URL")
	}
	if issuer := c.Identity.Google.Issuer; issuer == c.Origin()+devIssuer {
		line("Google", c.Origin()+devGooglePage+"  a stand-in, where anybody may be chosen")
	} else {
		line("Google", issuer)
	}
	if seeded {
		line("Operator", demo.Operator.Email+"  "+demo.Operator.Password)
	}
	if !c.Identity.OperatorsNeedTwoFactor {
		line("Operators", "need no second factor here: "+app.Prefix+"OPERATORS_NEED_TWO_FACTOR=false")
	}
	if seeded {
		line("Owner", demo.Owner.Email+"  "+demo.Owner.Password)
	}
	line("Postgres", r.DatabaseSource)
	if server != nil {
		line("psql", "psql '"+server.superURL+"'")
	}
	fmt.Fprint(w, "\nCtrl-C stops it; the next start goes on with the same data.\n\n")
}
