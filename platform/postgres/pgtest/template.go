package pgtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Template is a database built once per cluster, to be cloned by many tests.
type Template struct {
	// Name carries a hash of what Build does (of the migrations, say): a template of the same name is taken as it is.
	Name string
	// Build fills the empty database at url and leaves no connection open.
	Build func(ctx context.Context, url string) error
}

// Clone returns the superuser's URL of a new copy of the template, dropped like that of Database. The first to ask, of all
// test processes on the cluster, builds the template; the others wait.
func Clone(t testing.TB, template Template, after ...Cleanup) string {
	t.Helper()
	c := use(t)
	// A build that failed fails all the tests of this process at once, rather than each after its own wait.
	build, _ := builds.LoadOrStore(template.Name, sync.OnceValue(func() error { return c.ensure(template) }))
	if err := build.(func() error)(); err != nil {
		t.Fatalf("build the database template %s: %v", template.Name, err)
	}
	return database(t, template.Name, after)
}

// builds holds, by name, this process's templates; see shared for why it is a variable of the package.
var builds sync.Map

// ensure sees that the template exists.
func (c *cluster) ensure(template Template) error {
	const longest = 63 - len(unfinished) // PostgreSQL cuts longer names
	if len(template.Name) == 0 || len(template.Name) > longest {
		return fmt.Errorf("its name must have 1 to %d bytes", longest)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // not the first test's: others wait for it too
	defer cancel()
	return c.admin.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		const key = "hashtextextended('pgtest template ' || $1, 0)"
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock("+key+")", template.Name); err != nil {
			return err
		}
		defer conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock("+key+")", template.Name)
		var exists bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", template.Name).Scan(&exists)
		if err != nil || exists {
			return err
		}
		return c.build(ctx, conn, template)
	})
}

const unfinished = "_unfinished"

// build works under another name, so that what a killed builder leaves is never taken for the template.
func (c *cluster) build(ctx context.Context, conn *pgxpool.Conn, template Template) error {
	name, final := quote(template.Name+unfinished), quote(template.Name)
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE template0"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := template.Build(ctx, c.database(template.Name+unfinished)); err != nil {
		return err
	}
	for _, sql := range []string{
		"ALTER DATABASE " + name + " ALLOW_CONNECTIONS false", // one open connection, and nobody could clone it
		"ALTER DATABASE " + name + " RENAME TO " + final,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%w (has Build left a connection open?)", err)
		}
	}
	return nil
}
