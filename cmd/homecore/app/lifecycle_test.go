package app_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	module "garment.id/homecore/modules/tenant/taxonomies"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

func reason(text string) map[string]any { return map[string]any{"reason": text} }

// ask makes the single row of a query, as the superuser.
func ask[T any](t testing.TB, a *apptest.App, query string, args ...any) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// enters tries to become the role as the group's login role does, past every process.
func enters(t testing.TB, a *apptest.App, m *apptest.Member, statement string) error {
	t.Helper()
	tenant, err := a.Tenants.Find(t.Context(), m.TenantID.String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	group := a.Fleet.Main().GroupRole(int(tenant.LoginGroup))
	for _, s := range []string{
		"set session authorization " + group, "set search_path = " + tenant.SchemaName, "set role " + tenant.RoleName, statement,
	} {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// Once a gate has been turned, all backends are made to read anew who is a member: one that was reading meanwhile would keep what it had
// read. The row of the membership, written again by a later transaction than the tenant's, shows it.
func TestAGateThatWasTurnedIsSettled(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	m := a.SignUp(t).Onboard(t, "gerbang")
	const later = `select (select max(x.xmin::text::bigint) from pg_auth_members x join pg_roles r on r.oid = x.roleid
			where r.rolname = t.role_name) > t.xmin::text::bigint from central.tenants t where t.id = $1`
	for _, action := range []fleet.Action{fleet.ReadOnly, fleet.Suspend, fleet.Resume, fleet.Maintenance} {
		if err := a.Fleet.Change(t.Context(), m.TenantID, action, fleet.Order{By: "a test", Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		shut := action == fleet.Suspend || action == fleet.Maintenance
		if err := enters(t, a, m, "select 1"); (err != nil) != shut {
			t.Errorf("after %s entering says %v", action, err)
		}
		if !shut && !ask[bool](t, a, later, m.TenantID) {
			t.Errorf("after %s nobody was told to read anew", action)
		}
	}
}

func TestOperatorsShutAndOpenTenants(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	other := a.Another(t)
	op := a.Operator(t, "support")
	path := func(m *apptest.Member, action string) string { return "/tenants/" + m.Slug + "/" + action }
	// elsewhere is the same person with the same token, served by the other process, which knows the tenant.
	elsewhere := func(t *testing.T, m *apptest.Member) apptest.Caller {
		t.Helper()
		c := other.On(m.Slug).As(m.Token)
		c.Get(t, taxonomies).Want(t, http.StatusOK)
		return c
	}

	t.Run("what is suspended is refused to the next statement of every process, by Postgres itself", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "menunggak")
		there := elsewhere(t, m)
		scope, err := other.Registry.Enter(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		op.Post(t, path(m, "suspend"), reason("tagihan")).Want(t, http.StatusOK)
		if r := there.Get(t, taxonomies); r.Code != "tenant.maintenance" && r.Code != "tenant.suspended" {
			t.Errorf("the process that knew it open answers %d %s", r.Status, r.Code)
		}
		there.Post(t, taxonomies, color("X")).Want(t, http.StatusForbidden, "tenant.suspended")
		m.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.suspended")
		if _, _, err := other.Taxonomies.List(scope, module.Filter{}, 1, "", ""); err == nil {
			t.Error("whoever was let in before still reads")
		}
		if err := enters(t, a, m, "select 1"); !refused(err) {
			t.Errorf("at psql, as the group's role: %v", err)
		}

		op.Post(t, path(m, "resume"), nil).Want(t, http.StatusOK)
		m.Get(t, taxonomies).Want(t, http.StatusOK)
		apptest.Until(t, "the other process serves it", func() bool { return there.Get(t, taxonomies).Status == http.StatusOK })
	})

	t.Run("what is read-only is read, and Postgres refuses every write, of a process that knows nothing of it too", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "hanya-dibaca")
		m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
		there := elsewhere(t, m)
		role := ask[string](t, a, "select role_name from central.tenants where id = $1", m.TenantID)
		op.Post(t, path(m, "read-only"), reason("pindah")).Want(t, http.StatusOK)
		if r := there.Post(t, taxonomies, color("X")); r.Status < 400 {
			t.Errorf("the process that knew it writable answers %d", r.Status)
		}
		there.Post(t, taxonomies, color("X")).Want(t, http.StatusForbidden, "tenant.read_only")
		there.Get(t, taxonomies).Want(t, http.StatusOK)
		m.Delete(t, taxonomies+"/"+uuid.NewString()).Want(t, http.StatusForbidden, "tenant.read_only")
		for _, write := range []string{"delete from taxonomies", "create table x ()", "truncate members"} {
			if err := enters(t, a, m, write); !refused(err) {
				t.Errorf("%s as the tenant: %v", write, err)
			}
		}
		// A migration that comes meanwhile is read as well.
		schema := ask[string](t, a, "select schema_name from central.tenants where id = $1", m.TenantID)
		asOwner(t, a, "create table "+schema+".later (id int primary key)")
		if err := enters(t, a, m, "select * from later"); err != nil {
			t.Error(err)
		}
		if err := enters(t, a, m, "insert into later values (1)"); !refused(err) {
			t.Errorf("insert: %v", err)
		}

		op.Post(t, path(m, "maintenance"), nil).Want(t, http.StatusOK)
		op.Post(t, path(m, "read-only"), nil).Want(t, http.StatusOK)
		// A move shuts the gate by itself, to readers too.
		place, err := a.Fleet.Main().Current(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		asOwner(t, a, a.Fleet.Main().Gate(place, false), "update tenancy.schemas set is_open = false where schema_name = '"+schema+"'")
		if err := enters(t, a, m, "select 1"); !refused(err) {
			t.Errorf("through a gate that is shut: %v", err)
		}
		if err := a.Fleet.Align(t.Context(), m.TenantID); err != nil {
			t.Fatal(err)
		}
		m.Get(t, taxonomies).Want(t, http.StatusOK)
		op.Post(t, path(m, "resume"), nil).Want(t, http.StatusOK)
		m.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusCreated)
		if n := ask[int](t, a, "select count(*) from pg_roles where rolname = $1", role+"_ro"); n != 0 {
			t.Error("the role that may only read is still there")
		}
	})

	t.Run("maintenance says when to come back", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "dibenahi")
		op.Post(t, path(m, "maintenance"), map[string]any{"retry_after": 90}).Want(t, http.StatusOK)
		if r := m.Get(t, taxonomies).Want(t, http.StatusServiceUnavailable, "tenant.maintenance"); r.Header.Get("Retry-After") != "90" {
			t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
		}
		op.Post(t, path(m, "maintenance"), map[string]any{"retry_after": 0}).WantField(t, "retry_after")
	})

	t.Run("an archived one is shut, comes back as it was, and nobody is asked twice", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		m := p.Onboard(t, "diarsipkan")
		op.Post(t, path(m, "suspend"), reason("x")).Want(t, http.StatusOK)
		op.Post(t, path(m, "archive"), nil).Want(t, http.StatusOK)
		op.Post(t, path(m, "archive"), nil).Want(t, http.StatusOK)
		m.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.suspended")
		p.Post(t, "/auth/select-tenant", map[string]any{"tenant": m.Slug}).Want(t, http.StatusNotFound)
		r := op.Post(t, path(m, "resume"), nil).Want(t, http.StatusConflict, "transition.illegal")
		if data := r.Object(t); data["from"] != "archived" || data["to"] != "active" || !strings.Contains(r.Message, "archived") {
			t.Errorf("%s", r.Raw)
		}
		op.Do(t, http.MethodDelete, "/tenants/"+m.Slug, reason("tutup")).Want(t, http.StatusOK)
		op.Post(t, path(m, "undrop"), nil).Want(t, http.StatusOK)
		op.Post(t, path(m, "undrop"), nil).Want(t, http.StatusOK)
		if got := op.Post(t, path(m, "unarchive"), nil).Want(t, http.StatusOK).Object(t)["status"]; got != "suspended" {
			t.Errorf("unarchived it is %v, before it was suspended", got)
		}
		op.Post(t, path(m, "unarchive"), nil).Want(t, http.StatusOK)
		var did []string
		for _, e := range op.Get(t, "/tenants/"+m.Slug+"/events?sort=at").Want(t, http.StatusOK).List(t) {
			did = append(did, e["action"].(string))
		}
		if got := strings.Join(did, " "); got != "create activate suspend archive drop undrop unarchive" {
			t.Errorf("its history: %s", got)
		}
		last := op.Get(t, "/tenants/"+m.Slug+"/events?limit=1").List(t)[0]
		if last["by"] != op.ID.String() || last["from"] != "archived" || last["to"] != "suspended" {
			t.Errorf("the last event: %v", last)
		}
		for _, tamper := range []string{"update central.tenant_events set reason = ''", "delete from central.tenant_events"} {
			if err := tryAsOwner(t, a, tamper); err == nil {
				t.Errorf("%s: the history lets itself be changed", tamper)
			}
		}
	})

	t.Run("a renamed one answers at its new address alone, whoever is signed in stays so, and no schema changes", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "nama-lama")
		taken := a.SignUp(t).Onboard(t, "nama-orang")
		before := op.Get(t, "/tenants/nama-lama").Want(t, http.StatusOK).Object(t)
		schema := ask[string](t, a, "select schema_name || role_name from central.tenants where id = $1", m.TenantID)
		one := "/tenants/" + m.TenantID.String()
		op.Put(t, one, map[string]any{"version": before["version"], "slug": taken.Slug}).Want(t, http.StatusConflict, "resource.conflict")
		op.Put(t, one, map[string]any{"version": before["version"], "slug": "admin"}).WantField(t, "slug")
		op.Put(t, one, map[string]any{"slug": "nama-baru"}).WantField(t, "version")
		op.Put(t, one, map[string]any{"version": before["version"], "slug": "nama-baru", "name": "Konveksi Baru"}).Want(t, http.StatusOK)
		op.Put(t, one, map[string]any{"version": before["version"], "slug": "nama-lain"}).Want(t, http.StatusConflict, "resource.stale")
		m.Get(t, taxonomies).Want(t, http.StatusNotFound, "tenant.unknown")
		a.On("nama-baru").As(m.Token).Get(t, taxonomies).Want(t, http.StatusOK)
		op.Get(t, "/tenants/nama-lama").Want(t, http.StatusNotFound, "resource.not_found")
		if got := ask[string](t, a, "select schema_name || role_name from central.tenants where id = $1", m.TenantID); got != schema {
			t.Errorf("its place was %s and is %s", schema, got)
		}
		a.SignUp(t).Onboard(t, "nama-lama")
	})

	t.Run("operators list and find tenants; others may not", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		m := p.Onboard(t, "cari-saya")
		op.Post(t, path(m, "suspend"), reason("x")).Want(t, http.StatusOK)
		rows := op.Get(t, "/tenants?q=CARI&filter[status]=suspended&filter[cluster]=main&sort=slug").Want(t, http.StatusOK).List(t)
		if len(rows) != 1 || rows[0]["id"] != m.TenantID.String() || rows[0]["status_reason"] != "x" {
			t.Errorf("found %v", rows)
		}
		op.Get(t, "/tenants?filter[status]=x").WantField(t, "filter[status]")
		op.Get(t, "/tenants?sort=x").WantField(t, "sort")
		op.Post(t, path(m, "suspend"), map[string]any{}).WantField(t, "reason")
		op.Post(t, "/tenants/tidak-ada/suspend", reason("x")).Want(t, http.StatusNotFound, "resource.not_found")
		auditor := a.Operator(t, "auditor")
		auditor.Get(t, "/tenants").Want(t, http.StatusOK)
		for _, c := range []apptest.Caller{p.Caller, auditor.Caller} {
			for _, action := range []string{"suspend", "resume", "maintenance", "read-only", "archive", "unarchive", "undrop"} {
				c.Post(t, path(m, action), reason("x")).Want(t, http.StatusForbidden, "access.denied")
			}
			c.Put(t, "/tenants/"+m.Slug, map[string]any{"version": 1}).Want(t, http.StatusForbidden, "access.denied")
			c.Do(t, http.MethodDelete, "/tenants/"+m.Slug, reason("x")).Want(t, http.StatusForbidden, "access.denied")
		}
		p.Get(t, "/tenants").Want(t, http.StatusForbidden, "access.denied")
	})

	t.Run("of operators at the same time the last decides, and gate and registry agree", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "diperebutkan")
		var wait sync.WaitGroup
		for i := range 12 {
			wait.Go(func() {
				action := []string{"suspend", "resume", "read-only", "maintenance"}[i%4]
				if r := op.Post(t, path(m, action), reason("x")); r.Status != http.StatusOK {
					t.Errorf("%s: %d %s", action, r.Status, r.Code)
				}
			})
		}
		wait.Wait()
		healed, err := a.Fleet.Heal(t.Context())
		for _, slug := range healed {
			if slug == m.Slug {
				t.Error("there was something to heal")
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// refused says that Postgres had it not: no privilege, or no such role.
func refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "42501" || pg.Code == "22023")
}

