package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

const onboarding = "/auth/onboarding"

func workspace(slug string) map[string]any {
	return map[string]any{"name": "Konveksi " + slug, "slug": slug}
}

type progress struct {
	Onboarding struct {
		ID     uuid.UUID
		Status string
		Steps  []struct{ Name, Status string }
	}
	Tenant struct {
		ID           uuid.UUID
		Slug, Status string
		APIURL       string `json:"api_url"`
	}
}

func into(t testing.TB, r *apptest.Response) (p progress) {
	t.Helper()
	r.Into(t, &p)
	return p
}

func TestOnboarding(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t)

	t.Run("makes a workspace that its owner can use at once", func(t *testing.T) {
		t.Parallel()
		r := person.Post(t, onboarding, workspace("rapi-jahit"), "Idempotency-Key", uuid.NewString()).Want(t, http.StatusAccepted)
		p := into(t, r)
		if p.Onboarding.Status != "active" || p.Tenant.Status != "active" || p.Tenant.Slug != "rapi-jahit" || p.Tenant.APIURL != "http://rapi-jahit.localhost:8080" {
			t.Errorf("answered %s", r.Raw)
		}
		for i, name := range []string{"schema", "contents", "activate"} {
			if len(p.Onboarding.Steps) != 3 || p.Onboarding.Steps[i].Name != name || p.Onboarding.Steps[i].Status != "done" {
				t.Errorf("steps %v", p.Onboarding.Steps)
			}
		}
		person.Select(t, "rapi-jahit").Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)

		path := onboarding + "/" + p.Onboarding.ID.String()
		if again := into(t, person.Get(t, path).Want(t, http.StatusOK)); again.Onboarding.ID != p.Onboarding.ID || again.Tenant != p.Tenant {
			t.Errorf("asked again: %v", again)
		}
		a.SignUp(t).Get(t, path).Want(t, http.StatusNotFound, "resource.not_found")
		a.On("").Get(t, path).Want(t, http.StatusUnauthorized)
		person.Get(t, onboarding+"/"+uuid.NewString()).Want(t, http.StatusNotFound, "resource.not_found")
	})

	t.Run("the same key makes one workspace, and serves no other request", func(t *testing.T) {
		t.Parallel()
		key := uuid.NewString()
		first := into(t, person.Post(t, onboarding, workspace("satu-kali"), "Idempotency-Key", key).Want(t, http.StatusAccepted))
		r := person.Post(t, onboarding, workspace("satu-kali"), "Idempotency-Key", key).Want(t, http.StatusAccepted)
		if again := into(t, r); again.Onboarding.ID != first.Onboarding.ID || again.Tenant != first.Tenant || r.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("first %v, then %s", first, r.Raw)
		}
		person.Post(t, onboarding, workspace("dua-kali"), "Idempotency-Key", key).Want(t, http.StatusConflict, "idempotency.key_reused")
		a.SignUp(t).Post(t, onboarding, workspace("orang-lain"), "Idempotency-Key", key).Want(t, http.StatusAccepted) // keys are each one's own
	})

	t.Run("of many who want a name, one gets it", func(t *testing.T) {
		t.Parallel()
		var wait sync.WaitGroup
		var mu sync.Mutex
		count := map[string]int{}
		for range 20 {
			wait.Go(func() {
				r := person.Post(t, onboarding, workspace("diperebutkan"), "Idempotency-Key", uuid.NewString())
				mu.Lock()
				defer mu.Unlock()
				count[fmt.Sprint(r.Status, " ", r.Code, " ", len(r.Errors["slug"]))]++
			})
		}
		wait.Wait()
		if count["202 ok 0"] != 1 || count["409 resource.conflict 1"] != 19 {
			t.Errorf("answers %v", count)
		}
	})

	t.Run("refuses names that are nobody's or no names", func(t *testing.T) {
		t.Parallel()
		for _, slug := range []string{"admin", "api", "www", "bill-ing", "xn--abc", "a--b"} {
			person.Post(t, onboarding, workspace(slug)).WantField(t, "slug")
		}
		for _, slug := range []string{"", "ab", "Rapi", "rapi jahit", "-rapi", "rapi-", "rapi.jahit", "rapi_jahit", "räpi", "../x", strings.Repeat("a", 41)} {
			person.Post(t, onboarding, workspace(slug)).WantField(t, "slug")
		}
		nowhere := workspace("zona-aneh")
		nowhere["timezone"] = "Asia/Nowhere"
		person.Post(t, onboarding, nowhere).WantField(t, "timezone")
	})

	t.Run("says which names can be had", func(t *testing.T) {
		t.Parallel()
		a.SignUp(t).Onboard(t, "sudah-dipakai")
		for slug, want := range map[string]string{"masih-bebas": "", "sudah-dipakai": "taken", "admin": "reserved"} {
			got := person.Get(t, onboarding+"/availability?slug="+slug).Want(t, http.StatusOK).Object(t)
			reason, _ := got["reason"].(string)
			if got["slug"] != slug || got["available"] != (want == "") || reason != want {
				t.Errorf("%s: %v", slug, got)
			}
		}
		person.Get(t, onboarding+"/availability?slug=X").WantField(t, "slug")
		person.Get(t, onboarding+"/availability").WantField(t, "slug")
		a.On("").Get(t, onboarding+"/availability?slug=masih-bebas").Want(t, http.StatusUnauthorized)
	})

	t.Run("refuses who has not verified their address, and claims nothing for them", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		asOwner(t, a, fmt.Sprintf("update central.users set email_verified_at = null where id = '%s'", p.ID))
		p.Post(t, onboarding, workspace("belum-sah")).Want(t, http.StatusForbidden, "auth.email_unverified")
		person.Post(t, onboarding, workspace("belum-sah")).Want(t, http.StatusAccepted)
	})
}

