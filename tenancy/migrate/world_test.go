package migrate_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childVariable); url != "" {
		os.Exit(child(url))
	}
	os.Exit(m.Run())
}

// world is a HomeCore with tenants, and migrations that they do not have yet.
type world struct {
	*apptest.App
	owner *pgxpool.Pool
	refer map[string]string // addresses of other clusters
}

type tenant struct {
	id   uuid.UUID
	slug string
	fleet.Place
	owner *pgxpool.Pool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{App: apptest.New(t), refer: map[string]string{}}
	w.owner = openOwner(t, w.OwnerURL)
	return w
}

func openOwner(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := app.OpenOwner(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// tenants makes n tenants on the main cluster, at the newest real migration.
func (w *world) tenants(t *testing.T, n int) []tenant {
	t.Helper()
	return w.tenantsOn(t, w.Fleet.Main(), n)
}

func (w *world) tenantsOn(t *testing.T, c *fleet.Cluster, n int) []tenant {
	t.Helper()
	out := make([]tenant, n)
	var wait sync.WaitGroup
	for k := range min(4, n) {
		wait.Go(func() {
			for i := k; i < n; i += 4 {
				id := uuid.New()
				one := tenant{id: id, slug: fmt.Sprintf("toko-%s-%d", id.String()[:4], i), owner: c.Owner()}
				place, err := w.Fleet.Make(t.Context(), c, &id, "current", len(w.Fleet.Set()), true)
				if err == nil {
					_, err = w.owner.Exec(t.Context(), `insert into central.tenants (id, slug, name, status, cluster, schema_name, role_name, login_group, schema_version)
						values ($1, $2, $2, 'active', $3, $4, $5, $6, $7)`, id.String(), one.slug, c.Name, place.Schema, place.Role, place.Group, place.Version)
				}
				if err != nil {
					t.Error(err)
					return
				}
				one.Place = place
				out[i] = one
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// step is a migration of a test.
func step(statements ...string) migrations.Migration {
	return migrations.Migration{Statements: statements}
}

// outside is one without a transaction.
func outside(statements ...string) migrations.Migration {
	return migrations.Migration{Statements: statements, NoTransaction: true}
}

// withSteps is the real set and the steps after it.
func withSteps(real []migrations.Migration, steps ...migrations.Migration) []migrations.Migration {
	set := append([]migrations.Migration{}, real...)
	for _, s := range steps {
		s.Version = len(set) + 1
		s.Name = fmt.Sprintf("%05d_test_step", s.Version)
		set = append(set, s)
	}
	return set
}

func (w *world) fleet(t *testing.T, steps ...migrations.Migration) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Load(t.Context(), w.config(w.owner, steps...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func (w *world) config(owner *pgxpool.Pool, steps ...migrations.Migration) fleet.Config {
	return fleet.Config{
		Owner: owner, URL: w.OwnerURL, Open: app.OpenOwner, Set: withSteps(w.Fleet.Set(), steps...),
		Refer: func(ref string) string { return w.refer[ref] },
	}
}

// runner is what another process would have.
func (w *world) runner(t *testing.T, steps ...migrations.Migration) *migrate.Runner {
	t.Helper()
	return migrate.New(w.fleet(t, steps...))
}

func do(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
}

func ask[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (out T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&out); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	return out
}

// in names a table of the tenant.
func (n tenant) in(table string) string { return pgx.Identifier{n.Schema, table}.Sanitize() }

// at fails the test unless the tenant's schema, its ledger and the registry agree on the version.
func (w *world) at(t *testing.T, n tenant, version int) {
	t.Helper()
	if v := ask[int](t, n.owner, "select version from tenancy.schemas where schema_name = $1", n.Schema); v != version {
		t.Errorf("%s is at %d, want %d", n.slug, v, version)
	}
	if v := ask[int](t, n.owner, "select count(*) from tenancy.applied where schema_name = $1", n.Schema); v != version {
		t.Errorf("%s has %d rows in its ledger, want %d", n.slug, v, version)
	}
	if v := ask[int](t, w.owner, "select schema_version from central.tenants where id = $1", n.id.String()); v != version {
		t.Errorf("the registry has %s at %d, want %d", n.slug, v, version)
	}
}

// hold runs a statement in a transaction that stays open until release is called.
func hold(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	t.Cleanup(release)
	return release
}
