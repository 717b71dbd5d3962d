package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

// answer is what a test looks at.
type answer struct {
	*http.Response
	raw  []byte
	body struct {
		Success    bool                `json:"success"`
		Code       string              `json:"code"`
		Message    string              `json:"message"`
		RequestID  string              `json:"request_id"`
		Timestamp  string              `json:"timestamp"`
		APIVersion string              `json:"api_version"`
		Errors     map[string][]string `json:"errors"`
		Data       json.RawMessage     `json:"data"`
		Meta       map[string]any      `json:"meta"`
	}
}

// request sends one request. The method and URL are written together, "GET konveksi.localhost/api/v1/me"; headers as "Name: value".
func (e *edge) request(t *testing.T, what, body string, headers ...string) *answer {
	t.Helper()
	method, target, _ := strings.Cut(what, " ")
	host, path, _ := strings.Cut(target, "/")
	if host == "" {
		host = "localhost:8080"
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, e.server.URL+"/"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Del(name)
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) *answer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{Response: resp}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "application/json" && len(a.raw) > 0 {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			t.Fatalf("%s: %v", a.raw, err)
		}
	}
	return a
}

// want fails the test unless the answer has the status and the code, in a well-formed envelope.
func (a *answer) want(t *testing.T, status int, code string) *answer {
	t.Helper()
	if a.StatusCode != status || a.body.Code != code {
		t.Fatalf("%s %s answered %d %q, want %d %q\n%s", a.Request.Method, a.Request.URL, a.StatusCode, a.body.Code, status, code, a.raw)
	}
	if a.body.Success != (status < 400) || a.body.APIVersion != "v1" || a.body.Message == "" {
		t.Errorf("not an envelope: %s", a.raw)
	}
	if a.body.RequestID == "" || a.body.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("request_id %q differs from X-Request-Id %q", a.body.RequestID, a.Header.Get("X-Request-Id"))
	}
	if at, err := time.Parse(time.RFC3339, a.body.Timestamp); err != nil || at.Location() != time.UTC {
		t.Errorf("timestamp %q is not RFC 3339 in UTC", a.body.Timestamp)
	}
	return a
}

func (a *answer) field(name string) string {
	var m map[string]string
	_ = json.Unmarshal(a.body.Data, &m)
	return m[name]
}

// logLines is a log that can be read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// of returns the lines about a request.
func (l *logLines) of(requestID string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for s := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(s), &m) == nil && m["request_id"] == requestID {
			m["line"] = s
			found = append(found, m)
		}
	}
	return found
}

// wait returns the lines about a request once its access line is there: it is written after the answer has been sent.
func (l *logLines) wait(t *testing.T, requestID string) []map[string]any {
	t.Helper()
	for t.Context().Err() == nil {
		lines := l.of(requestID)
		for _, m := range lines {
			if m["msg"] == "request" {
				return lines
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("no access line for %s", requestID)
	return nil
}
