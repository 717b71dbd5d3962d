package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

const taxonomies = "/master-data/taxonomies"

func color(code string) map[string]any {
	return map[string]any{"kind": "color", "code": code, "name": "Warna " + code}
}

// owner runs statements as the role that owns the database, as an operator at psql would.
func asOwner(t testing.TB, a *apptest.App, statements ...string) {
	t.Helper()
	asOwnerOf(t, a.OwnerURL, statements...)
}

func asOwnerOf(t testing.TB, database string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	err = pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(t.Context(), s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTenantsSeeOnlyTheirOwn(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person, other := a.SignUp(t), a.SignUp(t)
	mine, theirs := person.Onboard(t, "rapi-jahit"), other.Onboard(t, "maju-busana")
	id := theirs.Post(t, taxonomies, color("RAHASIA")).Want(t, http.StatusCreated).Object(t)["id"].(string)
	mine.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	onlyMine := func(t *testing.T, r *apptest.Response) {
		t.Helper()
		rows := r.Want(t, http.StatusOK).List(t)
		if len(rows) != 1 || rows[0]["code"] != "MERAH" {
			t.Errorf("listed %v", rows)
		}
	}

	t.Run("each lists, shows, changes and deletes its own rows alone", func(t *testing.T) {
		onlyMine(t, mine.Get(t, taxonomies))
		mine.Get(t, taxonomies+"/"+id).Want(t, http.StatusNotFound, "resource.not_found")
		mine.Put(t, taxonomies+"/"+id, map[string]any{"version": 1, "name": "x"}).Want(t, http.StatusNotFound, "resource.not_found")
		mine.Delete(t, taxonomies+"/"+id).Want(t, http.StatusNotFound, "resource.not_found")
		child := color("ANAK")
		child["parent_id"] = id
		mine.Post(t, taxonomies, child).WantField(t, "parent_id")
		if row := theirs.Get(t, taxonomies+"/"+id).Want(t, http.StatusOK).Object(t); row["name"] != "Warna RAHASIA" {
			t.Errorf("theirs is now %v", row)
		}
		mine.Post(t, taxonomies, color("RAHASIA")).Want(t, http.StatusCreated) // a code that is taken elsewhere is free here
		mine.Delete(t, taxonomies+"/"+mine.Get(t, taxonomies+"?q=RAHASIA").List(t)[0]["id"].(string)).Want(t, http.StatusOK)
	})

	t.Run("a token is of use on its own host alone", func(t *testing.T) {
		theirHost := a.On("maju-busana")
		for name, token := range map[string]string{"another tenant's": mine.Token, "central": person.Token, "its owner's central": other.Token} {
			for _, r := range []*apptest.Response{
				theirHost.As(token).Get(t, taxonomies), theirHost.As(token).Get(t, taxonomies+"/"+id),
				theirHost.As(token).Post(t, taxonomies, color("X")), theirHost.As(token).Delete(t, taxonomies+"/"+id),
			} {
				if r.Status != http.StatusForbidden || r.Code != "tenant.context_mismatch" {
					t.Errorf("%s token: %d %s", name, r.Status, r.Code)
				}
			}
		}
		theirHost.As(mine.Token).Get(t, "/auth/me").Want(t, http.StatusForbidden, "tenant.context_mismatch")
	})

	t.Run("nobody without a token", func(t *testing.T) {
		for _, r := range []*apptest.Response{
			a.On("rapi-jahit").Get(t, taxonomies), a.On("rapi-jahit").As("abc").Get(t, taxonomies), a.On("").Get(t, taxonomies),
		} {
			r.Want(t, http.StatusUnauthorized, "auth.unauthenticated")
			if r.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		}
	})

	t.Run("an unknown host is nobody's, with whatever token", func(t *testing.T) {
		for _, token := range []string{"", mine.Token, person.Token} {
			a.On("tidak-ada").As(token).Get(t, taxonomies).Want(t, http.StatusNotFound, "tenant.unknown")
		}
		c := a.On("")
		c.Host = "rapi-jahit.example.com"
		c.As(mine.Token).Get(t, taxonomies).Want(t, http.StatusNotFound, "tenant.unknown")
	})

	t.Run("a tenant's token is none of an operator's, even in an operator's hand", func(t *testing.T) {
		if err := a.Identity.GrantRole(t.Context(), person.Email, "owner", "test"); err != nil {
			t.Fatal(err)
		}
		central := a.On("").As(mine.Token)
		central.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
		central.Post(t, taxonomies, color("X")).Want(t, http.StatusForbidden, "tenant.context_mismatch")
	})
}

func TestTenantsThatAreShut(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	status := func(m *apptest.Member, status string) string {
		return fmt.Sprintf("update central.tenants set status = '%s' where id = '%s'", status, m.TenantID)
	}
	gate := func(t *testing.T, m *apptest.Member, verb string) string {
		t.Helper()
		tenant, err := a.Registry.ByID(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		way := map[string]string{"revoke": "from", "grant": "to"}[verb]
		return fmt.Sprintf("%s %s %s %s", verb, tenant.RoleName, way, a.Fleet.Main().GroupRole(int(tenant.LoginGroup)))
	}

	t.Run("a suspended one refuses soon, and serves again once resumed", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "ditangguhkan")
		m.Get(t, taxonomies).Want(t, http.StatusOK)
		asOwner(t, a, status(m, "suspended"))
		begun := time.Now()
		apptest.Until(t, "the refusal", func() bool {
			r := m.Get(t, taxonomies)
			return r.Status == http.StatusForbidden && r.Code == "tenant.suspended"
		})
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		m.Post(t, taxonomies, color("X")).Want(t, http.StatusForbidden, "tenant.suspended")
		asOwner(t, a, status(m, "active"))
		apptest.Until(t, "the answer", func() bool { return m.Get(t, taxonomies).Status == http.StatusOK })
	})

	t.Run("one under maintenance says when to come back", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "dirawat")
		asOwner(t, a, status(m, "maintenance"))
		apptest.Until(t, "the refusal", func() bool { return m.Get(t, taxonomies).Status == http.StatusServiceUnavailable })
		r := m.Get(t, taxonomies).Want(t, http.StatusServiceUnavailable, "tenant.maintenance")
		if r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})

	t.Run("a read-only one is read, and refuses every write", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "hanya-baca")
		id := m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated).Object(t)["id"].(string)
		asOwner(t, a, status(m, "read_only"))
		var n int
		apptest.Until(t, "the refusal", func() bool {
			n++
			return m.Post(t, taxonomies, color(fmt.Sprint("W", n))).Status != http.StatusCreated
		})
		m.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusForbidden, "tenant.read_only")
		m.Post(t, taxonomies, color("BIRU"), "Idempotency-Key", uuid.NewString()).Want(t, http.StatusForbidden, "tenant.read_only")
		m.Put(t, taxonomies+"/"+id, map[string]any{"version": 1, "name": "x"}).Want(t, http.StatusForbidden, "tenant.read_only")
		m.Delete(t, taxonomies+"/"+id).Want(t, http.StatusForbidden, "tenant.read_only")
		m.Get(t, taxonomies+"/"+id).Want(t, http.StatusOK)
	})

	t.Run("one whose gate is shut in Postgres is refused by it, on the connections that are open", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "tanpa-pintu")
		m.Get(t, taxonomies).Want(t, http.StatusOK)
		asOwner(t, a, gate(t, m, "revoke"))
		r := m.Get(t, taxonomies).Want(t, http.StatusServiceUnavailable, "tenant.maintenance")
		if r.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		m.Post(t, taxonomies, color("X")).Want(t, http.StatusServiceUnavailable, "tenant.maintenance")
		asOwner(t, a, gate(t, m, "grant"))
		m.Get(t, taxonomies).Want(t, http.StatusOK)
	})

	t.Run("once Postgres has refused, the reason is read anew", func(t *testing.T) {
		t.Parallel()
		m := a.SignUp(t).Onboard(t, "ditutup")
		revoke := gate(t, m, "revoke")
		m.Get(t, taxonomies).Want(t, http.StatusOK)
		asOwner(t, a, revoke, status(m, "suspended"))
		if r := m.Get(t, taxonomies); r.Code != "tenant.maintenance" && r.Code != "tenant.suspended" {
			t.Errorf("at first %d %s", r.Status, r.Code)
		}
		m.Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.suspended")
	})
}
