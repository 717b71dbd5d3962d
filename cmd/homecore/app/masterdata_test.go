package app_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func withRole(t testing.TB, a *apptest.App, role string) *apptest.Person {
	t.Helper()
	p := a.SignUp(t)
	if err := a.Identity.GrantRole(t.Context(), p.Email, role, "test"); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMasterTaxonomiesBelongToOperators(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	operator, auditor, ordinary := withRole(t, a, "owner"), withRole(t, a, "auditor"), a.SignUp(t)
	id := operator.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated).Object(t)["id"].(string)

	t.Run("an operator lists, shows, changes and deletes", func(t *testing.T) {
		if rows := operator.Get(t, taxonomies+"?filter[kind]=color").Want(t, http.StatusOK).List(t); len(rows) != 1 {
			t.Errorf("listed %v", rows)
		}
		one := operator.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusCreated).Object(t)["id"].(string)
		changed := operator.Put(t, taxonomies+"/"+one, map[string]any{"name": "Biru"}, "If-Match", `"1"`).Want(t, http.StatusOK).Object(t)
		if changed["name"] != "Biru" || changed["version"] != 2.0 {
			t.Errorf("changed %v", changed)
		}
		operator.Put(t, taxonomies+"/"+one, map[string]any{"name": "Biru", "version": 1}).Want(t, http.StatusConflict, "resource.stale")
		operator.Post(t, taxonomies, color("biru")).Want(t, http.StatusConflict, "resource.conflict")
		operator.Delete(t, taxonomies+"/"+one).Want(t, http.StatusOK)
		operator.Get(t, taxonomies+"/"+one).Want(t, http.StatusNotFound, "resource.not_found")
	})
	t.Run("an auditor reads", func(t *testing.T) {
		auditor.Get(t, taxonomies).Want(t, http.StatusOK)
		auditor.Get(t, taxonomies+"/"+id).Want(t, http.StatusOK)
	})
	t.Run("others are refused", func(t *testing.T) {
		ordinary.Get(t, taxonomies).Want(t, http.StatusForbidden, "access.denied")
		ordinary.Get(t, taxonomies+"/"+id).Want(t, http.StatusForbidden, "access.denied")
		for _, p := range []*apptest.Person{auditor, ordinary} {
			p.Post(t, taxonomies, color("X")).Want(t, http.StatusForbidden, "access.denied")
			p.Put(t, taxonomies+"/"+id, map[string]any{"name": "X", "version": 1}).Want(t, http.StatusForbidden, "access.denied")
			p.Delete(t, taxonomies+"/"+id).Want(t, http.StatusForbidden, "access.denied")
		}
	})
}

func TestNewTenantsGetCopiesOfTheMasters(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	operator := withRole(t, a, "owner")
	master := func(code string, parent any, active bool) string {
		return operator.Post(t, taxonomies, map[string]any{
			"kind": "product_category", "code": code, "name": "Kategori " + code, "parent_id": parent, "is_active": active,
			"description": "d", "position": 7, "attributes": map[string]any{"a": 1},
		}).Want(t, http.StatusCreated).Object(t)["id"].(string)
	}
	top := master("ATASAN", nil, true)
	below := master("KEMEJA", top, true)
	hidden := master("TOPI", nil, false)
	orphan := master("PECI", hidden, true)
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	copies := func(t *testing.T) map[string]map[string]any {
		t.Helper()
		out := map[string]map[string]any{}
		rows := m.Get(t, taxonomies+"?limit=100").Want(t, http.StatusOK).List(t)
		for _, row := range rows {
			out[row["code"].(string)] = row
		}
		if len(out) != len(rows) {
			t.Errorf("codes twice: %v", rows)
		}
		return out
	}

	t.Run("the active ones, with their tree and where they come from", func(t *testing.T) {
		got := copies(t)
		if len(got) != 3 || got["TOPI"] != nil {
			t.Fatalf("copied %v", got)
		}
		for code, from := range map[string]string{"ATASAN": top, "KEMEJA": below, "PECI": orphan} {
			row := got[code]
			if row["master_id"] != from || row["id"] == from || row["name"] != "Kategori "+code || row["position"] != 7.0 || row["description"] != "d" ||
				fmt.Sprint(row["attributes"]) != "map[a:1]" {
				t.Errorf("%s is %v", code, row)
			}
		}
		if got["KEMEJA"]["parent_id"] != got["ATASAN"]["id"] || got["ATASAN"]["parent_id"] != nil || got["PECI"]["parent_id"] != nil {
			t.Errorf("the tree: %v", got)
		}
	})

	t.Run("what changes in a master afterwards changes no tenant", func(t *testing.T) {
		before := fmt.Sprint(copies(t))
		operator.Put(t, taxonomies+"/"+below, map[string]any{"name": "Lain", "version": 1}).Want(t, http.StatusOK)
		operator.Delete(t, taxonomies+"/"+orphan).Want(t, http.StatusOK)
		master("CELANA", nil, true)
		if after := fmt.Sprint(copies(t)); after != before {
			t.Errorf("before %s\nafter  %s", before, after)
		}
	})

	t.Run("seeding again adds nothing and takes no change back", func(t *testing.T) {
		kemeja := copies(t)["KEMEJA"]
		m.Put(t, taxonomies+"/"+kemeja["id"].(string), map[string]any{"name": "Kemeja kami", "version": 1}).Want(t, http.StatusOK)
		m.Delete(t, taxonomies+"/"+copies(t)["PECI"]["id"].(string)).Want(t, http.StatusOK)
		before := fmt.Sprint(copies(t))
		ctx, err := a.Registry.EnterNew(t.Context(), m.TenantID)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Tenants.Seed(ctx, m.Person.ID); err != nil {
			t.Fatal(err)
		}
		if after := fmt.Sprint(copies(t)); after != before {
			t.Errorf("before %s\nafter  %s", before, after)
		}
	})

	t.Run("a tenant cannot say where its own come from", func(t *testing.T) {
		d := color("PALSU")
		d["master_id"] = uuid.NewString()
		m.Post(t, taxonomies, d).WantField(t, "master_id")
	})
}
