// Package apptest starts the whole of HomeCore for a test: the same wiring as production, on a database of its own that is
// cloned from a migrated template, behind a real HTTP server, with its jobs running. Tests come in by the front door:
//
//	a := apptest.New(t)
//	owner := a.SignUp(t).Onboard(t, "rapi-jahit")
//	owner.Post(t, "/master-data/taxonomies", map[string]any{"kind": "color", "code": "MERAH", "name": "Merah"}).Want(t, 201)
//
// Every answer is held against the OpenAPI document of the host it came from.
package apptest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/migrations"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy/fleet"
)

// App is a running HomeCore.
type App struct {
	*app.App
	URL          string // of the HTTP server; requests to it name their host
	OwnerURL     string // the database, as the role that owns it
	SuperURL     string // the database, as superuser
	Installation fleet.Installation
}

// Option changes how the app is started.
type Option func(*app.Config, *app.Options)

// WithClock gives the app another clock.
func WithClock(now func() time.Time) Option {
	return func(_ *app.Config, o *app.Options) { o.Clock = now }
}

// WithLog gives the app a log, which is otherwise thrown away.
func WithLog(w io.Writer) Option {
	return func(_ *app.Config, o *app.Options) {
		o.Log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

// WithDial puts a listener between the app and its tenants' database.
func WithDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(_ *app.Config, o *app.Options) { o.DialTenants = dial }
}

// With changes the configuration.
func With(change func(*app.Config)) Option {
	return func(c *app.Config, _ *app.Options) { change(c) }
}

// the owner of test databases: no superuser, so that nothing works here that would not on a managed Postgres.
const (
	ownerRole     = "homecore_test_owner"
	ownerPassword = "owner"
)

// New starts an app that ends with the test.
func New(t testing.TB, options ...Option) *App {
	t.Helper()
	a := &App{}
	a.SuperURL = pgtest.Clone(t, template(t), func(ctx context.Context, admin *pgx.Conn, _ string) error {
		return a.Installation.Uninstall(ctx, admin)
	})
	a.OwnerURL = asOwner(t, a.SuperURL)
	c, err := app.Load([]string{
		"HOMECORE_DATABASE_URL=" + a.OwnerURL, "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(),
		"HOMECORE_BASE_DOMAIN=localhost:8080", "HOMECORE_SCHEME=http", "HOMECORE_CENTRAL_CONNS=6", "HOMECORE_TENANT_GROUPS=2",
	})
	if err != nil {
		t.Fatal(err)
	}
	o := app.Options{Version: "test", Log: slog.New(slog.DiscardHandler), Development: true}
	for _, option := range options {
		option(&c, &o)
	}
	install(t, a, c)
	if a.App, err = app.New(t.Context(), c, o); err != nil {
		t.Fatal(err)
	}
	if err := a.Runner.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.Router)
	a.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := a.Runner.Stop(ctx); err != nil {
			t.Errorf("stop the jobs: %v", err)
		}
		a.Close()
	})
	return a
}

func install(t testing.TB, a *App, c app.Config) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	if _, err := admin.Exec(t.Context(), "alter database "+pgx.Identifier{admin.Config().Database}.Sanitize()+" owner to "+ownerRole); err != nil {
		t.Fatal(err)
	}
	owner, err := app.OpenOwner(t.Context(), c.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	f, err := app.Install(t.Context(), c, owner)
	if err != nil {
		t.Fatal(err)
	}
	a.Installation = f.Installation
	f.Close()
}

// template is a database with schema central, without an installation: roles belong to the server, so each clone makes its own.
func template(t testing.TB) pgtest.Template {
	t.Helper()
	h := sha256.New()
	for _, set := range []migrations.Set{migrations.Central, migrations.Cluster, migrations.Tenant} {
		all, err := migrations.Load(set)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %v", set, all)
	}
	return pgtest.Template{
		Name: "homecore_" + hex.EncodeToString(h.Sum(nil))[:16],
		Build: func(ctx context.Context, superURL string) error {
			admin, err := pgx.Connect(ctx, superURL)
			if err != nil {
				return err
			}
			defer admin.Close(ctx) //nolint:errcheck // nothing is left to lose
			for _, s := range []string{
				"do $$ begin create role " + ownerRole + " login createrole password '" + ownerPassword + "'; exception when duplicate_object then null; end $$",
				"alter database " + pgx.Identifier{admin.Config().Database}.Sanitize() + " owner to " + ownerRole,
			} {
				if _, err := admin.Exec(ctx, s); err != nil {
					return err
				}
			}
			owner, err := app.OpenOwner(ctx, asOwner(t, superURL))
			if err != nil {
				return err
			}
			defer owner.Close()
			return app.MigrateCentral(ctx, owner, slog.New(slog.DiscardHandler), func(string) {})
		},
	}
}

func asOwner(t testing.TB, superURL string) string {
	t.Helper()
	u, err := url.Parse(superURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(ownerRole, ownerPassword)
	return u.String()
}

// Until waits for a state that comes by itself, and fails the test if it does not within ten seconds.
func Until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !reached(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// client does not follow redirects: tests look at them.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}
