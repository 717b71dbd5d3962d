package migrate_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/migrate"
)

// Who notifies holds a lock of the whole server until its commit is on the disk.
func TestNobodyHearsOfAMigration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.tenants(t, 3)
	conn, err := pgx.Connect(t.Context(), w.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "listen homecore_access; listen homecore_tenants"); err != nil {
		t.Fatal(err)
	}
	heard := func(want string) {
		t.Helper()
		do(t, w.owner, "select pg_notify('homecore_access', 'end')")
		var said []string
		for {
			note, err := conn.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if note.Payload == "end" {
				break
			}
			if note.Channel == "homecore_access" {
				said = append(said, note.Payload)
			}
		}
		if want == "" && len(said) > 0 || want != "" && (len(said) != 1 || said[0] != want) {
			t.Errorf("heard %q, want %q", said, want)
		}
	}
	if r, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Workers: 2}, nil); err != nil || r.Migrated != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	heard("")
	do(t, w.owner, "update central.tenants set is_canary = true where id = $1", n[0].id.String())
	heard("tenant " + n[0].id.String())

	t.Run("and of a change to any other column everybody", func(t *testing.T) {
		if missing := ask[[]string](t, w.owner, `select coalesce(array_agg(attname::text), '{}') from pg_attribute a
			where attrelid = 'central.tenants'::regclass and attnum > 0 and not attisdropped and attname <> 'schema_version'
				and not exists (select from pg_trigger where tgrelid = attrelid and tgname = 'tenants_seen_changed' and attnum = any(tgattr))`); len(missing) > 0 {
			t.Errorf("the trigger tenants_seen_changed does not say of %q", missing)
		}
	})
}