func TestInterruptedOnboarding(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)

	t.Run("one that fails in the middle goes on by itself, and is seen by nobody before it is whole", func(t *testing.T) {
		ctx := t.Context()
		conn, err := pgx.Connect(ctx, a.SuperURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx) //nolint:errcheck // nothing is left to lose
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(ctx) //nolint:errcheck // after a commit it has nothing to do
		// The schema and its tables are made, and then the ledger cannot be written.
		if _, err := tx.Exec(ctx, "lock table tenancy.applied in share mode"); err != nil {
			t.Fatal(err)
		}
		person := a.SignUp(t)
		p := into(t, person.Post(t, onboarding, workspace("tertunda")).Want(t, http.StatusAccepted))
		if p.Onboarding.Status == "active" || p.Tenant.Status == "active" {
			t.Fatalf("active without a ledger: %v", p)
		}
		r := person.Post(t, "/auth/select-tenant", map[string]any{"tenant": "tertunda"})
		if r.Status < 400 || r.Status == http.StatusInternalServerError {
			t.Errorf("half made, and select-tenant answers %d %s", r.Status, r.Code)
		}
		if _, err := a.Registry.Enter(ctx, p.Tenant.ID); err == nil || !strings.Contains(err.Error(), "tenant.maintenance") {
			t.Errorf("half made, and entering it says %v", err)
		}
		apptest.Until(t, "the step that is killed", func() bool {
			var killed int
			if err := tx.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from pg_stat_activity
				where datname = current_database() and application_name = 'homecore owner' and wait_event_type = 'Lock'`).Scan(&killed); err != nil {
				t.Fatal(err)
			}
			return killed > 0
		})
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
		finished(t, person, p.Onboarding.ID)
		person.Select(t, "tertunda").Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	})

	t.Run("one whose process was killed, so that nobody works on it, is found", func(t *testing.T) {
		person := a.SignUp(t)
		m := person.Onboard(t, "terlantar")
		var id uuid.UUID
		var schema string
		conn, err := pgx.Connect(t.Context(), a.OwnerURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
		if err := conn.QueryRow(t.Context(), "select o.id, schema_name from central.onboardings o join central.tenants t on t.id = tenant_id where tenant_id = $1", m.TenantID).Scan(&id, &schema); err != nil {
			t.Fatal(err)
		}
		// As it is left by a process that ended after the schema: no contents, not active, and no job.
		asOwner(t, a,
			fmt.Sprintf(`update central.tenants set status = 'requested' where id = '%s'`, m.TenantID),
			fmt.Sprintf(`update central.onboardings set status = 'running', updated_at = '%s',
				steps = '[{"name":"schema","status":"done"},{"name":"contents","status":"running"},{"name":"activate","status":"pending"}]' where id = '%s'`,
				time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), id),
			fmt.Sprintf("truncate %s.members, %[1]s.roles cascade", schema),
			"delete from central.river_job",
			"insert into central.river_job (kind, args, max_attempts, queue, state) values ('tenants.resume', '{}', 1, 'default', 'available')",
		)
		finished(t, person, id)
		person.Select(t, "terlantar").Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	})
}

func finished(t testing.TB, p *apptest.Person, id uuid.UUID) {
	t.Helper()
	apptest.Until(t, "the onboarding to be active", func() bool {
		got := into(t, p.Get(t, onboarding+"/"+id.String()).Want(t, http.StatusOK))
		return got.Onboarding.Status == "active" && got.Tenant.Status == "active"
	})
}
