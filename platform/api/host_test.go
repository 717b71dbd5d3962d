package api_test

import (
	"strings"
	"testing"

	"garment.id/homecore/platform/api"
)

func TestHost(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	production := newEdge(t, func(c *api.Config) { c.BaseDomain = "homecore.id" })

	t.Run("the base domain serves the Core API, however it is written", func(t *testing.T) {
		t.Parallel()
		for _, host := range []string{"localhost:8080", "LOCALHOST", "localhost.", "localhost.:8080", "localhost:9999", "127.0.0.1:8080", "[::1]:8080"} {
			e.request(t, "GET "+host+"/api/v1/core-only", "").want(t, 200, "ok")
		}
	})
	t.Run("a tenant's host serves the Tenant API", func(t *testing.T) {
		t.Parallel()
		for _, host := range []string{"konveksi.localhost:8080", "Konveksi.LOCALHOST.", "jahit.example.id"} {
			e.request(t, "GET "+host+"/api/v1/members", "", "Authorization: Bearer "+tailorToken).want(t, 200, "ok")
			e.request(t, "GET "+host+"/api/v1/core-only", "").want(t, 404, "route.not_found")
		}
	})
	t.Run("an operation on both hosts answers on both", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET localhost/api/v1/hello", "").want(t, 200, "ok")
		e.request(t, "GET konveksi.localhost/api/v1/hello", "").want(t, 200, "ok")
	})
	t.Run("a tenant's operation is not on the base domain", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET localhost/api/v1/members", "", "Authorization: Bearer "+tailorToken).want(t, 404, "route.not_found")
	})
	t.Run("an unknown host is 404", func(t *testing.T) {
		t.Parallel()
		for _, host := range []string{"bukan.localhost", "evil.example", "a_b.localhost", strings.Repeat("a", 300) + ".localhost"} {
			e.request(t, "GET "+host+"/api/v1/hello", "").want(t, 404, "tenant.unknown")
		}
	})
	t.Run("a registry that is away is 503", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET rusak.localhost/api/v1/hello", "").want(t, 503, "service.unavailable")
	})
	t.Run("addresses are no base domain in production", func(t *testing.T) {
		t.Parallel()
		production.request(t, "GET homecore.id/api/v1/core-only", "").want(t, 200, "ok")
		production.request(t, "GET 127.0.0.1/api/v1/core-only", "").want(t, 404, "tenant.unknown")
		production.request(t, "GET localhost/api/v1/core-only", "").want(t, 404, "tenant.unknown")
	})
	t.Run("X-Forwarded-Host chooses nothing", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET saingan.localhost/api/v1/members", "", "Authorization: Bearer "+tailorToken,
			"X-Forwarded-Host: konveksi.localhost").want(t, 403, "tenant.context_mismatch")
	})
}
