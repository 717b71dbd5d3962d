package api_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// edge is a router behind a real server, with a small shop's operations registered.
type edge struct {
	*api.Router
	server *httptest.Server
	log    *logLines
}

var (
	tailor = api.Tenant{ID: uuid.MustParse("01920000-0000-7000-8000-000000000001"), Slug: "konveksi"}
	rival  = api.Tenant{ID: uuid.MustParse("01920000-0000-7000-8000-000000000002"), Slug: "saingan"}
	asep   = uuid.MustParse("01920000-0000-7000-8000-00000000000a")
)

const (
	centralToken = "central-token"
	tailorToken  = "tailor-token"
	supportToken = "support-token" // an operator's, in Asep's place
	rivalToken   = "rival-token"
)

var errDatabaseAway = errors.New("dial tcp 10.0.0.1:5432: connection refused")

func newEdge(t *testing.T, change ...func(*api.Config)) *edge {
	t.Helper()
	e := &edge{log: &logLines{}}
	config := api.Config{
		BaseDomain: "localhost:8080",
		Authenticate: func(_ context.Context, bearer string) (api.Principal, error) {
			switch bearer {
			case centralToken:
				return api.Principal{UserID: asep}, nil
			case supportToken:
				return api.Principal{UserID: asep, SessionID: uuid.New(), ActorID: uuid.New(), ActorSessionID: uuid.New()}, nil
			case tailorToken:
				return api.Principal{UserID: asep, TenantID: tailor.ID, TenantSlug: tailor.Slug}, nil
			case rivalToken:
				return api.Principal{UserID: asep, TenantID: rival.ID, TenantSlug: rival.Slug}, nil
			case "expired":
				return api.Principal{}, fault.New(fault.Unauthenticated, "auth.token_expired", "Sesi berakhir.", "The session has expired.")
			}
			return api.Principal{}, fault.Unauthorized
		},
		Tenants: shopTenants{},
		PlatformPermits: func(_ context.Context, _ api.Principal, permission string) error {
			if permission == "plans.read" {
				return nil
			}
			return fault.AccessDenied
		},
		TenantPermits: func(ctx context.Context, _ api.Principal, permission string) error {
			if ctx.Value(scope{}) == nil {
				return errors.New("asked before the tenant was entered")
			}
			if permission == "" || permission == "orders.read" {
				return nil
			}
			return fault.AccessDenied
		},
		Unavailable: func(err error) bool { return errors.Is(err, errDatabaseAway) },
		CORSOrigins: []string{"https://app.example.id", "http://*.localhost:8080"},
		Logger:      slog.New(slog.NewJSONHandler(e.log, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	e.Router = api.New(config)
	register(e.Router)
	e.server = httptest.NewServer(e.Router)
	t.Cleanup(e.server.Close)
	return e
}

type scope struct{}

type shopTenants struct{}

func (shopTenants) Resolve(_ context.Context, host string) (api.Tenant, error) {
	switch host {
	case "konveksi.localhost", "jahit.example.id":
		return tailor, nil
	case "saingan.localhost":
		return rival, nil
	case "tidur.localhost":
		return api.Tenant{ID: uuid.New(), Slug: "tidur"}, nil
	case "rusak.localhost":
		return api.Tenant{}, errDatabaseAway
	}
	return api.Tenant{}, api.TenantUnknown
}

func (shopTenants) Enter(ctx context.Context, t api.Tenant) (context.Context, error) {
	if t.Slug == "tidur" {
		return nil, fault.New(fault.Unavailable, "tenant.maintenance", "Sedang dirawat.", "Under maintenance.").WithRetryAfter(90*time.Second + 1)
	}
	return context.WithValue(ctx, scope{}, t.Slug), nil
}

type line struct {
	SKU      string `json:"sku" minLength:"1" maxLength:"20"`
	Quantity int64  `json:"quantity" minimum:"1"`
}

type draft struct {
	Name     string         `json:"name" minLength:"3" maxLength:"20"`
	Email    string         `json:"email" format:"email"`
	Kind     string         `json:"kind,omitempty" enum:"satu,dua"`
	Code     string         `json:"code,omitempty" pattern:"^[A-Z]+$"`
	Due      string         `json:"due,omitempty" format:"date"`
	Supplier *uuid.UUID     `json:"supplier,omitempty"`
	Lines    []line         `json:"lines,omitempty" maxItems:"3"`
	Tags     []string       `json:"tags,omitempty" uniqueItems:"true"`
	Active   *bool          `json:"active,omitempty"`
	Extra    map[string]any `json:"extra,omitempty"`
}

type draftInput struct {
	api.Idempotency
	Body draft
}

type order struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type listInput struct {
	api.ListQuery
	Kind string `query:"filter[kind]" enum:"satu,dua"`
}

type showInput struct {
	Order uuid.UUID `path:"order"`
}

func hello(context.Context, *struct{}) (*api.Data[order], error) {
	return api.OK(order{ID: "1", Name: "halo"}), nil
}

// whoAmI tells what the handler can learn of its request.
func whoAmI(ctx context.Context, _ *struct{}) (*api.Data[map[string]string], error) {
	p, _ := api.PrincipalFrom(ctx)
	t, _ := api.HostTenant(ctx)
	s, _ := ctx.Value(scope{}).(string)
	c := api.ClientFrom(ctx)
	return api.OK(map[string]string{"user": p.UserID.String(), "tenant": t.Slug, "scope": s, "request_id": api.RequestID(ctx),
		"ip": c.IP.String(), "agent": c.UserAgent}), nil
}

func register(r *api.Router) {
	create := func(_ context.Context, in *draftInput) (*api.Data[order], error) {
		return api.Created(order{ID: "2", Name: in.Body.Name}), nil
	}
	api.Get(r, "/hello", hello, "central.hello", api.Public, api.Both)
	api.Get(r, "/core-only", hello, "central.core-only", api.Public)
	api.Get(r, "/me", whoAmI, "central.me", api.User, api.Both)
	api.Get(r, "/plans", whoAmI, "central.plans.list", api.Can("plans.read"))
	api.Get(r, "/audits", whoAmI, "central.audits.list", api.Can("audits.read"))
	api.Get(r, "/activities", whoAmI, "central.activities.tenant", api.MemberCan("orders.read"), api.Both)
	api.Post(r, "/drafts", create, "central.drafts.create", api.Public, api.Status(http.StatusCreated, http.StatusOK))
	api.Post(r, "/small", create, "central.small", api.Public, api.MaxBody(100))
	api.Put(r, "/drafts", create, "central.drafts.update", api.User)
	api.Get(r, "/lists", func(_ context.Context, in *listInput) (*api.Page[order], error) {
		return api.List[order](nil, in.Cursor, in.Limit), nil
	}, "central.lists", api.Public)
	api.Get(r, "/orders/{order}", func(_ context.Context, in *showInput) (*api.Data[order], error) {
		return api.OK(order{ID: in.Order.String()}), nil
	}, "tenant.orders.show", api.Can("orders.read"))
	api.Get(r, "/members", whoAmI, "tenant.members", api.Member)
	api.Get(r, "/roles", whoAmI, "tenant.roles", api.Can("roles.read"))
	api.Get(r, "/integrations/health", whoAmI, "tenant.integrations.health", api.Public)
	api.Root(r, "/.well-known/jwks.json", func(context.Context, *struct{}) (*struct{ Body map[string]any }, error) {
		return &struct{ Body map[string]any }{map[string]any{"keys": []string{}}}, nil
	}, "central.jwks", api.Public)
	api.Post(r, "/logout", func(context.Context, *struct{}) (*api.Data[struct{}], error) { return api.Done(), nil }, "central.logout", api.Public)
	api.Get(r, "/cookie", func(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
		api.Header(ctx).Set("X-Extra", "1")
		return api.Done(), nil
	}, "central.cookie", api.Public)
	registerFailing(r)
}

// registerFailing adds one operation for every way to fail.
func registerFailing(r *api.Router) {
	for name, err := range map[string]error{
		"fault":  fault.New(fault.PaymentRequired, "billing.limit_reached", "Batas tercapai.", "Limit reached.").WithData(map[string]string{"upgrade": "pro"}),
		"fields": fault.ValidationFailed.WithField("code", "Sudah dipakai.", "Is in use."),
		"bug":    errors.New("pq: password of user rahasia is hunter2"),
		"inner":  fault.New(fault.Internal, "keys.broken", "Kunci rusak.", "Keys are broken.").WithData("hunter2").WithCause(errors.New("hunter2")),
		"away":   errors.Join(errors.New("list orders"), errDatabaseAway),
		"slow":   fault.TooManyRequests.WithRetryAfter(1500 * time.Millisecond),
	} {
		api.Get(r, "/fail/"+name, func(context.Context, *struct{}) (*api.Data[order], error) { return nil, err }, "central.fail."+name, api.Public)
	}
	api.Get(r, "/fail/panic", func(context.Context, *struct{}) (*api.Data[order], error) { panic("hunter2") }, "central.fail.panic", api.Public)
	api.Get(r, "/fail/nothing", func(context.Context, *struct{}) (*api.Data[order], error) { return nil, nil }, "central.fail.nothing", api.Public)
	api.Get(r, "/fail/encode", func(context.Context, *struct{}) (*api.Data[map[string]any], error) {
		return api.OK(map[string]any{"f": func() {}}), nil
	}, "central.fail.encode", api.Public)
}
