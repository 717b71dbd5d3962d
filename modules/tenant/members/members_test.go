package members_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/modules/tenant/members"
)

// join makes the person a member with the role of that key, as an invitation will: in the directory and in the tenant's schema.
func join(t *testing.T, a *apptest.App, in *apptest.Member, p *apptest.Person, role string) {
	t.Helper()
	statements(t, a, in,
		"insert into central.memberships (tenant_id, user_id, role, status) values ($1, $2, '"+role+"', 'active')",
		"insert into members (user_id, role_id, status, created_at, updated_at) select $2, id, 'active', now(), now() from roles where key = '"+role+"' and $1::uuid is not null")(p)
}

// statements returns a function that runs them in the tenant's schema, with the tenant and the person as $1 and $2.
func statements(t *testing.T, a *apptest.App, in *apptest.Member, sql ...string) func(p *apptest.Person) {
	t.Helper()
	return func(p *apptest.Person) {
		t.Helper()
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, a.OwnerURL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "select set_config('search_path', schema_name, false) from central.tenants where id = $1", in.TenantID); err != nil {
			t.Fatal(err)
		}
		for _, s := range sql {
			if _, err := conn.Exec(ctx, s, in.TenantID, p.ID); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	owner := a.SignUp(t).Onboard(t, "rapi-jahit")
	person := a.SignUp(t)
	join(t, a, owner, person, "member")
	member := person.Select(t, "rapi-jahit")
	word := map[string]any{"kind": "color", "code": "MERAH", "name": "Merah"}

	t.Run("an owner may do everything, a member may look", func(t *testing.T) {
		id := owner.Post(t, "/master-data/taxonomies", word).Want(t, http.StatusCreated).Object(t)["id"].(string)
		member.Get(t, "/master-data/taxonomies/"+id).Want(t, http.StatusOK)
		member.Post(t, "/master-data/taxonomies", word).Want(t, http.StatusForbidden, "access.denied")
		member.Put(t, "/master-data/taxonomies/"+id, map[string]any{"name": "x", "version": 1}).Want(t, http.StatusForbidden, "access.denied")
		member.Delete(t, "/master-data/taxonomies/"+id).Want(t, http.StatusForbidden, "access.denied")
	})

	t.Run("me tells the permissions of the token's tenant", func(t *testing.T) {
		for caller, want := range map[*apptest.Member]int{owner: len(members.Permissions), member: 1} {
			if got := caller.Get(t, "/auth/me").Want(t, http.StatusOK).Object(t)["permissions"].([]any); len(got) != want {
				t.Errorf("permissions %v, want %d", got, want)
			}
		}
	})

	t.Run("who is suspended is out within a moment, with a token that is still good", func(t *testing.T) {
		statements(t, a, owner, "update members set status = 'suspended' where user_id = $2 and $1::uuid is not null")(person)
		apptest.Until(t, "the member is refused", func() bool {
			return member.Get(t, "/master-data/taxonomies").Status == http.StatusForbidden
		})
		owner.Get(t, "/master-data/taxonomies").Want(t, http.StatusOK)
	})

	t.Run("who never was a member is not let in", func(t *testing.T) {
		stranger := a.SignUp(t)
		stranger.Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"}).Want(t, http.StatusNotFound, "tenant.unknown")
	})
}
