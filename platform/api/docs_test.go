package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"garment.id/homecore/platform/api"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	e := newEdge(t)

	t.Run("is that of the host it is asked on", func(t *testing.T) {
		t.Parallel()
		for host, want := range map[string]struct{ has, lacks string }{
			"localhost:8080":          {"central.core-only", "tenant.members"},
			"konveksi.localhost:8080": {"tenant.members", "central.core-only"},
			"jahit.example.id":        {"tenant.members", "central.core-only"},
		} {
			a := e.request(t, "GET "+host+"/openapi.json", "")
			var doc struct {
				OpenAPI string                    `json:"openapi"`
				Servers []struct{ URL string }    `json:"servers"`
				Paths   map[string]map[string]any `json:"paths"`
			}
			if err := json.Unmarshal(a.raw, &doc); err != nil {
				t.Fatal(err)
			}
			if doc.OpenAPI != "3.1.0" || len(doc.Servers) != 1 || doc.Servers[0].URL != "http://"+host {
				t.Errorf("%s: %s %v", host, doc.OpenAPI, doc.Servers)
			}
			text := string(a.raw)
			if !strings.Contains(text, want.has) || strings.Contains(text, want.lacks) || strings.Contains(text, "$schema") {
				t.Errorf("%s: wrong operations in %s", host, text)
			}
		}
	})
	t.Run("is given to the command line for the base domain", func(t *testing.T) {
		t.Parallel()
		for surface, url := range map[api.Surface]string{api.CoreAPI: "http://localhost:8080", api.TenantAPI: "http://{slug}.localhost:8080"} {
			doc, err := e.Document(surface)
			if err != nil || !bytes.Contains(doc, []byte(`"url":"`+url+`"`)) {
				t.Errorf("%s: %v", surface, err)
			}
		}
	})
	t.Run("tells the access rule, and names schemas by module", func(t *testing.T) {
		t.Parallel()
		doc, err := e.Document(api.TenantAPI)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"x-access":"can:orders.read"`, "Permission: `orders.read`", `"security":[{"bearer":[]}]`,
			`"tags":["Orders"]`, `"EnvelopeApiTestOrder"`, `"Failure"`, `"operationId":"tenant.orders.show"`, `"format":"uuid"`} {
			if !bytes.Contains(doc, []byte(want)) {
				t.Errorf("%s is missing", want)
			}
		}
	})
	t.Run("says that an object may hold anything, and what belongs to no group", func(t *testing.T) {
		t.Parallel()
		doc, err := e.Document(api.CoreAPI)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"extra":{"additionalProperties":true,"type":"object"}`, `"operationId":"central.jwks"`, `"tags":["General"]`} {
			if !bytes.Contains(doc, []byte(want)) {
				t.Errorf("%s is missing", want)
			}
		}
		if bytes.Contains(doc, []byte(`"tags":["Jwks"]`)) {
			t.Error("a group of one")
		}
	})
	t.Run("agrees with every answer", func(t *testing.T) {
		t.Parallel()
		doc, err := e.Document(api.CoreAPI)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := libopenapi.NewDocument(doc)
		if err != nil {
			t.Fatal(err)
		}
		v, errs := validator.NewValidator(parsed)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if ok, problems := v.ValidateDocument(); !ok {
			t.Errorf("the document itself: %v", problems[0])
		}
		for _, what := range []string{"GET /api/v1/hello", "GET /api/v1/lists?limit=2", "POST /api/v1/logout", "GET /api/v1/me",
			"GET /api/v1/lists?limit=0", "POST /api/v1/drafts", "GET /.well-known/jwks.json", "GET /api/v1/fail/fault", "GET /api/v1/fail/bug",
			"GET /api/v1/fail/away", "GET /api/v1/fail/slow", "GET /api/v1/fail/fields"} {
			method, path, _ := strings.Cut(what, " ")
			a := e.request(t, what, "")
			req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost:8080"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			a.Body = io.NopCloser(bytes.NewReader(a.raw))
			if ok, problems := v.ValidateHttpResponse(req, a.Response); !ok {
				t.Errorf("%s: %v: %s", what, problems[0], a.raw)
			}
		}
	})
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	t.Run("loads nothing from elsewhere", func(t *testing.T) {
		t.Parallel()
		for _, host := range []string{"localhost", "konveksi.localhost"} {
			a := e.request(t, "GET "+host+"/docs", "")
			policy := a.Header.Get("Content-Security-Policy")
			if a.StatusCode != 200 || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "http") {
				t.Errorf("%d %s", a.StatusCode, policy)
			}
			if bytes.Contains(a.raw, []byte("//")) {
				t.Errorf("%s", a.raw)
			}
		}
		a := e.request(t, "GET /docs/page.js", "")
		if a.StatusCode != 200 || !bytes.Contains(a.raw, []byte("withDefaultFonts: false")) {
			t.Errorf("%d %s", a.StatusCode, a.raw)
		}
	})
	t.Run("has its script compressed or plain, as asked", func(t *testing.T) {
		t.Parallel()
		packed := e.request(t, "GET /docs/scalar.js", "", "Accept-Encoding: br, gzip;q=0.8")
		if packed.Header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%v", packed.Header)
		}
		z, err := gzip.NewReader(bytes.NewReader(packed.raw))
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		for _, accept := range []string{"identity", "gzip;q=0"} {
			plain := e.request(t, "GET /docs/scalar.js", "", "Accept-Encoding: "+accept)
			if plain.Header.Get("Content-Encoding") != "" || !bytes.Equal(plain.raw, want) {
				t.Errorf("%s: %v, %d bytes", accept, plain.Header, len(plain.raw))
			}
		}
	})
}
