package main

import (
	"log/slog"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
)

type openapiCommand struct {
	Surface string `enum:"core,tenant" default:"core" help:"core or tenant."`
}

func (o *openapiCommand) Run(c *console) error {
	config, err := app.Load(append([]string{
		// The document depends on no database and no secret; only the address in it may be wished for.
		app.Prefix + "DATABASE_URL=postgres://unused", app.Prefix + "SECRET=" + crypto.NewKey().Encode().Reveal(), app.Prefix + "BASE_DOMAIN=localhost:8080",
		app.Prefix + "SCHEME=http",
	}, c.environ...))
	if err != nil {
		return err
	}
	router, err := app.Routes(config, app.Options{Version: buildVersion(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	text, err := router.Document(api.Surface(o.Surface))
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(text, '\n'))
	return err
}
