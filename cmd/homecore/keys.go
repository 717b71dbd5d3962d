package main

import (
	"fmt"
	"log/slog"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/modules/central/identity"
)

type keysCommand struct {
	Rotate keysRotate `cmd:"" help:"Let the next key sign, and publish another for the time after. Tokens of before stay good."`
	List   keysList   `cmd:"" help:"List the keys: next, active, retired, revoked."`
	Revoke keysRevoke `cmd:"" help:"Withdraw a key that may be in other hands: within five seconds nothing it signed is believed."`
}

type keysRotate struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

func (r *keysRotate) Run(c *console) error {
	keys, done, err := r.keys(c)
	if err != nil {
		return err
	}
	defer done()
	turned, err := keys.Rotate(c.ctx)
	if err != nil {
		return inWords(err)
	}
	if r.JSON {
		return printJSON(c.out, turned)
	}
	fmt.Fprintf(c.out, "%s is active, %s is retired, %s is next\n", turned.Active, turned.Retired, turned.Next)
	return nil
}

type keysList struct {
	dataDir
	JSON bool `name:"json" help:"Print JSON."`
}

func (l *keysList) Run(c *console) error {
	keys, done, err := l.keys(c)
	if err != nil {
		return err
	}
	defer done()
	all, err := keys.List(c.ctx)
	if err != nil {
		return err
	}
	if l.JSON {
		return printJSON(c.out, all)
	}
	return table(c.out, func(line func(string, ...any)) {
		line("KEY\tSTATUS\tALGORITHM\tMADE")
		for _, k := range all {
			line("%s\t%s\t%s\t%s", k.KID, k.Status, k.Alg, k.CreatedAt.UTC().Format(time.DateTime))
		}
	})
}

type keysRevoke struct {
	dataDir
	KID string `arg:"" name:"kid" help:"The key's id, as keys list shows it."`
}

func (r *keysRevoke) Run(c *console) error {
	keys, done, err := r.keys(c)
	if err != nil {
		return err
	}
	defer done()
	if err := keys.Revoke(c.ctx, r.KID); err != nil {
		return inWords(err)
	}
	fmt.Fprintf(c.out, "%s is revoked\n", r.KID)
	return nil
}

// keys opens the signing keys; done closes them.
func (d dataDir) keys(c *console) (keys *identity.Keys, done func(), err error) {
	config, err := d.config(c)
	if err != nil {
		return nil, nil, err
	}
	return app.Keys(c.ctx, config, slog.New(slog.DiscardHandler))
}
