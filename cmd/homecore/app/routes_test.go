package app_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/modules/tenant/members"
	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
)

// contract is what clients call today: number, method, path and the surfaces it is served on.
var contract = map[string]struct {
	route string
	rule  string
	both  bool
}{
	"central.auth.register":                 {"POST /auth/register", "public", true},
	"central.auth.login":                    {"POST /auth/login", "public", true},
	"central.auth.refresh":                  {"POST /auth/refresh", "public", true},
	"central.auth.email.verify":             {"GET /auth/email/verify", "public", true},
	"central.auth.email.resend":             {"POST /auth/email/resend", "public", true},
	"central.auth.password.forgot":          {"POST /auth/password/forgot", "public", true},
	"central.auth.password.reset":           {"POST /auth/password/reset", "public", true},
	"central.auth.password":                 {"PUT /auth/password", "user", true},
	"central.auth.password.confirm":         {"POST /auth/password/confirm", "user", true},
	"central.auth.me.update":                {"PUT /auth/me", "user", true},
	"central.auth.invitations.accept":       {"POST /auth/invitations/accept", "public", false},
	"central.auth.select-tenant":            {"POST /auth/select-tenant", "user", true},
	"central.auth.onboarding":               {"POST /auth/onboarding", "user", false},
	"central.auth.two-factor.challenge":     {"POST /auth/two-factor/challenge", "public", true},
	"central.auth.logout":                   {"POST /auth/logout", "user", true},
	"central.auth.logout-all":               {"POST /auth/logout-all", "user", true},
	"central.auth.me":                       {"GET /auth/me", "user", true},
	"central.master-data.taxonomies.list":   {"GET /master-data/taxonomies", "can:masterdata.read", false},
	"central.master-data.taxonomies.create": {"POST /master-data/taxonomies", "can:masterdata.write", false},
	"central.master-data.taxonomies.show":   {"GET /master-data/taxonomies/{taxonomy}", "can:masterdata.read", false},
	"central.master-data.taxonomies.update": {"PUT /master-data/taxonomies/{taxonomy}", "can:masterdata.write", false},
	"central.master-data.taxonomies.delete": {"DELETE /master-data/taxonomies/{taxonomy}", "can:masterdata.write", false},
	"tenant.master-data.taxonomies.list":    {"GET /master-data/taxonomies", "can:taxonomies.read", false},
	"tenant.master-data.taxonomies.create":  {"POST /master-data/taxonomies", "can:taxonomies.write", false},
	"tenant.master-data.taxonomies.show":    {"GET /master-data/taxonomies/{taxonomy}", "can:taxonomies.read", false},
	"tenant.master-data.taxonomies.update":  {"PUT /master-data/taxonomies/{taxonomy}", "can:taxonomies.write", false},
	"tenant.master-data.taxonomies.delete":  {"DELETE /master-data/taxonomies/{taxonomy}", "can:taxonomies.write", false},
	"central.auth.onboarding.show":          {"GET /auth/onboarding/{onboarding}", "user", false},
	"central.tenants.export":                {"POST /tenants/{tenant}/export", "can:tenants.write", false},
	"central.tenants.restore":               {"POST /tenants/{tenant}/restore", "can:tenants.write", false},
	"central.tenants.restore.accept":        {"POST /tenants/{tenant}/restore/accept", "can:tenants.write", false},
	"central.tenants.restore.undo":          {"POST /tenants/{tenant}/restore/undo", "can:tenants.write", false},
	"central.tenants.move":                  {"POST /tenants/{tenant}/move", "can:tenants.write", false},
	"central.operations.list":               {"GET /operations", "can:tenants.read", false},
	"central.operations.show":               {"GET /operations/{operation}", "can:tenants.read", false},
	"central.auth.onboarding.availability":  {"GET /auth/onboarding/availability", "user", false},
	"central.tenants.list":                  {"GET /tenants", "can:tenants.read", false},
	"central.tenants.show":                  {"GET /tenants/{tenant}", "can:tenants.read", false},
	"central.tenants.events":                {"GET /tenants/{tenant}/events", "can:tenants.read", false},
	"central.tenants.update":                {"PUT /tenants/{tenant}", "can:tenants.write", false},
	"central.tenants.delete":                {"DELETE /tenants/{tenant}", "can:tenants.write", false},
	"central.tenants.suspend":               {"POST /tenants/{tenant}/suspend", "can:tenants.write", false},
	"central.tenants.resume":                {"POST /tenants/{tenant}/resume", "can:tenants.write", false},
	"central.tenants.maintenance":           {"POST /tenants/{tenant}/maintenance", "can:tenants.write", false},
	"central.tenants.read-only":             {"POST /tenants/{tenant}/read-only", "can:tenants.write", false},
	"central.tenants.archive":               {"POST /tenants/{tenant}/archive", "can:tenants.write", false},
	"central.tenants.unarchive":             {"POST /tenants/{tenant}/unarchive", "can:tenants.write", false},
	"central.tenants.undrop":                {"POST /tenants/{tenant}/undrop", "can:tenants.write", false},
}

