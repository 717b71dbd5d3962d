package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"garment.id/homecore/platform/api"
)

func TestRequestID(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	t.Run("that came well-formed is kept", func(t *testing.T) {
		t.Parallel()
		id := "Abc-1._" + strings.Repeat("x", 121)
		if a := e.request(t, "GET /api/v1/hello", "", "X-Request-Id: "+id).want(t, 200, "ok"); a.body.RequestID != id {
			t.Errorf("%q", a.body.RequestID)
		}
	})
	t.Run("that did not is replaced by a UUIDv7", func(t *testing.T) {
		t.Parallel()
		for _, id := range []string{"", "a b", "a\"b", strings.Repeat("x", 129), "é"} {
			a := e.request(t, "GET /api/v1/hello", "", "X-Request-Id: "+id).want(t, 200, "ok")
			if len(a.body.RequestID) != 36 || a.body.RequestID[14] != '7' {
				t.Errorf("%q became %q", id, a.body.RequestID)
			}
		}
	})
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, c := range []struct{ rule, query, accept, want string }{
		{"is Indonesian by default", "", "", "id"},
		{"follows Accept-Language", "", "en-GB,id;q=0.5", "en"},
		{"is Indonesian for any third language", "", "fr", "id"},
		{"follows ?lang= first", "?lang=id", "en", "id"},
		{"ignores a ?lang= it does not know", "?lang=xx", "en", "en"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			a := e.request(t, "GET /api/v1/hello"+c.query, "", "Accept-Language: "+c.accept).want(t, 200, "ok")
			message := map[string]string{"id": "Berhasil.", "en": "Done."}[c.want]
			if a.Header.Get("Content-Language") != c.want || a.body.Message != message {
				t.Errorf("%q %q", a.Header.Get("Content-Language"), a.body.Message)
			}
			if !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Accept-Language") {
				t.Errorf("Vary: %v", a.Header.Values("Vary"))
			}
		})
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	t.Run("is GET without the body", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "HEAD /api/v1/hello", "")
		if a.StatusCode != 200 || len(a.raw) != 0 || a.ContentLength <= 0 {
			t.Errorf("%d, %d bytes, Content-Length %d", a.StatusCode, len(a.raw), a.ContentLength)
		}
		if a := e.request(t, "HEAD /nowhere", ""); a.StatusCode != 404 {
			t.Errorf("%d", a.StatusCode)
		}
	})
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	proxied := newEdge(t, func(c *api.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	t.Run("stand on every answer", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{"/api/v1/hello", "/nowhere", "/up", "/api/v1/fail/panic"} {
			h := proxied.request(t, "GET "+path, "").Header
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": "",
			} {
				if got := h.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got, want)
				}
			}
		}
	})
	t.Run("ask for https where it is spoken", func(t *testing.T) {
		t.Parallel()
		if h := proxied.request(t, "GET /up", "", "X-Forwarded-Proto: https").Header; h.Get("Strict-Transport-Security") == "" {
			t.Error("no Strict-Transport-Security behind a proxy that says https")
		}
		if h := newEdge(t).request(t, "GET /up", "", "X-Forwarded-Proto: https").Header; h.Get("Strict-Transport-Security") != "" {
			t.Error("a stranger's X-Forwarded-Proto was believed")
		}
	})
}

func TestCORS(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	preflight := func(t *testing.T, host, origin string) *answer {
		return e.request(t, "OPTIONS "+host+"/api/v1/drafts", "", "Origin: "+origin, "Access-Control-Request-Method: POST",
			"Access-Control-Request-Headers: authorization,content-type,idempotency-key")
	}
	t.Run("lets the configured origins in", func(t *testing.T) {
		t.Parallel()
		for _, origin := range []string{"https://app.example.id", "http://konveksi.localhost:8080"} {
			a := preflight(t, "konveksi.localhost", origin)
			if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != origin ||
				a.Header.Get("Access-Control-Allow-Headers") == "" || a.Header.Get("Access-Control-Allow-Methods") != "POST" {
				t.Errorf("%s: %d %v", origin, a.StatusCode, a.Header)
			}
			if a.Header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
		}
		a := e.request(t, "GET /nowhere", "", "Origin: https://app.example.id")
		if a.Header.Get("Access-Control-Allow-Origin") == "" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "X-Request-Id") {
			t.Errorf("an error is hidden from the page: %v", a.Header)
		}
	})
	t.Run("keeps others out", func(t *testing.T) {
		t.Parallel()
		for _, origin := range []string{
			"https://evil.example", "https://app.example.id.evil.example", "http://a.b.localhost:8080", "http://.localhost:8080",
			"http://evil.example/.localhost:8080", "null", "http://localhost:8080",
		} {
			if a := preflight(t, "localhost", origin); a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: %v", origin, a.Header)
			}
		}
	})
	t.Run("leaves an OPTIONS that is no preflight to the routes", func(t *testing.T) {
		t.Parallel()
		e.request(t, "OPTIONS /api/v1/drafts", "").want(t, 405, "route.method_not_allowed")
	})
}