func tryAsOwner(t testing.TB, a *apptest.App, statement string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	_, err = conn.Exec(t.Context(), statement)
	return err
}

func TestDroppedTenants(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	op := a.Operator(t, "owner")
	drop := func(t *testing.T, m *apptest.Member) {
		t.Helper()
		op.Do(t, http.MethodDelete, "/tenants/"+m.Slug, map[string]any{"reason": "tutup", "grace_days": 7}).Want(t, http.StatusOK)
	}
	over := func(t *testing.T, m *apptest.Member) {
		t.Helper()
		asOwner(t, a, fmt.Sprintf("update central.tenants set drop_after = now() - interval '1 second' where id = '%s'", m.TenantID))
	}
	type place struct{ schema, role string }
	where := func(t *testing.T, m *apptest.Member) place {
		t.Helper()
		return place{
			ask[string](t, a, "select schema_name from central.tenants where id = $1", m.TenantID),
			ask[string](t, a, "select role_name from central.tenants where id = $1", m.TenantID),
		}
	}
	gone := func(t *testing.T, p place) {
		t.Helper()
		if n := ask[int](t, a, `select (select count(*) from pg_namespace where nspname = $1) + (select count(*) from pg_roles where starts_with(rolname, $2))
			+ (select count(*) from tenancy.schemas where schema_name = $1)`, p.schema, p.role); n != 0 {
			t.Errorf("%d of schema, roles and rows of %s are left", n, p.schema)
		}
	}

	t.Run("a drop shuts at once, can be undone until its time has come, and then frees the name", func(t *testing.T) {
		p := a.SignUp(t)
		m := p.Onboard(t, "tutup-usaha")
		m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
		was := where(t, m)
		drop(t, m)
		m.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.suspended")
		if _, err := a.Tenants.Reap(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		op.Post(t, "/tenants/tutup-usaha/undrop", nil).Want(t, http.StatusOK)
		if rows := m.Get(t, taxonomies).Want(t, http.StatusOK).List(t); len(rows) != 1 {
			t.Errorf("%d rows came back", len(rows))
		}
		drop(t, m)
		over(t, m)
		op.Post(t, "/tenants/tutup-usaha/undrop", nil).Want(t, http.StatusConflict, "transition.illegal")
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Tenants != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		gone(t, was)
		a.Registry.Forget(tenancy.Tenant{ID: m.TenantID, Slug: m.Slug})
		m.Get(t, taxonomies).Want(t, http.StatusNotFound, "tenant.unknown")
		if rows := p.Get(t, "/auth/me").Object(t)["tenants"].([]any); len(rows) != 0 {
			t.Errorf("still a member of %v", rows)
		}
		if got := op.Get(t, "/tenants/"+m.TenantID.String()).Want(t, http.StatusOK).Object(t)["status"]; got != "dropped" {
			t.Errorf("it is %v", got)
		}
		p.Onboard(t, "tutup-usaha").Get(t, taxonomies).Want(t, http.StatusOK)
	})

	t.Run("one with many tables goes in steps that hold few locks, and one that is interrupted goes on", func(t *testing.T) {
		m := a.SignUp(t).Onboard(t, "banyak-tabel")
		was := where(t, m)
		op.Post(t, "/tenants/banyak-tabel/read-only", nil).Want(t, http.StatusOK)
		was.role = strings.TrimSuffix(was.role, "_ro")
		asOwner(t, a, fmt.Sprintf(`do $$ begin for i in 1..120 loop
			execute format('create table %s.banyak_%%s (id int primary key, up uuid references %[1]s.members (user_id))', i); end loop; end $$`, was.schema))
		drop(t, m)
		over(t, m)
		// Interrupted: somebody holds the last tables.
		conn, err := pgx.Connect(t.Context(), a.SuperURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
		_, err = conn.Exec(t.Context(), "begin; lock table "+was.schema+".banyak_99 in access share mode")
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Tenants.Reap(t.Context(), nil)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "55P03" {
			t.Fatalf("want a lock timeout, got %v", err)
		}
		if _, err = conn.Exec(t.Context(), "rollback"); err != nil {
			t.Fatal(err)
		}
		var steps []int
		if _, err := a.Fleet.Purge(t.Context(), func(_ string, left int) { steps = append(steps, left) }); err != nil {
			t.Fatal(err)
		}
		if len(steps) != 1 || steps[0] != 0 {
			t.Errorf("tables left after each step, all but the last having been done before: %v", steps)
		}
		gone(t, was)
	})

	t.Run("what is nobody's is swept: of tenants that are gone, and shadows that were left", func(t *testing.T) {
		mine := a.SignUp(t).Onboard(t, "tetap-ada")
		nobody := uuid.New()
		left, err := a.Fleet.Make(t.Context(), a.Fleet.Main(), &nobody, "current", 1, true)
		if err != nil {
			t.Fatal(err)
		}
		shadow, err := a.Fleet.Make(t.Context(), a.Fleet.Main(), &mine.TenantID, "shadow", 1, false)
		if err != nil {
			t.Fatal(err)
		}
		retired, err := a.Fleet.Make(t.Context(), a.Fleet.Main(), &mine.TenantID, "retired", 1, false)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := a.Fleet.Sweep(t.Context()); n != 0 || err != nil {
			t.Fatalf("swept %d that were new: %v", n, err)
		}
		asOwner(t, a, "update tenancy.schemas set created_at = created_at - interval '2 hours'",
			fmt.Sprintf(`insert into central.transfers (tenant_id, id, kind, phase, from_cluster, from_schema, to_cluster, to_schema)
				select id, id, 'restore', 'running', cluster, schema_name, cluster, '%s' from central.tenants where id = '%s'`, shadow.Schema, mine.TenantID))
		if n, err := a.Fleet.Sweep(t.Context()); n != 1 || err != nil {
			t.Fatalf("swept %d while a restore is filling the shadow, want 1: %v", n, err)
		}
		drop(t, mine)
		over(t, mine)
		if n, err := a.Fleet.Purge(t.Context(), nil); n != 0 || err != nil {
			t.Fatalf("dropped %d under a restore: %v", n, err)
		}
		asOwner(t, a, "delete from central.transfers", fmt.Sprintf("update central.tenants set drop_after = now() + interval '1 day' where id = '%s'", mine.TenantID))
		op.Post(t, "/tenants/tetap-ada/undrop", nil).Want(t, http.StatusOK)
		if n, err := a.Fleet.Sweep(t.Context()); n != 1 || err != nil {
			t.Fatalf("swept %d, want 1: %v", n, err)
		}
		gone(t, place{left.Schema, left.Role})
		gone(t, place{shadow.Schema, shadow.Role})
		if n := ask[int](t, a, "select count(*) from pg_namespace where nspname = $1", retired.Schema); n != 1 {
			t.Error("a schema that is kept until its successor is accepted was dropped")
		}
		mine.Get(t, taxonomies).Want(t, http.StatusOK)
	})

	t.Run("an onboarding that failed for good frees its name, and leaves nothing", func(t *testing.T) {
		p := a.SignUp(t)
		m := p.Onboard(t, "gagal-total")
		was := where(t, m)
		asOwner(t, a, fmt.Sprintf(`update central.tenants set status = 'requested' where id = '%s'`, m.TenantID),
			fmt.Sprintf(`update central.onboardings set status = 'failed' where tenant_id = '%s'`, m.TenantID))
		if r, err := a.Tenants.Reap(t.Context(), nil); err != nil || r.Abandoned != 1 || r.Tenants != 1 {
			t.Fatalf("%+v %v", r, err)
		}
		gone(t, was)
		again := p.Onboard(t, "gagal-total")
		again.Get(t, taxonomies).Want(t, http.StatusOK)
		if again.TenantID == m.TenantID {
			t.Error("the same tenant")
		}
		if rows := p.Get(t, "/auth/me").Object(t)["tenants"].([]any); len(rows) != 1 {
			t.Errorf("a member of %v", rows)
		}
	})
}

func TestHealing(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for name, c := range map[string]struct{ spoil, status string }{
		"a gate left open":       {"update central.tenants set status = 'suspended' where id = '%s'", "suspended"},
		"a gate left shut":       {"update tenancy.schemas set is_open = false where tenant_id = '%s'", "active"},
		"a registry left behind": {"update central.tenants set schema_version = 1 where id = '%s'", "active"},
		"a read-only unlike it":  {"update central.tenants set status = 'read_only' where id = '%s'", "read_only"},
	} {
		t.Run(name, func(t *testing.T) {
			m := a.SignUp(t).Onboard(t, strings.ReplaceAll(name, " ", "-"))
			asOwner(t, a, fmt.Sprintf(c.spoil, m.TenantID))
			healed, err := a.Fleet.Heal(t.Context())
			if err != nil || len(healed) != 1 || healed[0] != m.Slug {
				t.Fatalf("healed %v: %v", healed, err)
			}
			if healed, err := a.Fleet.Heal(t.Context()); err != nil || len(healed) != 0 {
				t.Errorf("and again %v: %v", healed, err)
			}
			want := map[string]error{"active": nil, "suspended": errors.New("refused"), "read_only": nil}[c.status]
			if err := enters(t, a, m, "select count(*) from taxonomies"); (err == nil) != (want == nil) {
				t.Errorf("%s, and entering it says %v", c.status, err)
			}
		})
	}
}

func TestWarmSchemas(t *testing.T) {
	t.Parallel()
	const pool = 4
	a := apptest.New(t, apptest.With(func(c *app.Config) { c.TenantPool = pool }))
	warm := func() int {
		return ask[int](t, a, "select count(*) from tenancy.schemas where state = 'warm'")
	}
	apptest.Until(t, "the schemas are warm", func() bool { return warm() == pool })
	before := ask[string](t, a, "select string_agg(schema_name, ' ') from tenancy.schemas where state = 'warm'")
	m := a.SignUp(t).Onboard(t, "hangat")
	m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	if schema := ask[string](t, a, "select schema_name from central.tenants where id = $1", m.TenantID); !strings.Contains(before, schema) {
		t.Error("it got a schema that was not warm")
	}
	t.Run("what is taken is made again, and not more of it", func(t *testing.T) {
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				if _, err := a.Fleet.Refill(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		apptest.Until(t, "there are as many as before", func() bool { return warm() == pool })
	})
	t.Run("an older one is left for the migrations", func(t *testing.T) {
		old := ask[string](t, a, "update tenancy.schemas set version = 1 where schema_name = (select min(schema_name) from tenancy.schemas where state = 'warm') returning schema_name")
		for i := range pool {
			m := a.SignUp(t).Onboard(t, fmt.Sprintf("lama-%d", i))
			if schema := ask[string](t, a, "select schema_name from central.tenants where id = $1", m.TenantID); schema == old {
				t.Error("it was given away")
			}
		}
	})
}

// All good, no two on one schema, none half-made.
func TestManyOnboardings(t *testing.T) {
	t.Parallel()
	n := 40
	if !testing.Short() {
		n = 200
	}
	a := apptest.New(t, apptest.With(func(c *app.Config) { c.TenantPool = 5 }))
	p := a.SignUp(t)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			r := p.Post(t, onboarding, workspace(fmt.Sprintf("serentak-%03d", i)), "Idempotency-Key", fmt.Sprint("k", i))
			if r.Status != http.StatusAccepted {
				t.Errorf("answer %d %s", r.Status, r.Raw)
			}
		})
	}
	wait.Wait()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); ask[int](t, a, "select count(*) from central.tenants where status = 'active'") < n; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("they do not all become active")
		}
	}
	if got := ask[int](t, a, "select count(distinct schema_name) from central.tenants where schema_name <> ''"); got != n {
		t.Errorf("%d schemas for %d tenants", got, n)
	}
	if got := ask[int](t, a, "select count(*) from tenancy.schemas where state = 'current' and version = (select max(version) from tenancy.schemas)"); got != n {
		t.Errorf("%d whole schemas for %d tenants", got, n)
	}
	if got := ask[int](t, a, "select count(*) from central.memberships"); got != n {
		t.Errorf("%d owners", got)
	}
	p.Select(t, "serentak-007").Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
}
