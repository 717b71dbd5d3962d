package tenants_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// Each onboarding holds a connection while its steps take others: many at once must not take all there are.
func TestManyOnboardingsAtOnce(t *testing.T) {
	t.Parallel()
	a := apptest.New(t) // with the fewest connections that are allowed
	person := a.SignUp(t)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			r := person.Post(t, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": fmt.Sprintf("konveksi-%02d", i)})
			if r.Status != http.StatusAccepted {
				t.Errorf("answer %d %s", r.Status, r.Raw)
			}
		})
	}
	wait.Wait()
	apptest.Until(t, "all of them are active", func() bool {
		rows := person.Get(t, "/auth/me").Want(t, http.StatusOK).Object(t)["tenants"].([]any)
		active := 0
		for _, row := range rows {
			if row.(map[string]any)["status"] == "active" {
				active++
			}
		}
		return active == 16
	})
}

func TestSelectTakesAnIDAsItIsWritten(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t)
	id := person.Onboard(t, "rapi-jahit").TenantID.String()
	for text, status := range map[string]int{id: http.StatusOK, "urn:uuid:" + id: http.StatusNotFound, "{" + id + "}": http.StatusNotFound, "x" + id + "y": http.StatusNotFound} {
		if r := person.Post(t, "/auth/select-tenant", map[string]any{"tenant": text}); r.Status != status {
			t.Errorf("%s: %d %s, want %d", text, r.Status, r.Code, status)
		}
	}
}
