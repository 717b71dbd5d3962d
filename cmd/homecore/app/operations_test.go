package app_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

type operation struct {
	ID                   uuid.UUID
	Kind, Status         string
	Failure, RequestedBy *string
	Params, Result       *struct {
		File string
		Rows int64
	}
}

func TestOperationsOnTenants(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "exports")
	a := apptest.New(t, apptest.WithCluster(t, "timur", fleet.Postgres, ""), apptest.With(func(c *app.Config) { c.ExportDir = dir }))
	op := a.SignUp(t)
	if err := a.Identity.GrantRole(t.Context(), op.Email, "owner", "test"); err != nil {
		t.Fatal(err)
	}
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	m.Post(t, taxonomies, color("LAMA")).Want(t, http.StatusCreated)

	ended := func(t *testing.T, id uuid.UUID, status string) (o operation) {
		t.Helper()
		apptest.Until(t, "the operation to be "+status, func() bool {
			op.Get(t, "/operations/"+id.String()).Want(t, http.StatusOK).Into(t, &o)
			if o.Status == "failed" && status != "failed" {
				t.Fatalf("it failed: %s", *o.Failure)
			}
			return o.Status == status
		})
		return o
	}
	run := func(t *testing.T, path string, body any, status string) operation {
		t.Helper()
		var o operation
		op.Post(t, "/tenants/rapi-jahit/"+path, body, "Idempotency-Key", uuid.NewString()).Want(t, http.StatusAccepted).Into(t, &o)
		return ended(t, o.ID, status)
	}
	count := func(code string) int { return len(m.Get(t, taxonomies+"?q="+code).Want(t, http.StatusOK).List(t)) }

	file := run(t, "export", nil, "done").Result.File
	if _, err := transfer.Verify(filepath.Join(dir, file)); err != nil {
		t.Fatal(err)
	}
	m.Post(t, taxonomies, color("BARU")).Want(t, http.StatusCreated)
	if o := run(t, "restore", map[string]any{"file": file}, "done"); o.Result.Rows == 0 || count("BARU") != 0 || count("LAMA") != 1 {
		t.Errorf("restored %+v", o.Result)
	}
	op.Post(t, "/tenants/rapi-jahit/restore/undo", nil).Want(t, http.StatusOK)
	if count("BARU") != 1 {
		t.Error("undo did not bring the old state back")
	}
	if o := run(t, "restore", map[string]any{"file": file}, "failed"); *o.Failure != transfer.Unaccepted.Text().EN {
		t.Errorf("failed with %q", *o.Failure)
	}
	op.Post(t, "/tenants/rapi-jahit/restore/accept", nil).Want(t, http.StatusOK)
	op.Post(t, "/tenants/rapi-jahit/restore/accept", nil).Want(t, http.StatusConflict, "tenant.transfer_none")
	run(t, "restore", map[string]any{"file": "none.tar.zst"}, "failed")
	op.Post(t, "/tenants/rapi-jahit/restore", map[string]any{"file": "../" + file}).WantField(t, "file")

	op.Post(t, "/tenants/rapi-jahit/move", map[string]any{"cluster": "utara"}).WantField(t, "cluster")
	op.Post(t, "/tenants/tidak-ada/export", nil).Want(t, http.StatusNotFound, "resource.not_found")
	m.Person.Post(t, "/tenants/rapi-jahit/export", nil).Want(t, http.StatusForbidden, "access.denied")
	m.Person.Get(t, "/operations").Want(t, http.StatusForbidden, "access.denied")
	run(t, "move", map[string]any{"cluster": "timur"}, "done")
	apptest.Until(t, "an answer from the other cluster", func() bool { return m.Get(t, taxonomies).Status == http.StatusOK })
	if count("BARU") != 1 {
		t.Error("a row was lost on the way")
	}
	if rows := op.Get(t, "/operations?filter[tenant]=rapi-jahit&filter[status]=done").Want(t, http.StatusOK).List(t); len(rows) != 3 || rows[0]["kind"] != "move" {
		t.Errorf("listed %v", rows)
	}

	t.Run("one whose process was killed is taken up again", func(t *testing.T) {
		id := uuid.Must(uuid.NewV7())
		asOwner(t, a,
			fmt.Sprintf(`insert into central.operations (id, kind, tenant_id, status, params, requested_by, updated_at) values
				('%s', 'export', '%s', 'running', '{"file": "lagi.tar.zst"}', 'test', now() - interval '1 minute')`, id, m.TenantID),
			"insert into central.river_job (kind, args, max_attempts, queue, state) values ('tenants.settle', '{}', 1, 'default', 'available')")
		ended(t, id, "done")
		if _, err := transfer.Verify(filepath.Join(dir, "lagi.tar.zst")); err != nil {
			t.Error(err)
		}
	})

	t.Run("one that was killed after the flip is done, not done again", func(t *testing.T) {
		id := uuid.Must(uuid.NewV7()) // the move above is not accepted
		asOwner(t, a,
			fmt.Sprintf(`insert into central.operations (id, kind, tenant_id, status, params, requested_by, updated_at) values
				('%s', 'move', '%s', 'running', '{"cluster": "timur"}', 'test', now() - interval '1 minute')`, id, m.TenantID),
			"insert into central.river_job (kind, args, max_attempts, queue, state) values ('tenants.settle', '{}', 1, 'default', 'available')")
		ended(t, id, "done")
	})
}

func TestNewTenantsArePlaced(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, apptest.WithCluster(t, "timur", fleet.Citus, ""))
	asOwner(t, a, "update central.clusters set accepts_new = name = 'timur'")
	m := a.SignUp(t).Onboard(t, "di-timur")
	m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	if tenant, err := a.Registry.ByID(t.Context(), m.TenantID); err != nil || tenant.Cluster != "timur" {
		t.Errorf("it is on %s (%v)", tenant.Cluster, err)
	}
	asOwner(t, a, "update central.clusters set accepts_new = false")
	p := a.SignUp(t)
	p.Post(t, onboarding, workspace("tidak-muat")).Want(t, http.StatusServiceUnavailable)
	asOwner(t, a, "update central.clusters set accepts_new = true")
	p.Onboard(t, "muat")
}