func TestClient(t *testing.T) {
	t.Parallel()
	behind := newEdge(t, func(c *api.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	ip := func(t *testing.T, e *edge, forwarded string) string {
		return e.request(t, "GET /api/v1/me", "", "Authorization: Bearer "+centralToken, "X-Forwarded-For: "+forwarded).want(t, 200, "ok").field("ip")
	}
	for _, c := range []struct{ rule, forwarded, want string }{
		{"is the last address no trusted proxy added", "6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"},
		{"is the peer where nothing was forwarded", "", "127.0.0.1"},
		{"is the leftmost proxy where all are trusted", "10.1.1.1, 10.1.1.2", "10.1.1.1"},
		{"is the last good address before nonsense", "nonsense, 10.1.1.2", "10.1.1.2"},
		{"is read with a port", "203.0.113.9:4711", "203.0.113.9"},
		{"is read as IPv6", "[2001:db8::1]:80", "2001:db8::1"},
		{"is one address in either notation", "::ffff:203.0.113.9", "203.0.113.9"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			if got := ip(t, behind, c.forwarded); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	t.Run("is the peer where no proxy is trusted", func(t *testing.T) {
		t.Parallel()
		if got := ip(t, newEdge(t), "203.0.113.9"); got != "127.0.0.1" {
			t.Error(got)
		}
	})
	t.Run("has a user agent fit for a column", func(t *testing.T) {
		t.Parallel()
		a := behind.request(t, "GET /api/v1/me", "", "Authorization: Bearer "+centralToken, "User-Agent: M\xff"+strings.Repeat("x", 600))
		if got := a.want(t, 200, "ok").field("agent"); got != "M"+strings.Repeat("x", 510) {
			t.Errorf("%q", got)
		}
	})
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	t.Run("says what was asked and answered, and no secret", func(t *testing.T) {
		t.Parallel()
		id := asep.String()
		a := e.request(t, "GET konveksi.localhost/api/v1/orders/"+id+"?lang=en", "", "Authorization: Bearer "+tailorToken).want(t, 200, "ok")
		lines := e.log.wait(t, a.body.RequestID)
		if len(lines) != 1 {
			t.Fatalf("%d lines", len(lines))
		}
		for name, want := range map[string]any{
			"msg": "request", "level": "INFO", "method": "GET", "route": "/api/v1/orders/{order}", "status": 200.0, "tenant": "konveksi",
			"user": asep.String(), "ip": "127.0.0.1", "bytes": float64(len(a.raw)),
		} {
			if lines[0][name] != want {
				t.Errorf("%s is %v, want %v", name, lines[0][name], want)
			}
		}
		if l := lines[0]["line"].(string); strings.Contains(l, tailorToken) || strings.Contains(l, "lang=") {
			t.Errorf("%s", l)
		}
	})
	t.Run("leaves out the probes", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET /up", "", "X-Request-Id: probe").want(t, 200, "ok")
		after := e.request(t, "GET /api/v1/hello", "")
		e.log.wait(t, after.body.RequestID)
		if lines := e.log.of("probe"); len(lines) != 0 {
			t.Errorf("%v", lines)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := newEdge(t, func(c *api.Config) { c.Registry = registry })
	private := httptest.NewServer(api.MetricsHandler(registry))
	t.Cleanup(private.Close)
	t.Run("count requests by operation, surface and class", func(t *testing.T) {
		t.Parallel()
		for range 2 {
			a := e.request(t, "GET konveksi.localhost/api/v1/hello", "").want(t, 200, "ok")
			e.log.wait(t, a.body.RequestID)
		}
		a := e.request(t, "GET /nowhere", "").want(t, 404, "route.not_found")
		e.log.wait(t, a.body.RequestID)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, private.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := string(send(t, req).raw)
		for _, want := range []string{
			`homecore_http_requests_total{operation="central.hello",status="2xx",surface="tenant"} 2`,
			`homecore_http_requests_total{operation="none",status="4xx",surface="none"} 1`,
			`homecore_http_request_duration_seconds_count{operation="central.hello",surface="tenant"} 2`,
			`homecore_http_requests_in_flight 0`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is missing", want)
			}
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	pages := http.NewServeMux()
	pages.HandleFunc("GET /dev/mail", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("surat")) })
	e := newEdge(t, func(c *api.Config) { c.Pages = pages })
	t.Run("stand on the base domain alone", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "GET localhost/dev/mail", ""); string(a.raw) != "surat" {
			t.Errorf("%s", a.raw)
		}
		e.request(t, "GET konveksi.localhost/dev/mail", "").want(t, 404, "route.not_found")
		e.request(t, "GET localhost/api/v1/hello", "").want(t, 200, "ok")
	})
}
