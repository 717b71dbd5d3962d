package api_test

import (
	"testing"

	"garment.id/homecore/platform/api"
)

func TestAccess(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const base, ours, theirs = "localhost", "konveksi.localhost", "saingan.localhost"

	for _, c := range []struct {
		rule, what, token string
		status            int
		code              string
	}{
		{"a user's operation takes a central token", base + "/api/v1/me", centralToken, 200, "ok"},
		{"a user's operation takes a central token on a tenant's host", ours + "/api/v1/me", centralToken, 200, "ok"},
		{"a user's operation takes a tenant's token on its host", ours + "/api/v1/me", tailorToken, 200, "ok"},
		{"a user's operation takes a tenant's token on the base domain", base + "/api/v1/me", tailorToken, 200, "ok"},
		{"a user's operation refuses another tenant's token", theirs + "/api/v1/me", tailorToken, 403, "tenant.context_mismatch"},
		{"a user's operation refuses nobody's token", base + "/api/v1/me", "", 401, "auth.unauthenticated"},
		{"a refused token keeps its reason", base + "/api/v1/me", "expired", 401, "auth.token_expired"},

		{"a platform permission lets in", base + "/api/v1/plans", centralToken, 200, "ok"},
		{"a platform permission that is lacking keeps out", base + "/api/v1/audits", centralToken, 403, "access.denied"},
		{"a platform permission wants a central token", base + "/api/v1/plans", tailorToken, 403, "tenant.context_mismatch"},
		{"a platform permission wants a token", base + "/api/v1/plans", "", 401, "auth.unauthenticated"},

		{"a member gets in", ours + "/api/v1/members", tailorToken, 200, "ok"},
		{"a member of another tenant does not", theirs + "/api/v1/members", tailorToken, 403, "tenant.context_mismatch"},
		{"a central token is no membership", ours + "/api/v1/members", centralToken, 403, "tenant.context_mismatch"},
		{"a tenant's operation wants a token", ours + "/api/v1/members", "", 401, "auth.unauthenticated"},
		{"a tenant's permission that is lacking keeps out", ours + "/api/v1/roles", tailorToken, 403, "access.denied"},
		{"a tenant in maintenance is 503 even without a token to check", "tidur.localhost/api/v1/integrations/health", "", 503, "tenant.maintenance"},

		{"a member's central operation takes the tenant of the token", base + "/api/v1/activities", tailorToken, 200, "ok"},
		{"a member's central operation refuses a central token", base + "/api/v1/activities", centralToken, 403, "tenant.context_mismatch"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			var headers []string
			if c.token != "" {
				headers = append(headers, "Authorization: Bearer "+c.token)
			}
			e.request(t, "GET "+c.what, "", headers...).want(t, c.status, c.code)
		})
	}

	t.Run("the handler sees who calls, in which tenant", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "GET konveksi.localhost/api/v1/members", "", "Authorization: bearer "+tailorToken).want(t, 200, "ok")
		for field, want := range map[string]string{
			"user": asep.String(), "tenant": "konveksi", "scope": "konveksi", "request_id": a.body.RequestID, "ip": "127.0.0.1",
		} {
			if got := a.field(field); got != want {
				t.Errorf("%s is %q, want %q", field, got, want)
			}
		}
	})
	t.Run("a public operation of a tenant runs inside it", func(t *testing.T) {
		t.Parallel()
		if a := e.request(t, "GET konveksi.localhost/api/v1/integrations/health", "").want(t, 200, "ok"); a.field("scope") != "konveksi" {
			t.Errorf("%s", a.raw)
		}
	})
	t.Run("a token is taken from the Authorization header alone", func(t *testing.T) {
		t.Parallel()
		e.request(t, "GET /api/v1/me?access_token="+centralToken, "").want(t, 401, "auth.unauthenticated")
		e.request(t, "GET /api/v1/me", "", "Authorization: Basic "+centralToken).want(t, 401, "auth.unauthenticated")
		e.request(t, "GET /api/v1/me", "", "Cookie: access_token="+centralToken).want(t, 401, "auth.unauthenticated")
	})
	t.Run("a 401 names the scheme, and the error only where a token came", func(t *testing.T) {
		t.Parallel()
		if got := e.request(t, "GET /api/v1/me", "").Header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("without a token: %q", got)
		}
		if got := e.request(t, "GET /api/v1/me", "", "Authorization: Bearer nonsense").Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
			t.Errorf("with a bad token: %q", got)
		}
	})
	t.Run("who acts in a user's place can look, and change nothing", func(t *testing.T) {
		t.Parallel()
		as := "Authorization: Bearer " + supportToken
		e.request(t, "GET /api/v1/me", "", as).want(t, 200, "ok")
		e.request(t, "PUT /api/v1/drafts", "{}", as, "Content-Type: application/json").want(t, 403, "auth.impersonation_read_only")
		e.request(t, "GET /api/v1/plans", "", as).want(t, 403, "access.denied") // no right on the platform is lent
	})
	t.Run("is decided before the input is judged", func(t *testing.T) {
		t.Parallel()
		e.request(t, "PUT /api/v1/drafts?nonsense=1", "{", "Content-Type: text/plain").want(t, 401, "auth.unauthenticated")
	})
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER  abc ": "abc", "Bearer": "", "Basic abc": "", "": "", "Bearerabc": "",
	} {
		if got := api.Bearer(header); got != want {
			t.Errorf("%q gives %q, want %q", header, got, want)
		}
	}
}
