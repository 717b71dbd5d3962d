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
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
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

// WithCluster gives the app another cluster: a database of its own on server, the superuser's URL of one (see pgtest.Start), or on
// the server of all tests where that is empty. Its tenants do not come by themselves: it accepts no new ones.
func WithCluster(t testing.TB, name string, kind fleet.Kind, server string) Option {
	t.Helper()
	ref := app.Prefix + "CLUSTER_" + strings.ToUpper(name) + "_URL"
	// Within New, after the app's own database was made: it is dropped before that one, whose end takes the roles along.
	return func(c *app.Config, _ *app.Options) {
		at := ""
		if server == "" {
			at = pgtest.Database(t)
		} else {
			at = databaseOn(t, server, name)
		}
		prepareOwner(t, at)
		if c.ClusterURLs == nil {
			c.ClusterURLs = map[string]string{}
		}
		c.ClusterURLs[ref] = asOwner(t, at) + "#" + string(kind)
	}
}

// databaseOn makes a database on a server that is the test's own.
func databaseOn(t testing.TB, server, name string) string {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	name = fmt.Sprintf("%s_%s", name, strings.ToLower(rand.Text()[:8]))
	if _, err := admin.Exec(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// prepareOwner gives a database to the owner of test databases.
func prepareOwner(t testing.TB, superURL string) {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), superURL)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	for _, s := range owning(admin.Config().Database) {
		if _, err := admin.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// owning makes the owner's role, if it is not there, the owner of a database.
func owning(database string) []string {
	return []string{
		"do $$ begin create role " + ownerRole + " login createrole password '" + ownerPassword + "'; exception when duplicate_object or unique_violation then null; end $$",
		"alter database " + pgx.Identifier{database}.Sanitize() + " owner to " + ownerRole,
	}
}

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
		"HOMECORE_OPERATORS_NEED_TWO_FACTOR=false",        // likewise
		"HOMECORE_THROTTLE=off", "HOMECORE_TENANT_POOL=0", // a test that wants to be throttled, or warm schemas, says so
	})
	if err != nil {
		t.Fatal(err)
	}
	o := app.Options{Version: "test", Log: slog.New(slog.DiscardHandler), Development: true}
	for _, option := range options {
		option(&c, &o)
	}
	install(t, a, c)
	a.start(t, c, o)
	return a
}

// Another starts one more process on the same database, as it were: it shares nothing with the first but Postgres.
func (a *App) Another(t testing.TB, options ...Option) *App {
	t.Helper()
	b := &App{OwnerURL: a.OwnerURL, SuperURL: a.SuperURL, Installation: a.Installation}
	c, o := a.Config, app.Options{Version: "test", Log: slog.New(slog.DiscardHandler), Development: true}
	for _, option := range options {
		option(&c, &o)
	}
	b.start(t, c, o)
	return b
}

func (a *App) start(t testing.TB, c app.Config, o app.Options) {
	t.Helper()
	var err error
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
	defer f.Close()
	for ref, at := range c.ClusterURLs {
		at, kind, _ := strings.Cut(at, "#")
		c.ClusterURLs[ref] = at
		name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(ref, app.Prefix+"CLUSTER_"), "_URL"))
		if err := app.AddCluster(t.Context(), c, f, owner, fleet.Cluster{Name: name, Kind: fleet.Kind(kind), URLRef: ref, Groups: 2}); err != nil {
			t.Fatal(err)
		}
	}
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
			for _, s := range owning(admin.Config().Database) {
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
	for deadline := time.Now().Add(time.Minute); !reached(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// client does not follow redirects: tests look at them.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       2 * time.Minute, // 500 sign-ins at once take a while on a busy machine
}
