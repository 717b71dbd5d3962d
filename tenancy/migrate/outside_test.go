package migrate_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ownerOf(t *testing.T, address string) string {
	t.Helper()
	return parse(t, address).User.Username()
}

func quoteDatabase(t *testing.T, address string) string {
	t.Helper()
	return pgx.Identifier{parse(t, address).Path[1:]}.Sanitize()
}

// withDatabase is the address with the database of another one.
func withDatabase(t *testing.T, address, other string) string {
	t.Helper()
	u := parse(t, address)
	u.Path = parse(t, other).Path
	return u.String()
}

func TestWithoutATransaction(t *testing.T) {
	t.Parallel()
	backfill := outside(
		"create index concurrently if not exists taxonomies_position_idx on taxonomies (position);",
		"create unique index concurrently if not exists taxonomies_name_key on taxonomies (name);",
		"update taxonomies set position = 3;",
		"do $$ begin for i in 1..3 loop update taxonomies set position = i; commit; end loop; end $$;",
		"vacuum taxonomies;",
	)

	t.Run("each statement runs by itself, between others that have one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 6)
		after := step("alter table taxonomies add column late int;")
		r, err := w.runner(t, addNote, backfill, after).Run(t.Context(), migrate.Options{Workers: 2}, nil)
		if err != nil || r.Migrated != 6 {
			t.Fatalf("%+v, %v", r, err)
		}
		for _, one := range n {
			w.at(t, one, len(w.Fleet.Set())+3)
		}
		// A new schema has the same, made in one transaction.
		made, err := w.fleet(t, addNote, backfill, after).Make(t.Context(), w.Fleet.Main(), nil, "warm", len(w.Fleet.Set())+3, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, schema := range []string{made.Schema, n[0].Schema} {
			if valid := ask[int](t, w.owner, `select count(*) from pg_index where indisvalid and indexrelid in
				(to_regclass($1 || '.taxonomies_position_idx'), to_regclass($1 || '.taxonomies_name_key'))`, schema); valid != 2 {
				t.Errorf("%s has %d of the indexes", schema, valid)
			}
		}
	})

	t.Run("an index that was cut off is built anew", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 2)
		bad := n[0]
		do(t, w.owner, "insert into "+bad.in("taxonomies")+` (id, kind, code, name, created_at, updated_at)
			select gen_random_uuid(), 'color', 'A' || i, 'same', now(), now() from generate_series(1, 2) i`)
		// What a killed build leaves: here two rows of the same name end it.
		conn, err := pgx.Connect(t.Context(), w.OwnerURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), "create unique index concurrently taxonomies_name_key on "+bad.in("taxonomies")+" (name)"); err == nil {
			t.Fatal("it was built")
		}
		invalid := func() int {
			return ask[int](t, w.owner, "select count(*) from pg_index where not indisvalid and indexrelid = to_regclass($1)", bad.in("taxonomies_name_key"))
		}
		if invalid() != 1 {
			t.Fatal("it left nothing")
		}
		r, err := w.runner(t, backfill).Run(t.Context(), migrate.Options{}, nil)
		if err == nil || r.Migrated != 1 || r.Failed != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if invalid() != 0 {
			t.Error("the failed attempt leaves an unfinished index, which refuses writes")
		}
		if _, err := conn.Exec(t.Context(), "create unique index concurrently taxonomies_name_key on "+bad.in("taxonomies")+" (name)"); err == nil {
			t.Fatal("it was built")
		}
		do(t, w.owner, "update "+bad.in("taxonomies")+" set name = code")
		if r, err := w.runner(t, backfill).Run(t.Context(), migrate.Options{}, nil); err != nil || r.Migrated != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		w.at(t, bad, len(w.Fleet.Set())+1)
		if ask[int](t, w.owner, "select count(*) from pg_index where indisvalid and indexrelid = to_regclass($1)", bad.in("taxonomies_name_key")) != 1 {
			t.Error("the unfinished index was taken for the migration's")
		}
	})

	t.Run("two runs at once do not meet in a schema", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 3)
		// The other one, on a session of its own: building an index waits for every transaction that began before.
		other, err := pgx.Connect(t.Context(), w.OwnerURL)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close(t.Context())
		if _, err := other.Exec(t.Context(), "select pg_advisory_lock("+fleet.SchemaLock+")", n[1].Schema); err != nil {
			t.Fatal(err)
		}
		done := make(chan migrate.Report, 1)
		go func() {
			r, err := w.runner(t, backfill).Run(t.Context(), migrate.Options{Workers: 2}, nil)
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		apptest.Until(t, "the others", func() bool {
			return ask[int](t, w.owner, "select count(*) from tenancy.schemas where version > $1", len(w.Fleet.Set())) == 2
		})
		other.Close(t.Context())
		if r := <-done; r.Migrated != 3 {
			t.Errorf("%+v", r)
		}
	})
}

// childVariable makes the test binary a process that migrates the database it names.
const childVariable = "MIGRATE_TEST_CHILD"

// slowly are steps that take long enough to be killed in.
var slowly = []migrations.Migration{
	step("alter table taxonomies add column note text;", "select pg_sleep(0.02);"),
	outside("create index concurrently if not exists taxonomies_note_idx on taxonomies (note);"),
	step("select pg_sleep(0.01);", "alter table members add column note text;"),
}

func child(address string) int {
	ctx := context.Background()
	owner, err := app.OpenOwner(ctx, address)
	if err != nil {
		return 1
	}
	real, err := migrations.Load(migrations.Tenant)
	if err != nil {
		return 1
	}
	f, err := fleet.Load(ctx, fleet.Config{Owner: owner, URL: address, Set: withSteps(real, slowly...)})
	if err != nil {
		return 1
	}
	if _, err := migrate.New(f).Run(ctx, migrate.Options{Workers: 2}, nil); err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

func TestKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.tenants(t, 30)
	newest := len(w.Fleet.Set()) + len(slowly)
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+w.OwnerURL)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	done := func() int {
		return ask[int](t, w.owner, "select count(*) from tenancy.schemas where version = $1", newest)
	}
	for _, killAfter := range []int{4, 11} {
		cmd := start()
		deadline := time.Now().Add(time.Minute)
		for done() < killAfter && time.Now().Before(deadline) {
			select {
			case <-t.Context().Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Logf("killed with %d done", done())
	}
	if d := done(); d < 11 || d == len(n) {
		t.Errorf("%d are done after two kills", d)
	}
	first, second := start(), start()
	for _, cmd := range []*exec.Cmd{first, second} {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	for _, one := range n {
		w.at(t, one, newest)
	}
	if ask[int](t, w.owner, "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid where c.relname = 'taxonomies_note_idx' and i.indisvalid") != len(n) {
		t.Error("an index is missing or unfinished")
	}
}
