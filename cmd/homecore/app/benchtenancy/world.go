package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/postgres"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

// oneSchema holds the rows of all tenants in one set of tables, as an application without tenancy keeps them.
const oneSchema = "one"

// world is a cluster of its own with tenants on it, made by the fleet as an installation's are, and the registry that lets in.
type world struct {
	options  options
	server   *postgres.Server
	config   app.Config // of an app on the same database
	url      string
	secret   crypto.Key
	owner    *pgxpool.Pool
	central  *database.DB
	fleet    *fleet.Fleet
	registry *tenancy.Registry
	versions int // of the tenants' migrations
	tenants  []*tenant
	dial     pgconn.DialFunc // counts what goes over the wire, while that is asked for
	undo     []func() error
}

// tenant is one that is there to be read.
type tenant struct {
	index  int // in the order in which they were made: its rows' ids follow from it
	id     uuid.UUID
	schema string // quoted
	ctx    context.Context
}

func newWorld(ctx context.Context, o options) (w *world, err error) {
	w = &world{options: o, secret: crypto.NewKey(), versions: 1}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.startServer(ctx); err != nil {
		return nil, err
	}
	w.config, err = app.Load([]string{
		"HOMECORE_DATABASE_URL=" + w.url, "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(), "HOMECORE_BASE_DOMAIN=" + base, "HOMECORE_SCHEME=http",
		"HOMECORE_THROTTLE=off", "HOMECORE_TENANT_POOL=0", // "cold" is cold, and what is warm was made so
	})
	if err != nil {
		return nil, err
	}
	w.options.groups = cmp.Or(w.options.groups, w.config.TenantGroups)
	w.options.conns = cmp.Or(w.options.conns, w.config.TenantConnsPerGroup)
	if w.owner, err = app.OpenOwner(ctx, w.url); err != nil {
		return nil, err
	}
	w.undo = append(w.undo, func() error { w.owner.Close(); return nil })
	if err := app.MigrateCentral(ctx, w.owner, quiet(), func(string) {}); err != nil {
		return nil, err
	}
	if err := w.install(ctx); err != nil {
		return nil, err
	}
	ddl := "begin; create schema " + oneSchema + "; set local search_path = " + oneSchema + "; " + strings.Join(baseline(), "\n") + " commit"
	if _, err := w.owner.Exec(ctx, ddl, pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, fmt.Errorf("make the schema without tenancy: %w", err)
	}
	return w, w.durable(ctx, false)
}

// startServer runs a server that makes no checkpoint of its own during the run: one after making ten thousand tenants takes
// minutes, and would hit whoever is being measured.
func (w *world) startServer(ctx context.Context) error {
	binaries, err := postgres.Find(ctx, postgres.Options{Dir: os.Getenv("HOMECORE_PG_BIN"), DownloadURL: os.Getenv("HOMECORE_PG_DOWNLOAD_URL")})
	if err != nil {
		return err
	}
	w.server, err = postgres.Start(ctx, postgres.Config{
		Binaries: binaries, Logger: quiet(),
		Fsync: true, // what is given on the command line cannot be changed later
		Settings: map[string]string{
			"max_connections": "400", "shared_buffers": w.options.buffers, "max_wal_size": "64GB", "checkpoint_timeout": "1d", "autovacuum": "off",
			"max_wal_senders": "0", "jit": "off",
		},
	})
	if err != nil {
		return err
	}
	w.url = w.server.URL()
	w.undo = append(w.undo, func() error { return w.server.Stop(context.Background()) })
	return nil
}

// durable turns on or off what makes commits survive a crash.
func (w *world) durable(ctx context.Context, on bool) error {
	value := "off"
	if on {
		value = "on"
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if _, err := w.owner.Exec(ctx, "alter system set "+setting+" = "+value); err != nil {
			return err
		}
	}
	if _, err := w.owner.Exec(ctx, "select pg_reload_conf()"); err != nil {
		return err
	}
	w.owner.Reset() // what is open reads the settings when it is next idle; what is opened, at once
	if on {
		// What was written without it is still on its way to the disk, and the first commit would wait for all of it.
		_ = exec.CommandContext(ctx, "sync").Run()
	}
	return nil
}

// install makes the roles, or takes them back from the app, whose passwords are others; and opens registry and fleet.
func (w *world) install(ctx context.Context) (err error) {
	config := fleet.Config{Owner: w.owner, URL: w.url, Open: app.OpenOwner, Set: set(w.versions), Refer: func(string) string { return "" }}
	if w.fleet, err = fleet.Install(ctx, config, fleet.Cluster{Groups: w.options.groups}, w.password); err != nil {
		return err
	}
	if w.central == nil {
		c, err := pgxpool.ParseConfig(w.url)
		if err != nil {
			return err
		}
		c.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
		if w.central, err = database.Open(ctx, c, quiet()); err != nil {
			return err
		}
		w.undo = append(w.undo, func() error { w.central.Close(); return nil })
	}
	w.registry = tenancy.NewRegistry(w.central, base, w.versions)
	return nil
}

