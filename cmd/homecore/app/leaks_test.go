package app_test

import (
	"net/http"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// Two of the ways by which one tenant's rows reach another that are seen at the front door alone; the others are in
// tenancy/leaks_test.go.

func TestLeakL13TokenOrRememberedAnswerNotKeyedByTenant(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t) // a member of both, so that nothing but the tenant tells them apart
	mine, theirs := person.Onboard(t, "rapi-jahit"), person.Onboard(t, "maju-busana")

	t.Run("a token that was believed on one host is not on another", func(t *testing.T) {
		mine.Get(t, taxonomies).Want(t, http.StatusOK) // remembered as verified
		for range 2 {
			a.On("maju-busana").As(mine.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
			a.On("rapi-jahit").As(theirs.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
			a.On("").As(mine.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
		}
	})
	t.Run("an Idempotency-Key is one tenant's", func(t *testing.T) {
		const key = "the-same-of-both"
		first := mine.Post(t, taxonomies, color("MERAH"), "Idempotency-Key", key).Want(t, http.StatusCreated).Object(t)
		again := mine.Post(t, taxonomies, color("MERAH"), "Idempotency-Key", key).Want(t, http.StatusCreated).Object(t)
		if first["id"] != again["id"] {
			t.Errorf("the key is not remembered: %v and %v", first["id"], again["id"])
		}
		other := theirs.Post(t, taxonomies, color("MERAH"), "Idempotency-Key", key).Want(t, http.StatusCreated).Object(t)
		if other["id"] == first["id"] {
			t.Error("another tenant is given the answer")
		}
		theirs.Get(t, taxonomies+"/"+first["id"].(string)).Want(t, http.StatusNotFound)
	})
}

func TestLeakL15TenantNamedByTheClient(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	mine, theirs := a.SignUp(t).Onboard(t, "rapi-jahit"), a.SignUp(t).Onboard(t, "maju-busana")
	theirs.Post(t, taxonomies, color("RAHASIA")).Want(t, http.StatusCreated)
	mine.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	for _, header := range []string{
		"X-Tenant", "X-Tenant-ID", "X-Tenant-Slug", "X-Forwarded-Host", "X-Original-Host", "X-Host", "Forwarded", "Tenant",
	} {
		for _, value := range []string{"maju-busana", theirs.TenantID.String(), theirs.Host, "host=" + theirs.Host} {
			if rows := mine.Get(t, taxonomies, header, value).Want(t, http.StatusOK).List(t); len(rows) != 1 || rows[0]["code"] != "MERAH" {
				t.Errorf("%s: %s chooses: %v", header, value, rows)
			}
		}
	}
	for _, query := range []string{"tenant=", "tenant_id=", "slug=", "schema="} {
		r := mine.Get(t, taxonomies+"?"+query+theirs.TenantID.String())
		if r.Status == http.StatusUnprocessableEntity {
			continue // not known, which is as good
		}
		if rows := r.Want(t, http.StatusOK).List(t); len(rows) != 1 || rows[0]["code"] != "MERAH" {
			t.Errorf("%s chooses: %v", query, rows)
		}
	}
	body := color("BIRU")
	body["tenant_id"] = theirs.TenantID.String()
	mine.Post(t, taxonomies, body).WantField(t, "tenant_id")
}
