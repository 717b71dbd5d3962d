package main

import (
	"slices"
	"testing"

	"garment.id/homecore/modules/central/tenants"
)

// domainsAreKept asks no name server: that a proof is found is tested where there is one.
func domainsAreKept(t *testing.T, d *dev) {
	slug := demoData(t).Tenants[1].Slug
	domains := func(args ...string) *process {
		t.Helper()
		return finish(t, nil, slices.Concat([]string{"tenants", "domains"}, args, []string{"--data-dir", d.dir})...)
	}
	domains("add", slug, "Pesan.Contoh.co.id").exits(t, 0, "_homecore.pesan.contoh.co.id TXT homecore-verification=")
	domains("list", slug).exits(t, 0, "pesan.contoh.co.id", "pending")
	rows := read[[]tenants.DomainRecord](t, []byte(domains("list", slug, "--json").exits(t, 0).out.String()))
	if len(rows) != 1 || rows[0].Domain != "pesan.contoh.co.id" || rows[0].Record.Value == "" {
		t.Errorf("%+v", rows)
	}
	domains("add", slug, "co.id").exits(t, 1, "domain")
	domains("add", "tidak-ada", "pesan.contoh.co.id").exits(t, 1, "no tenant tidak-ada")
	domains("list", "tidak-ada").exits(t, 1, "no tenant tidak-ada")
	domains("add", slug).exits(t, 2)
	domains("remove", slug, "pesan.contoh.co.id").exits(t, 0, "no longer a domain")
	domains("remove", slug, "pesan.contoh.co.id").exits(t, 1, "has not claimed pesan.contoh.co.id")
}
