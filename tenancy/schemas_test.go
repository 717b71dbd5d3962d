package tenancy_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

func ownerPool(t *testing.T, a *apptest.App) *pgxpool.Pool {
	t.Helper()
	pool, err := app.OpenOwner(t.Context(), a.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func placeOf(t *testing.T, pool *pgxpool.Pool, tenant uuid.UUID) (schema, role string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "select schema_name, role_name from central.tenants where id = $1", tenant).Scan(&schema, &role); err != nil {
		t.Fatal(err)
	}
	return schema, role
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// Postgres itself refuses what a tenant has no business with, whatever the code above it does.
func TestDatabaseKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t)
	mine, theirs := person.Onboard(t, "rapi-jahit"), person.Onboard(t, "seragam-kita")
	owner := ownerPool(t, a)
	mySchema, myRole := placeOf(t, owner, mine.TenantID)
	theirSchema, theirRole := placeOf(t, owner, theirs.TenantID)

	// A session as the superuser that has become the tenant's role: the most that entering can give.
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "set session authorization "+pgx.Identifier{myRole}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	other := pgx.Identifier{theirSchema}.Sanitize()
	for what, statement := range map[string]string{
		"read another schema":     "select * from " + other + ".taxonomies",
		"write to another schema": "insert into " + other + ".taxonomies (id) values (gen_random_uuid())",
		"alter another schema":    "alter table " + other + ".taxonomies add x int",
		"lock another schema":     "do $$ begin lock table " + other + ".taxonomies in share mode; end $$",
		"become another tenant":   "set role " + pgx.Identifier{theirRole}.Sanitize(),
		"read accounts":           "select * from central.users",
		"read the registry":       "select * from central.tenants",
		"make a temporary table":  "create temporary table taxonomies (id int)",
		"make a schema":           "create schema mine",
		"make a table in public":  "create table public.x (id int)",
		"alter its own tables":    "alter table " + pgx.Identifier{mySchema}.Sanitize() + ".taxonomies add x int",
	} {
		if _, err := conn.Exec(t.Context(), statement); sqlState(err) != "42501" {
			t.Errorf("it may %s: %v", what, err)
		}
	}
}

func TestBuildMayBeRepeated(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	member := a.SignUp(t).Onboard(t, "rapi-jahit")
	owner := ownerPool(t, a)
	p := a.Fleet
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if err := p.Build(t.Context(), member.TenantID); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	var rows int
	if err := owner.QueryRow(t.Context(), "select count(*) from tenancy.applied join tenancy.schemas using (schema_name) where tenant_id = $1", member.TenantID).Scan(&rows); err != nil || rows != len(p.Set()) {
		t.Errorf("%d ledger rows, want %d, %v", rows, len(p.Set()), err)
	}
	if err := p.Build(t.Context(), uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("a tenant that is not registered: %v", err)
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t)
	good, bad := person.Onboard(t, "baik-baik"), person.Onboard(t, "kurang-baik")
	owner := ownerPool(t, a)
	set, err := migrations.Load(migrations.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	newest := len(set) + 1
	set = append(set, migrations.Migration{Version: newest, Name: "99999_test_step", Statements: []string{
		"alter table taxonomies add column note text not null default ''", "create index taxonomies_note_idx on taxonomies (note)",
	}})
	badSchema, _ := placeOf(t, owner, bad.TenantID)
	if _, err := owner.Exec(t.Context(), "alter table "+pgx.Identifier{badSchema, "taxonomies"}.Sanitize()+" add column note int"); err != nil {
		t.Fatal(err)
	}

	runner := func() *migrate.Runner {
		f, err := fleet.Load(t.Context(), fleet.Config{Owner: owner, URL: a.OwnerURL, Set: set})
		if err != nil {
			t.Fatal(err)
		}
		return migrate.New(f)
	}

	// Two processes at once.
	var wait sync.WaitGroup
	var mu sync.Mutex
	failed := map[string]int{}
	for range 2 {
		wait.Go(func() {
			_, _ = runner().Run(t.Context(), migrate.Options{Workers: 2}, func(e migrate.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Err != nil {
					failed[e.Slug]++
				}
			})
		})
	}
	wait.Wait()
	if len(failed) != 1 || failed["kurang-baik"] == 0 {
		t.Errorf("failed: %v, want kurang-baik alone", failed)
	}
	p := runner()
	behind, err := p.Behind(t.Context(), "")
	if err != nil || len(behind) != 1 || behind[0].Slug != "kurang-baik" || behind[0].Version != newest-1 {
		t.Errorf("behind: %v, %v", behind, err)
	}
	var times int
	if err := owner.QueryRow(t.Context(), "select count(*) from tenancy.applied a join tenancy.schemas using (schema_name) where tenant_id = $1 and a.version = $2", good.TenantID, newest).Scan(&times); err != nil || times != 1 {
		t.Errorf("the good one was migrated %d times, %v", times, err)
	}

	// Once the cause is gone, another run does the rest, and the new column is the tenant's to use.
	if _, err := owner.Exec(t.Context(), "alter table "+pgx.Identifier{badSchema, "taxonomies"}.Sanitize()+" drop column note"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(t.Context(), migrate.Options{Workers: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if behind, err := p.Behind(t.Context(), ""); err != nil || len(behind) != 0 {
		t.Errorf("behind: %v, %v", behind, err)
	}
	good.Get(t, "/master-data/taxonomies").Want(t, 200)
	bad.Post(t, "/master-data/taxonomies", map[string]any{"kind": "color", "code": "BIRU", "name": "Biru"}).Want(t, 201)
}
