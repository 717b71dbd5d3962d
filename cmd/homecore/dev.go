package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres"
	"garment.id/homecore/tenancy/migrate"
)

type devCommand struct {
	Listen  string `help:"Where the API listens; the base domain is derived from it." default:"127.0.0.1:8080"`
	DataDir string `help:"Where everything is kept. A second start goes on with it." default:".homecore" type:"path"`
	Demo    bool   `help:"Start with demo data." default:"true" negatable:""`
}

// Run starts everything, prints the card, and stops all of it when asked to. A killed dev leaves no Postgres behind: the
// server has a guard that ends with this process.
func (d *devCommand) Run(c *console) (err error) {
	defer func() {
		if err == nil {
			fmt.Fprintln(c.out, "Stopped.")
		}
	}()
	log, err := newLog(c.err, cmp.Or(variable(c.environ, "LOG"), "text"), cmp.Or(variable(c.environ, "LOG_LEVEL"), "info"))
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(d.Listen)
	if err != nil {
		return fmt.Errorf("%w: --listen: want host:port, such as 127.0.0.1:8080", errUsage)
	}
	// Listening comes first: a port that is taken is known before anything is started.
	l, err := (&net.ListenConfig{}).Listen(c.ctx, "tcp", d.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer l.Close() //nolint:errcheck // api.Serve closes it; this is for the ways before
	if port == "0" {
		_, port, _ = net.SplitHostPort(l.Addr().String())
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		host = "localhost" // browsers and curl resolve every name below it to this machine (RFC 6761 §6.3)
	}
	if err := os.MkdirAll(d.DataDir, 0o755); err != nil { //nolint:gosec // Postgres' own user must be able to pass
		return fmt.Errorf("--data-dir: %w", err)
	}
	secret, err := d.secret()
	if err != nil {
		return err
	}
	r := runtime{PID: os.Getpid(), DatabaseSource: app.Prefix + "DATABASE_URL"}
	r.Environ = []string{
		app.Prefix + "SECRET=" + secret.Encode().Reveal(), app.Prefix + "BASE_DOMAIN=" + net.JoinHostPort(host, port),
		app.Prefix + "SCHEME=http", app.Prefix + "LISTEN=" + d.Listen, app.Prefix + "METRICS_LISTEN=127.0.0.1:0", app.Prefix + "LOG=text",
		app.Prefix + "CORS_ORIGINS=http://" + net.JoinHostPort(host, port) + ",http://*." + net.JoinHostPort(host, port),
		app.Prefix + "OPERATORS_NEED_TWO_FACTOR=false", // so that the demo operator can be tried with a password alone
		app.Prefix + "EXPORT_DIR=" + filepath.Join(d.DataDir, "exports"),
	}
	var server *devServer
	if !hasVariable(c.environ, "DATABASE_URL") {
		if server, err = d.startPostgres(c.ctx, log, secret); err != nil {
			return unlessStopped(c.ctx, err)
		}
		defer func() { err = errors.Join(unlessStopped(c.ctx, err), server.stop()) }()
		r.Environ = append(r.Environ, app.Prefix+"DATABASE_URL="+server.ownerURL)
		r.SuperuserURL, r.DatabaseSource, r.LogFile = server.superURL, server.source(), server.LogFile
	}
	config, err := app.Load(slices.Concat(r.Environ, c.environ))
	if err != nil {
		return err
	}
	// What this process runs with, also where the environment said otherwise: the other commands must find the same.
	r.Environ = append(r.Environ, ours(c.environ)...)
	return d.serve(c, config, l, r, server, log)
}

func ours(environ []string) (out []string) {
	for _, e := range environ {
		if strings.HasPrefix(e, app.Prefix) {
			out = append(out, e)
		}
	}
	return out
}

func (d *devCommand) serve(c *console, config app.Config, l net.Listener, r runtime, server *devServer, log *slog.Logger) error {
	owner, err := app.OpenOwner(c.ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	if err := migrateCentral(c.ctx, config, owner, log, func(line string) { log.Debug(line) }); err != nil {
		return err
	}
	f, err := app.LoadFleet(c.ctx, config, owner)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := migrate.New(f).Run(c.ctx, migrate.Options{Workers: 4, NoWaves: true}, nil); err != nil {
		return err
	}
	google, err := devGoogle(&config)
	if err != nil {
		return err
	}
	a, err := app.New(c.ctx, config, app.Options{Version: buildVersion(), Log: log, Development: true, Pages: google})
	if err != nil {
		return err
	}
	defer a.Close()
	if server != nil {
		// The data folder is locked, so nobody else can be working: what is marked as running was a killed dev's.
		if err := a.Runner.Requeue(c.ctx); err != nil {
			return err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(runtimeFile(d.DataDir), text, 0o600); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	defer os.Remove(runtimeFile(d.DataDir)) //nolint:errcheck // a stale one names a process that is gone

	g, ctx := errgroup.WithContext(c.ctx)
	g.Go(func() error { return api.Serve(ctx, l, a.Router, config.ShutdownGrace) })
	g.Go(func() error { return work(ctx, a) })
	g.Go(func() error { return serveMetrics(ctx, a, log) })
	g.Go(func() error {
		demo, err := app.LoadDemo()
		if err != nil {
			return err
		}
		if d.Demo {
			if err := a.Seed(ctx, demo); err != nil {
				return err
			}
		}
		printCard(c.out, config, r, demo, d.Demo, server)
		return nil
	})
	if server != nil {
		g.Go(func() error { return server.watch(ctx) })
	}
	return g.Wait()
}

// unlessStopped drops the error that being asked to stop has caused, mostly that of a start cut short.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// secret is made at the first start and kept in the data folder.
func (d *devCommand) secret() (crypto.Key, error) {
	file := filepath.Join(d.DataDir, "secret")
	text, err := os.ReadFile(file) //nolint:gosec // the user names the folder
	if errors.Is(err, os.ErrNotExist) {
		key := crypto.NewKey()
		// Written aside and renamed: a killed start leaves no half of a secret.
		if err := os.WriteFile(file+".new", []byte(key.Encode().Reveal()+"\n"), 0o600); err != nil {
			return key, fmt.Errorf("--data-dir: %w", err)
		}
		return key, os.Rename(file+".new", file)
	}
	if err != nil {
		return crypto.Key{}, fmt.Errorf("--data-dir: %w", err)
	}
	key, err := crypto.ParseKey(strings.TrimSpace(string(text)))
	if err != nil {
		return key, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// devServer is the Postgres of a dev, with a database and an owner that is no superuser, as on a managed server.
type devServer struct {
	*postgres.Server
	config             postgres.Config
	ownerURL, superURL string
	log                *slog.Logger
}

const devDatabase = "homecore"

func (d *devCommand) startPostgres(ctx context.Context, log *slog.Logger, secret crypto.Key) (*devServer, error) {
	binaries, err := postgres.Find(ctx, postgres.Options{
		Dir: os.Getenv(app.Prefix + "PG_BIN"), DownloadURL: os.Getenv(app.Prefix + "PG_DOWNLOAD_URL"), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	s := &devServer{config: postgres.Config{Binaries: binaries, DataDir: d.DataDir, Fsync: true, Logger: log}, log: log}
	if s.Server, err = postgres.Start(ctx, s.config); err != nil {
		return nil, err
	}
	password := base64.RawURLEncoding.EncodeToString(secret.Authenticator("dev database owner").Sum([]byte(devDatabase)))
	if err := s.prepare(ctx, password); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// prepare makes the database and its owner. It may be repeated.
func (s *devServer) prepare(ctx context.Context, password string) error {
	super, err := url.Parse(s.URL())
	if err != nil {
		return fmt.Errorf("read the database's address: %w", err)
	}
	admin, err := pgx.Connect(ctx, super.String())
	if err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is left to lose
	var role, database bool
	if err := admin.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1), exists (select from pg_database where datname = $1)", devDatabase).
		Scan(&role, &database); err != nil {
		return fmt.Errorf("look for the database: %w", err)
	}
	statements := []string{}
	if !role {
		statements = append(statements, "create role "+devDatabase+" login createrole")
	}
	// The password is letters, digits, - and _: nothing to quote.
	statements = append(statements, "alter role "+devDatabase+" password '"+password+"'")
	if !database {
		statements = append(statements, "create database "+devDatabase+" owner "+devDatabase)
	}
	for _, statement := range statements {
		if _, err := admin.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make the database: %w", err)
		}
	}
	super.Path = "/" + devDatabase
	s.superURL = super.String()
	super.User = url.UserPassword(devDatabase, password)
	s.ownerURL = super.String()
	return nil
}

func (s *devServer) source() string {
	return "PostgreSQL " + s.Binaries.Version + ", " + s.Binaries.Source + " (" + s.Binaries.Dir + ")"
}

func (s *devServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Stop(ctx)
}

// watch starts the server again if it ends by itself, after giving whoever stopped it the time to start it themselves.
// Meanwhile requests are answered 503.
func (s *devServer) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Done():
		}
		s.log.Error("Postgres has ended; it is started again shortly", "cause", s.Err())
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(5 * time.Second):
			}
			config := s.config
			config.Port = s.Port // the address stays what everybody knows
			next, err := postgres.Start(ctx, config)
			if err == nil {
				s.Server = next
				s.log.Warn("Postgres runs again")
				break
			}
			s.log.Error("start Postgres again", "cause", err)
		}
	}
}
