package app_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

// A tenant's whole life on another cluster than the main one, where registry and gate cannot change in one transaction.
func TestLifecycleOnAnotherCluster(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, apptest.WithCluster(t, "timur", fleet.Postgres, ""))
	op := a.Operator(t, "owner")
	timur, err := a.Fleet.Cluster("timur")
	if err != nil {
		t.Fatal(err)
	}
	porter := transfer.New(a.Fleet, slog.New(slog.DiscardHandler))
	person := a.SignUp(t)
	away := func(t *testing.T, slug string) *apptest.Member {
		t.Helper()
		m := person.Onboard(t, slug)
		m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
		if _, err := porter.Move(t.Context(), slug, "timur", func(transfer.Progress) {}); err != nil {
			t.Fatal(err)
		}
		if err := porter.Accept(t.Context(), slug); err != nil {
			t.Fatal(err)
		}
		apptest.Until(t, "it is served from there", func() bool { return m.Get(t, taxonomies).Status == http.StatusOK })
		return m
	}
	count := func(t *testing.T, query string, args ...any) (n int) {
		t.Helper()
		if err := timur.Owner().QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return n
	}
	there := func(t *testing.T, statement string, args ...any) {
		t.Helper()
		if _, err := timur.Owner().Exec(t.Context(), statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	// entersThere tries to do it as the group's login role would, past every process.
	entersThere := func(t *testing.T, m *apptest.Member, role, statement string) error {
		t.Helper()
		c, err := pgx.ParseConfig(a.SuperURL)
		if err != nil {
			t.Fatal(err)
		}
		c.Database = timur.Owner().Config().ConnConfig.Database
		conn, err := pgx.ConnectConfig(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
		p, err := timur.Current(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{
			"set session authorization " + timur.GroupRole(int(p.Group)), "set search_path = " + p.Schema, "set role " + p.Role + role, statement,
		} {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				return err
			}
		}
		return nil
	}
	const read = "select count(*) from taxonomies"
	const write = "update taxonomies set name = name"

	t.Run("every status is what its Postgres says, at once", func(t *testing.T) {
		m := away(t, "jauh")
		neighbour := a.SignUp(t).Onboard(t, "dekat")
		for _, step := range []struct {
			action string
			status int
			code   string
			role   string // that may enter
			shut   bool
		}{
			{"suspend", http.StatusForbidden, "tenant.suspended", "", true},
			{"resume", http.StatusOK, "ok", "", false},
			{"read-only", http.StatusOK, "ok", "_ro", false},
			{"maintenance", http.StatusServiceUnavailable, "tenant.maintenance", "", true},
			{"read-only", http.StatusOK, "ok", "_ro", false},
			{"suspend", http.StatusForbidden, "tenant.suspended", "", true},
			{"archive", http.StatusForbidden, "tenant.suspended", "", true},
			{"unarchive", http.StatusForbidden, "tenant.suspended", "", true},
			{"resume", http.StatusOK, "ok", "", false},
		} {
			op.Post(t, "/tenants/jauh/"+step.action, reason("x")).Want(t, http.StatusOK)
			m.Get(t, taxonomies).Want(t, step.status, step.code)
			err := entersThere(t, m, step.role, read)
			if step.shut != (err != nil) || step.shut && !refused(err) {
				t.Errorf("after %s its Postgres says %v", step.action, err)
			}
			if step.role != "" {
				if err := entersThere(t, m, step.role, write); !refused(err) {
					t.Errorf("after %s it is written: %v", step.action, err)
				}
				m.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusForbidden, "tenant.read_only")
			}
			neighbour.Get(t, taxonomies).Want(t, http.StatusOK)
		}
		m.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusCreated)
	})

	t.Run("what a crash left between registry and gate is healed", func(t *testing.T) {
		m := away(t, "sembuh")
		for name, c := range map[string]struct{ central, there, status string }{
			"a gate left open":       {"update central.tenants set status = 'suspended' where id = '%s'", "", "suspended"},
			"a gate left shut":       {"", "update tenancy.schemas set is_open = false where tenant_id = $1", "active"},
			"a registry left behind": {"update central.tenants set schema_version = 1 where id = '%s'", "", "active"},
			"a read-only unlike it":  {"update central.tenants set status = 'read_only' where id = '%s'", "", "read_only"},
		} {
			if c.central != "" {
				asOwner(t, a, fmt.Sprintf(c.central, m.TenantID))
			} else {
				there(t, c.there, m.TenantID)
			}
			h, err := a.Tenants.Heal(t.Context())
			if err != nil || len(h.Tenants) != 1 || h.Tenants[0] != m.Slug {
				t.Errorf("%s: healed %+v: %v", name, h, err)
			}
			if h, err := a.Tenants.Heal(t.Context()); err != nil || len(h.Tenants) != 0 {
				t.Errorf("%s: and again %+v: %v", name, h, err)
			}
			role := map[string]string{"read_only": "_ro"}[c.status]
			if err := entersThere(t, m, role, read); (err != nil) != (c.status == "suspended") {
				t.Errorf("%s: %s, and entering it says %v", name, c.status, err)
			}
			op.Post(t, "/tenants/sembuh/resume", reason("x")).Want(t, http.StatusOK)
		}
	})

	t.Run("a drop shuts, can be undone, and then leaves nothing there", func(t *testing.T) {
		m := away(t, "tutup")
		p, err := timur.Current(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		drop := func() {
			t.Helper()
			op.Do(t, http.MethodDelete, "/tenants/tutup", map[string]any{"reason": "tutup", "grace_days": 7}).Want(t, http.StatusOK)
		}
		drop()
		m.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.suspended")
		if err := entersThere(t, m, "", read); !refused(err) {
			t.Errorf("its Postgres says %v", err)
		}
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Tenants != 0 {
			t.Errorf("reaped %+v before its time: %v", r, err)
		}
		op.Post(t, "/tenants/tutup/undrop", nil).Want(t, http.StatusOK)
		if rows := m.Get(t, taxonomies).Want(t, http.StatusOK).List(t); len(rows) != 1 {
			t.Errorf("%d rows came back", len(rows))
		}
		drop()
		asOwner(t, a, fmt.Sprintf("update central.tenants set drop_after = now() - interval '1 second' where id = '%s'", m.TenantID))
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Tenants != 1 {
			t.Fatalf("reaped %+v: %v", r, err)
		}
		if n := count(t, `select (select count(*) from pg_namespace where nspname = $1) + (select count(*) from pg_roles where starts_with(rolname, $2))
			+ (select count(*) from tenancy.schemas where schema_name = $1)`, p.Schema, p.Role); n != 0 {
			t.Errorf("%d of schema, roles and rows are left", n)
		}
		if got := op.Get(t, "/tenants/"+m.TenantID.String()).Want(t, http.StatusOK).Object(t)["status"]; got != "dropped" {
			t.Errorf("it is %v", got)
		}
	})

	t.Run("what is nobody's there is swept", func(t *testing.T) {
		mine := away(t, "tetap")
		nobody := uuid.New()
		var strays []string
		for state, tenant := range map[string]uuid.UUID{"current": nobody, "shadow": mine.TenantID} {
			p, err := a.Fleet.Make(t.Context(), timur, &tenant, state, 1, state == "current")
			if err != nil {
				t.Fatal(err)
			}
			strays = append(strays, p.Schema)
		}
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Schemas != 0 {
			t.Errorf("reaped %+v that are new: %v", r, err)
		}
		there(t, "update tenancy.schemas set created_at = created_at - interval '2 hours'")
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Schemas != len(strays) {
			t.Errorf("reaped %+v: %v", r, err)
		}
		if n := count(t, "select count(*) from pg_namespace where nspname = any(string_to_array($1, ','))", strings.Join(strays, ",")); n != 0 {
			t.Errorf("%d are left", n)
		}
		mine.Get(t, taxonomies).Want(t, http.StatusOK)
	})
}

// HOMECORE_CLUSTER_KIND: all tenants stand on Citus, and the API answers as it does on Postgres.
func TestMainClusterOfKindCitus(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, apptest.With(func(c *app.Config) { c.ClusterKind, c.TenantPool = "citus", 1 }))
	if main := a.Fleet.Main(); main.Kind != fleet.Citus || main.GroupRole(0) != main.GroupRole(1) {
		t.Fatalf("the main cluster is of kind %s, its groups log in as %s and %s", main.Kind, main.GroupRole(0), main.GroupRole(1))
	}
	op := a.Operator(t, "owner")
	mine, theirs := a.SignUp(t).Onboard(t, "rapi-jahit"), a.SignUp(t).Onboard(t, "maju-busana")
	for m, code := range map[*apptest.Member]string{mine: "MERAH", theirs: "BIRU"} {
		m.Post(t, taxonomies, color(code)).Want(t, http.StatusCreated)
		if rows := m.Get(t, taxonomies).Want(t, http.StatusOK).List(t); len(rows) != 1 || rows[0]["code"] != code {
			t.Errorf("%s lists %v", m.Slug, rows)
		}
		if role := ask[string](t, a, "select role_name from central.tenants where id = $1", m.TenantID); role != a.Fleet.Main().GroupRole(0) {
			t.Errorf("%s is entered as %s", m.Slug, role)
		}
	}
	for _, step := range []struct {
		action string
		status int
	}{
		{"read-only", http.StatusOK}, {"suspend", http.StatusForbidden}, {"maintenance", http.StatusServiceUnavailable}, {"resume", http.StatusOK},
	} {
		op.Post(t, "/tenants/rapi-jahit/"+step.action, reason("x")).Want(t, http.StatusOK)
		mine.Get(t, taxonomies).Want(t, step.status)
		if step.action == "read-only" {
			mine.Post(t, taxonomies, color("HIJAU")).Want(t, http.StatusForbidden, "tenant.read_only")
		}
		theirs.Get(t, taxonomies).Want(t, http.StatusOK)
	}
	mine.Post(t, taxonomies, color("HIJAU")).Want(t, http.StatusCreated)
	schema := ask[string](t, a, "select schema_name from central.tenants where id = $1", mine.TenantID)
	op.Do(t, http.MethodDelete, "/tenants/rapi-jahit", reason("tutup")).Want(t, http.StatusOK)
	asOwner(t, a, fmt.Sprintf("update central.tenants set drop_after = now() - interval '1 second' where id = '%s'", mine.TenantID))
	// A job may come first.
	if _, err := a.Tenants.Reap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	apptest.Until(t, "the schema is gone", func() bool {
		return ask[int](t, a, "select count(*) from pg_namespace where nspname = $1", schema) == 0
	})
	theirs.Get(t, taxonomies).Want(t, http.StatusOK)
}