func routes(t *testing.T) *api.Router {
	t.Helper()
	c, err := app.Load([]string{
		"HOMECORE_DATABASE_URL=postgres://nobody@127.0.0.1:1/none", "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(),
		"HOMECORE_BASE_DOMAIN=localhost:8080", "HOMECORE_SCHEME=http",
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := app.Routes(c, app.Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOperations(t *testing.T) {
	t.Parallel()
	surfaces := map[string][]api.Surface{}
	for _, o := range routes(t).Operations() {
		surfaces[o.Name] = append(surfaces[o.Name], o.Surface)
		switch {
		case o.Rule.String() == "":
			t.Errorf("%s has no rule", o.Name)
		case !strings.HasPrefix(o.Name, "tenant."):
		case o.Rule == api.Public:
			t.Errorf("%s is public", o.Name)
		case o.Surface != api.TenantAPI:
			t.Errorf("%s is served on the %s surface", o.Name, o.Surface)
		case o.Rule.Permission() != "" && !slices.Contains(members.Permissions, o.Rule.Permission()):
			t.Errorf("%s asks for %s, which no role can hold", o.Name, o.Rule.Permission())
		}
		want, ok := contract[o.Name]
		if got := o.Method + " " + strings.TrimPrefix(o.Path, "/api/v1"); ok && (got != want.route || o.Rule.String() != want.rule) {
			t.Errorf("%s is %s for %s, want %s for %s", o.Name, got, o.Rule, want.route, want.rule)
		}
	}
	for name, want := range contract {
		on := []api.Surface{api.CoreAPI}
		switch {
		case want.both:
			on = append(on, api.TenantAPI)
		case strings.HasPrefix(name, "tenant."):
			on[0] = api.TenantAPI
		}
		got := slices.Sorted(slices.Values(surfaces[name]))
		if !slices.Equal(got, on) {
			t.Errorf("%s is served on %v, want %v", name, got, on)
		}
	}
}

func TestDocumentsAreValid(t *testing.T) {
	t.Parallel()
	r := routes(t)
	for _, surface := range []api.Surface{api.CoreAPI, api.TenantAPI} {
		text, err := r.Document(surface)
		if err != nil {
			t.Fatal(err)
		}
		document, err := libopenapi.NewDocument(text)
		if err != nil {
			t.Fatalf("%s: %v", surface, err)
		}
		if v := document.GetVersion(); !strings.HasPrefix(v, "3.1.") {
			t.Errorf("%s is OpenAPI %s", surface, v)
		}
		v, errs := validator.NewValidator(document)
		if len(errs) > 0 {
			t.Fatalf("%s: %v", surface, errs)
		}
		if ok, wrong := v.ValidateDocument(); !ok {
			for _, w := range wrong {
				t.Errorf("%s: %s: %s", surface, w.Message, w.Reason)
				for _, s := range w.SchemaValidationErrors {
					t.Errorf("  %s: %s", s.FieldPath, s.Reason)
				}
			}
		}
	}
}
