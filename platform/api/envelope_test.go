package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

func TestEnvelope(t *testing.T) {
	t.Parallel()
	e := newEdge(t)

	t.Run("of a success holds its members and no others", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "GET /api/v1/hello", "").want(t, 200, "ok")
		var members map[string]any
		if err := json.Unmarshal(a.raw, &members); err != nil {
			t.Fatal(err)
		}
		if got := len(members); got != 7 || members["meta"] != nil {
			t.Errorf("members: %s", a.raw)
		}
		if a.body.Message != "Berhasil." {
			t.Errorf("message %q", a.body.Message)
		}
	})
	t.Run("of an operation without result has data {}", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "POST /api/v1/logout", "").want(t, 200, "ok"); string(a.body.Data) != "{}" {
			t.Errorf("data %s", a.body.Data)
		}
	})
	t.Run("of a list has meta, and [] when it is empty", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "GET /api/v1/lists", "").want(t, 200, "ok")
		if !strings.Contains(string(a.raw), `"data":[],"meta":{"next_cursor":null,"limit":25}`) {
			t.Errorf("%s", a.raw)
		}
		a = e.request(t, "GET /api/v1/lists?cursor=abc&limit=3", "").want(t, 200, "ok")
		if a.body.Meta["next_cursor"] != "abc" || a.body.Meta["limit"] != 3.0 {
			t.Errorf("%s", a.raw)
		}
	})
	t.Run("of what was created is 201", func(t *testing.T) {
		t.Parallel()
		e.request(t, "POST /api/v1/drafts", `{"name":"Budi","email":"budi@example.id"}`).want(t, 201, "ok")
	})
	t.Run("is left out at the root, where other standards rule", func(t *testing.T) {
		t.Parallel()
		for _, host := range []string{"localhost", "konveksi.localhost"} {
			a := e.request(t, "GET "+host+"/.well-known/jwks.json", "")
			if a.StatusCode != 200 || strings.TrimSpace(string(a.raw)) != `{"keys":[]}` {
				t.Errorf("%s: %d %s", host, a.StatusCode, a.raw)
			}
		}
	})
	t.Run("leaves the headers to the handler", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "GET /api/v1/cookie", ""); a.Header.Get("X-Extra") != "1" {
			t.Error("the handler's header is missing")
		}
	})
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	panics := func(name string, f func(r *api.Router)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f(e.Router)
		})
	}
	panics("refuses a route without a rule", func(r *api.Router) { api.Get(r, "/x", hello, "central.x", api.Rule{}) })
	panics("refuses a name of no surface", func(r *api.Router) { api.Get(r, "/x", hello, "x", api.Public) })
	panics("refuses a name used already", func(r *api.Router) { api.Get(r, "/x", hello, "central.hello", api.Public) })
	panics("refuses a tenant's operation on the Core API", func(r *api.Router) { api.Get(r, "/x", hello, "tenant.x", api.Member, api.Both) })
	panics("refuses a tenant's operation for users without membership", func(r *api.Router) { api.Get(r, "/x", hello, "tenant.x", api.User) })

	t.Run("lists every operation with its rule", func(t *testing.T) {
		t.Parallel()
		all := newEdge(t).Operations()
		for _, want := range []api.OperationInfo{
			{Name: "central.hello", Method: "GET", Path: "/api/v1/hello", Surface: api.CoreAPI, Rule: api.Public},
			{Name: "central.hello", Method: "GET", Path: "/api/v1/hello", Surface: api.TenantAPI, Rule: api.Public},
			{Name: "tenant.roles", Method: "GET", Path: "/api/v1/roles", Surface: api.TenantAPI, Rule: api.Can("roles.read")},
			{Name: "central.jwks", Method: "GET", Path: "/.well-known/jwks.json", Surface: api.CoreAPI, Rule: api.Public},
		} {
			if !slices.Contains(all, want) {
				t.Errorf("%+v is missing", want)
			}
		}
	})
}

func TestVersion(t *testing.T) {
	t.Parallel()
	three, four := int64(3), int64(4)
	for _, c := range []struct {
		name, ifMatch string
		body          *int64
		want          int64
		refused       bool
	}{
		{"takes a quoted If-Match", `"3"`, nil, 3, false},
		{"takes a bare If-Match", `3`, nil, 3, false},
		{"takes a weak If-Match", `W/"3"`, nil, 3, false},
		{"takes the body's", "", &three, 3, false},
		{"takes both if they agree", `"3"`, &three, 3, false},
		{"refuses two that differ", `"3"`, &four, 0, true},
		{"refuses neither", "", nil, 0, true},
		{"refuses what is no number", "*", nil, 0, true},
		{"refuses half a quote", `"3`, nil, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := api.Version(c.ifMatch, c.body)
			if got != c.want || errors.Is(err, fault.ValidationFailed) != c.refused {
				t.Errorf("%d, %v", got, err)
			}
			if f, ok := fault.From(err); ok && len(f.Fields()["version"]) != 1 {
				t.Errorf("fields %v", f.Fields())
			}
		})
	}
}

func TestMustPrincipal(t *testing.T) {
	t.Parallel()
	t.Run("panics where nobody is known", func(t *testing.T) {
		t.Parallel()
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		api.MustPrincipal(context.Background())
	})
}

var _ http.Handler = (*api.Router)(nil)
