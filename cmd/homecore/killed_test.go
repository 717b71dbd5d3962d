package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// A kill -9 while a workspace is made loses nothing that was acknowledged and makes nothing twice.
func TestDevKilledWhileOnboarding(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	d := startDev(t, dir, "--no-demo")
	siti := caller{base: d.base}.signUp(t, "siti@example.com")
	address := "127.0.0.1:" + portOf(t, d.base) // tokens name their issuer, so it stays where it is
	d.stop(t, syscall.SIGINT)
	d.leavesNoServer(t)
	d = startDev(t, dir, "--no-demo", "--listen", address)
	t.Logf("ready on its data of last time after %s", d.took)

	moments := []struct {
		name string
		wait func(t *testing.T, d *dev, slug string, answered <-chan error)
	}{
		{"at once", func(*testing.T, *dev, string, <-chan error) {}},
		{"when the name is claimed", func(t *testing.T, d *dev, slug string, _ <-chan error) { d.waitFor(t, slug, "true") }},
		{"when the schema is there", func(t *testing.T, d *dev, slug string, _ <-chan error) {
			d.waitFor(t, slug, "exists (select from pg_namespace where nspname = schema_name)")
		}},
		{"at random", func(_ *testing.T, _ *dev, _ string, answered <-chan error) {
			select {
			case <-answered:
			case <-time.After(rand.N(60 * time.Millisecond)): //nolint:gosec // a moment, not a secret
			}
		}},
		{"once it is answered", func(_ *testing.T, _ *dev, _ string, answered <-chan error) { <-answered }},
	}
	var made []string
	for i, moment := range moments {
		slug := fmt.Sprintf("terbunuh-%d", i)
		acknowledged := false
		answered := make(chan error)
		var status int
		go func() {
			defer close(answered)
			a, err := siti.try(context.Background(), http.MethodPost, "/auth/onboarding", draft(slug), "Idempotency-Key", slug)
			if err == nil {
				status = a.Status
			}
		}()
		moment.wait(t, d, slug, answered)
		if err := d.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		d.end(t)
		<-answered
		switch status {
		case http.StatusAccepted:
			acknowledged = true
		case 0: // cut off
		default:
			t.Fatalf("killed %s: answered %d", moment.name, status)
		}
		d.leavesNoServer(t)

		d = startDev(t, dir, "--no-demo", "--listen", address)
		found := d.count(t, "select count(*) from central.tenants where slug = $1", slug) == 1
		t.Logf("killed %s: acknowledged %t, found %t; ready again after %s", moment.name, acknowledged, found, d.took)
		if acknowledged && !found {
			t.Fatalf("killed %s: an acknowledged workspace is lost", moment.name)
		}
		if found {
			// It goes on by itself, without anybody asking again.
			d.waitFor(t, slug, "status = 'active'")
		}
		// The token is still good, and asking again with the same key makes nothing twice.
		a := siti.ask(t, http.StatusAccepted, http.MethodPost, "/auth/onboarding", draft(slug), "Idempotency-Key", slug)
		o := read[onboarding](t, a.Data)
		d.waitFor(t, slug, "status = 'active' and id::text = '"+o.Tenant.ID+"'")
		made = append(made, slug)
		d.hasOnce(t, made, siti)
	}
	// An account signs in with the password of before, and a new session works as well.
	again := caller{base: d.base}.login(t, "siti@example.com", password)
	if n := len(again.me(t).Tenants); n != len(made) {
		t.Errorf("%d tenants, want %d", n, len(made))
	}
	d.stop(t, syscall.SIGINT)
	d.leavesNoServer(t)
}

func portOf(t *testing.T, base string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(base)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// hasOnce fails the test unless every workspace is there once: its row, its schema, its owner, its own roles and taxonomies.
func (d *dev) hasOnce(t *testing.T, slugs []string, owner caller) {
	t.Helper()
	for what, query := range map[string]string{
		"tenants": "select count(*) from central.tenants",
		"owners":  "select count(*) from central.memberships where role = 'owner' and status = 'active'",
		"onboardings": `select count(*) from central.onboardings where status = 'active'
			and not jsonb_path_exists(steps, '$[*] ? (@.status != "done")')`,
		"schemas": `select count(*) from pg_namespace where nspname in (select schema_name from central.tenants)`,
		"schemas in all that wait for nobody": `select count(distinct n.nspname) from pg_namespace n join pg_class c on c.relnamespace = n.oid
			where c.relname = 'taxonomies' and nspname not in (select schema_name from tenancy.schemas where state = 'warm')`,
		"schemas taken": "select count(*) from tenancy.schemas where state = 'current'",
	} {
		if n := d.count(t, query); n != len(slugs) {
			t.Errorf("%d %s, want %d", n, what, len(slugs))
		}
	}
	inside := owner.enter(t, slugs[len(slugs)-1])
	inside.get(t, "/master-data/taxonomies")
	inside.ask(t, http.StatusCreated, http.MethodPost, "/master-data/taxonomies", map[string]string{"kind": "fabric", "code": "RAYON", "name": "Rayon"})
}

// waitFor waits until the tenant's row is there and like condition.
func (d *dev) waitFor(t *testing.T, slug, condition string) {
	t.Helper()
	conn := connect(t, d.superURL(t))
	until(t, slug+": "+condition, func() bool {
		var n int
		if err := conn.QueryRow(t.Context(), "select count(*) from central.tenants where slug = $1 and "+condition, slug).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}
