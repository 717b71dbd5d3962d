package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childVariable makes the test binary a program that clones the template it names, or with "dies:" is killed building it.
const childVariable = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	if name, ok := os.LookupEnv(childVariable); ok {
		if err := child(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(name string) error {
	c, err := shared()
	if err != nil {
		return err
	}
	name, dies := strings.CutPrefix(name, "dies:")
	return c.ensure(Template{Name: name, Build: func(ctx context.Context, url string) error {
		if err := execute(ctx, url, "CREATE TABLE built AS SELECT 1 AS id"); err != nil {
			return err
		}
		if dies {
			p, err := os.FindProcess(os.Getpid())
			if err != nil {
				return err
			}
			p.Kill()
			select {}
		}
		fmt.Println("built")
		return nil
	}})
}

// process returns a child on this process's cluster.
func process(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+name, URLVariable+"="+Maintenance(t))
	return cmd
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

func must(t *testing.T, url, sql string) {
	t.Helper()
	if err := execute(t.Context(), url, sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, url, sql string, args ...any) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func databases(t *testing.T, name string) int {
	t.Helper()
	return count(t, Maintenance(t), "SELECT count(*) FROM pg_database WHERE datname = $1", name)
}

func nameOf(t *testing.T, url string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Database
}

func TestDatabase(t *testing.T) {
	t.Parallel()

	t.Run("gives every test one of its own", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if err := execute(t.Context(), Database(t), "CREATE TABLE orders ()"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("drops it at the end, whoever is connected, and only then cleans up", func(t *testing.T) {
		t.Parallel()
		role, name := "pgtest_role_"+strings.ToLower(t.Name()[4:8]), ""
		t.Run("inner", func(t *testing.T) {
			url := Database(t, func(ctx context.Context, admin *pgx.Conn, database string) error {
				if database != name {
					t.Errorf("cleans up after %s", database)
				}
				_, err := admin.Exec(ctx, "DROP ROLE "+role) // refused as long as the role has something in the database
				return err
			})
			name = nameOf(t, url)
			must(t, url, "CREATE ROLE "+role+"; CREATE TABLE orders (); ALTER TABLE orders OWNER TO "+role)
			conn, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close(context.Background()) })
		})
		if databases(t, name) != 0 {
			t.Error("the database is left")
		}
		if count(t, Maintenance(t), "SELECT count(*) FROM pg_roles WHERE rolname = $1", role) != 0 {
			t.Error("the role is left")
		}
	})
	t.Run(`names it after the test: "É" & co, however long that name, however long that name may be`, func(t *testing.T) {
		t.Parallel()
		url := Database(t)
		if name := nameOf(t, url); !strings.HasPrefix(name, "test_names_it_after_the_test") || databases(t, name) != 1 {
			t.Errorf("name %s", name)
		}
	})
}

func TestClone(t *testing.T) {
	t.Parallel()

	t.Run("builds the template once for tests that run at the same time", func(t *testing.T) {
		t.Parallel()
		var built atomic.Int32
		template := Template{Name: "template_once", Build: func(ctx context.Context, url string) error {
			built.Add(1)
			return execute(ctx, url, "CREATE TABLE orders AS SELECT 7 AS id")
		}}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				url := Clone(t, template)
				if err := execute(t.Context(), url, "INSERT INTO orders VALUES (8)"); err != nil {
					t.Error(err)
				}
				if n := count(t, url, "SELECT count(*) FROM orders"); n != 2 {
					t.Errorf("%d orders in a clone", n)
				}
			})
		}
		wg.Wait()
		if n := built.Load(); n != 1 {
			t.Errorf("built %d times", n)
		}
	})
	t.Run("builds the template once for processes that run at the same time", func(t *testing.T) {
		t.Parallel()
		var outputs [3][]byte
		var wg sync.WaitGroup
		for i := range outputs {
			cmd := process(t, "template_processes")
			wg.Go(func() {
				var err error
				if outputs[i], err = cmd.Output(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all := string(outputs[0]) + string(outputs[1]) + string(outputs[2]); all != "built\n" {
			t.Errorf("the children said %q", all)
		}
	})
	t.Run("does not take what a killed builder left for the template", func(t *testing.T) {
		t.Parallel()
		if err := process(t, "dies:template_killed").Run(); err == nil {
			t.Fatal("the child lives")
		}
		if databases(t, "template_killed") != 0 || databases(t, "template_killed"+unfinished) != 1 {
			t.Fatal("the child was not killed on the way")
		}
		if out, err := process(t, "template_killed").Output(); err != nil || string(out) != "built\n" {
			t.Errorf("the next builder: %q, %v", out, err)
		}
		if databases(t, "template_killed") != 1 || databases(t, "template_killed"+unfinished) != 0 {
			t.Error("the template is not finished")
		}
	})
	t.Run("does not keep a template whose build failed", func(t *testing.T) {
		t.Parallel()
		broken := errors.New("broken migration")
		template := Template{Name: "template_failed", Build: func(context.Context, string) error { return broken }}
		if err := use(t).ensure(template); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		template.Build = func(context.Context, string) error { return nil }
		if err := use(t).ensure(template); err != nil {
			t.Errorf("the mended build: %v", err)
		}
	})
	t.Run("waits for connections that Build has only just closed", func(t *testing.T) {
		t.Parallel()
		Clone(t, Template{Name: "template_closing", Build: func(ctx context.Context, url string) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			time.AfterFunc(200*time.Millisecond, func() { conn.Close(context.Background()) })
			return nil
		}})
	})
	t.Run("refuses names that PostgreSQL would cut", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"", strings.Repeat("n", 60)} {
			if err := use(t).ensure(Template{Name: name}); err == nil {
				t.Errorf("takes %q", name)
			}
		}
	})
}