func (w *world) password(role string) string { return fmt.Sprintf("%x", w.secret.Derive(role)) }

// grow makes tenants, each with rows, until there are n.
func (w *world) grow(ctx context.Context, n int) error {
	first := len(w.tenants)
	if n <= first {
		return nil
	}
	begun := time.Now()
	added := make([]*tenant, n-first)
	for i := range added {
		added[i] = &tenant{index: first + i, id: uuid.New()}
	}
	if err := w.register(ctx, added); err != nil {
		return err
	}
	made, ctx := errgroup.WithContext(ctx)
	made.SetLimit(max(2, runtime.NumCPU()))
	for i, t := range added {
		if i > 0 && i%1000 == 0 {
			w.options.progress("%d of %d tenants made, %.0f/s", first+i, n, float64(i)/time.Since(begun).Seconds())
		}
		made.Go(func() error { return w.fill(ctx, t) })
	}
	if err := made.Wait(); err != nil {
		return fmt.Errorf("make tenants: %w", err)
	}
	if _, err := w.owner.Exec(context.WithoutCancel(ctx), rowsSQL(oneSchema, first, n), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("fill the schema without tenancy: %w", err)
	}
	w.tenants = append(w.tenants, added...)
	var size, log string
	if err := w.owner.QueryRow(context.WithoutCancel(ctx), `select pg_size_pretty(pg_database_size(current_database())), pg_size_pretty(pg_current_wal_lsn() - '0/0'::pg_lsn)`).
		Scan(&size, &log); err != nil {
		return err
	}
	w.options.progress("%d tenants made in %s; the database has %s, its log %s", len(added), time.Since(begun).Round(time.Millisecond*100), size, log)
	// What has just been made is hot in the order of its making; readers meet it in another.
	rand.New(rand.NewPCG(7, uint64(n))).Shuffle(len(w.tenants), func(i, j int) { w.tenants[i], w.tenants[j] = w.tenants[j], w.tenants[i] })
	return nil
}

// register puts rows into the registry that have no place yet, as the first step of an onboarding does.
func (w *world) register(ctx context.Context, added []*tenant) error {
	rows := make([][]any, len(added))
	for i, t := range added {
		rows[i] = []any{t.id, "t-" + t.id.String(), "Konveksi", tenancy.Active, tenancy.DefaultCluster}
	}
	_, err := w.owner.CopyFrom(ctx, pgx.Identifier{"central", "tenants"}, []string{"id", "slug", "name", "status", "cluster"}, pgx.CopyFromRows(rows))
	if err != nil {
		return fmt.Errorf("register tenants: %w", err)
	}
	return nil
}

// fill builds the tenant's schema and puts rows into it.
func (w *world) fill(ctx context.Context, t *tenant) error {
	if err := w.fleet.Build(ctx, t.id); err != nil {
		return err
	}
	var schema string
	if err := w.owner.QueryRow(ctx, "select schema_name from central.tenants where id = $1", t.id).Scan(&schema); err != nil {
		return err
	}
	t.schema = quote(schema)
	_, err := w.owner.Exec(ctx, rowsSQL(schema, t.index, t.index+1), pgx.QueryExecModeSimpleProtocol)
	return err
}

// enter gives every tenant a context that works as it.
func (w *world) enter(ctx context.Context) error {
	for _, t := range w.tenants {
		var err error
		if t.ctx, err = w.registry.Enter(ctx, t.id); err != nil {
			return err
		}
	}
	return nil
}

// enterCost is what Registry.Enter takes for a tenant that it knows, in microseconds, while it hears of changes.
func (w *world) enterCost(ctx context.Context) (float64, error) {
	const times = 50_000
	listening, stop := context.WithCancel(ctx)
	var heard sync.WaitGroup
	heard.Go(func() { w.registry.Listen(listening, quiet()) })
	defer heard.Wait()
	defer stop()
	some := w.tenants[:min(len(w.tenants), 1000)]
	for _, t := range some {
		if _, err := w.registry.Enter(ctx, t.id); err != nil {
			return 0, err
		}
	}
	begun := time.Now()
	for i := range times {
		if _, err := w.registry.Enter(ctx, some[i%len(some)].id); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(begun).Nanoseconds()) / times / 1000, nil
}

func (w *world) close() error {
	var errs []error
	for _, undo := range slices.Backward(w.undo) {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
