package api_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"garment.id/homecore/platform/api"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	e := newEdge(t)

	t.Run("of a fault keeps its code, text and data", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "GET /api/v1/fail/fault", "").want(t, 402, "billing.limit_reached")
		if a.body.Message != "Batas tercapai." || a.field("upgrade") != "pro" {
			t.Errorf("%s", a.raw)
		}
		a = e.request(t, "GET /api/v1/fail/fields?lang=en", "").want(t, 422, "validation.failed")
		if got := a.body.Errors["code"]; len(got) != 1 || got[0] != "Is in use." {
			t.Errorf("%s", a.raw)
		}
	})
	for _, name := range []string{"bug", "inner", "panic", "nothing", "encode"} {
		t.Run("of a "+name+" tells clients nothing, and the log everything once", func(t *testing.T) {
			t.Parallel()
			a := e.request(t, "GET /api/v1/fail/"+name, "").want(t, 500, "server.error")
			if bytes.Contains(a.raw, []byte("hunter2")) || a.body.Data != nil {
				t.Errorf("%s", a.raw)
			}
			var causes int
			for _, m := range e.log.wait(t, a.body.RequestID) {
				if m["level"] == "ERROR" {
					causes++
					if name != "nothing" && name != "encode" && !strings.Contains(m["line"].(string), "hunter2") {
						t.Errorf("the cause is missing: %s", m["line"])
					}
				}
			}
			if causes != 1 {
				t.Errorf("%d error lines", causes)
			}
		})
	}
	t.Run("of a neighbour that is away is 503 with Retry-After", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "GET /api/v1/fail/away", "").want(t, 503, "service.unavailable")
		if a.Header.Get("Retry-After") != "1" || bytes.Contains(a.raw, []byte("5432")) {
			t.Errorf("%v %s", a.Header, a.raw)
		}
	})
	t.Run("rounds Retry-After up to whole seconds", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "GET /api/v1/fail/slow", "").want(t, 429, "rate_limited"); a.Header.Get("Retry-After") != "2" {
			t.Errorf("%v", a.Header)
		}
		if a := e.request(t, "GET tidur.localhost/api/v1/integrations/health", ""); a.Header.Get("Retry-After") != "91" {
			t.Errorf("%v", a.Header)
		}
	})
	t.Run("of a path without route is 404", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"/", "/api/v1/nowhere", "/api/v1/hello/", "/api/v1//hello", "/API/v1/hello", "/metrics"} {
			e.request(t, "GET "+path, "").want(t, 404, "route.not_found")
		}
	})
	t.Run("of a wrong method is 405 and names the right ones", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "DELETE /api/v1/hello", "").want(t, 405, "route.method_not_allowed")
		if a.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow: %q", a.Header.Get("Allow"))
		}
	})
	t.Run("of a path that is no text is 400", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET /api/v1/%00", "").want(t, 400, "request.malformed")
		e.request(t, "GET /api/v1/%ff", "").want(t, 400, "request.malformed")
	})
	t.Run("of an id that is none is 404", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET konveksi.localhost/api/v1/orders/12", "", "Authorization: Bearer "+tailorToken).want(t, 404, "resource.not_found")
	})
	t.Run("is never kept by a cache", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "GET /nowhere", ""); a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", a.Header)
		}
	})
}

func TestClientThatLeaves(t *testing.T) {
	t.Parallel()
	t.Run("is no error of ours", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t)
		entered := make(chan struct{})
		api.Get(e.Router, "/wait", func(ctx context.Context, _ *struct{}) (*api.Data[order], error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		}, "central.wait", api.Public)
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.server.URL+"/api/v1/wait", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost"
		req.Header.Set("X-Request-Id", "gone")
		go func() { <-entered; leave() }()
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			t.Fatal("an answer came")
		}
		lines := e.log.wait(t, "gone")
		if len(lines) != 1 || lines[0]["status"] != 499.0 {
			t.Errorf("%v", lines)
		}
	})
}
