// Package pgtest gives tests real databases of their own.
//
// They live in the cluster of HOMECORE_TEST_DATABASE_URL (see with-postgres), or else in one that the test process starts
// when first asked. That one ends with the process, however it ends.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/platform/postgres"
)

// URLVariable names the environment variable that holds the superuser's URL of a throwaway cluster.
const URLVariable = "HOMECORE_TEST_DATABASE_URL"

// Cleanup is called with a superuser's connection to the cluster and the name of a database that has just been dropped.
type Cleanup func(ctx context.Context, admin *pgx.Conn, database string) error

// Database returns the superuser's URL of a new empty database, which is dropped when the test ends, whoever is connected.
// Roles belong to the cluster and are left alone: drop yours in an after, which runs when nothing depends on them any more.
func Database(t testing.TB, after ...Cleanup) string {
	t.Helper()
	return database(t, "template0", after)
}

func database(t testing.TB, template string, after []Cleanup) string {
	t.Helper()
	c := use(t)
	name := freshName(t)
	if _, err := c.admin.Exec(t.Context(), "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)+c.strategy); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := c.drop(name, after); err != nil {
			t.Errorf("clean up database %s: %v", name, err)
		}
	})
	return c.database(name)
}

// Maintenance returns the superuser's URL of the cluster's database postgres. It is shared by all tests: connect, look, leave.
func Maintenance(t testing.TB) string {
	t.Helper()
	return use(t).url
}

// Start runs a throwaway cluster tuned for tests, in a temporary folder.
func Start(ctx context.Context) (*postgres.Server, error) {
	binaries, err := postgres.Find(ctx, postgres.Options{
		Dir: os.Getenv("HOMECORE_PG_BIN"), DownloadURL: os.Getenv("HOMECORE_PG_DOWNLOAD_URL"),
	})
	if err != nil {
		return nil, err
	}
	return postgres.Start(ctx, postgres.Config{
		Binaries: binaries,
		Logger:   slog.New(slog.DiscardHandler),
		Settings: map[string]string{
			"max_connections": "400",
			"shared_buffers":  "256MB",
			"wal_level":       "minimal",
			"max_wal_senders": "0",
			"max_wal_size":    "4GB", // no checkpoints of its own while tests run
			"autovacuum":      "off", // it would hold on to databases that are to be cloned or dropped
		},
	})
}

// cluster is the one that this process's tests share.
type cluster struct {
	url      string
	admin    *pgxpool.Pool
	strategy string // of CREATE DATABASE
}

// shared is a variable of the package since tests, which are functions without a common owner, share one cluster per process.
var shared = sync.OnceValues(func() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	address := os.Getenv(URLVariable)
	if address == "" {
		server, err := Start(ctx) // never stopped here: it ends with the process
		if err != nil {
			return nil, err
		}
		address = server.URL()
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", URLVariable, err)
	}
	config.MaxConns = 8
	config.MaxConnIdleTime = time.Second
	admin, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	c := &cluster{url: address, admin: admin}
	// With fsync off, copying files takes a third of the time of copying through the log. Before 15 it is the only way.
	err = admin.QueryRow(ctx, `SELECT CASE WHEN current_setting('server_version_num')::int >= 150000 THEN ' STRATEGY file_copy' ELSE '' END`).Scan(&c.strategy)
	return c, err
})

func use(t testing.TB) *cluster {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatalf("a PostgreSQL cluster for the tests: %v", err)
	}
	return c
}

// database returns the URL of another database of the cluster.
func (c *cluster) database(name string) string {
	u, err := url.Parse(c.url)
	if err != nil {
		panic(err) // pgx has parsed it
	}
	u.Path = "/" + name
	return u.String()
}

func (c *cluster) drop(name string, after []Cleanup) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own context has ended
	defer cancel()
	return c.admin.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
			return err
		}
		for _, clean := range after {
			if err := clean(ctx, conn.Conn(), name); err != nil {
				return err
			}
		}
		return nil
	})
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// freshName is unused and tells whose it is: test_refuses_a_code_already_used_mfrggzdf.
func freshName(t testing.TB) string {
	last := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, last)
	return "test_" + clean[:min(len(clean), 40)] + "_" + strings.ToLower(rand.Text()[:10])
}
