package apptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
)

// BaseHost is the host of the Core API.
const BaseHost = "localhost:8080"

// Caller makes requests to one host, mostly as somebody.
type Caller struct {
	app   *App
	Host  string
	Token string // access token; empty: nobody
}

// On returns a caller without a token on the host of a tenant, or on the base domain where slug is empty.
func (a *App) On(slug string) Caller {
	if slug == "" {
		return Caller{app: a, Host: BaseHost}
	}
	return Caller{app: a, Host: slug + "." + BaseHost}
}

// As returns the caller with another token.
func (c Caller) As(token string) Caller {
	c.Token = token
	return c
}

// Response is an answer, read and held against the OpenAPI document.
type Response struct {
	Status    int
	Header    http.Header
	Raw       []byte
	Success   bool                `json:"success"`
	Code      string              `json:"code"`
	Message   string              `json:"message"`
	RequestID string              `json:"request_id"`
	Data      json.RawMessage     `json:"data"`
	Errors    map[string][]string `json:"errors"`
	Meta      struct {
		NextCursor *string `json:"next_cursor"`
		Limit      int     `json:"limit"`
	} `json:"meta"`
}

// Get asks for path, which is relative to /api/v1 unless it begins with //, the host's root.
func (c Caller) Get(t testing.TB, path string, header ...string) *Response {
	t.Helper()
	return c.Do(t, http.MethodGet, path, nil, header...)
}

// Post sends body, a string as it is and anything else as JSON. Header is names and values in turn.
func (c Caller) Post(t testing.TB, path string, body any, header ...string) *Response {
	t.Helper()
	return c.Do(t, http.MethodPost, path, body, header...)
}

// Put is like Post.
func (c Caller) Put(t testing.TB, path string, body any, header ...string) *Response {
	t.Helper()
	return c.Do(t, http.MethodPut, path, body, header...)
}

// Delete deletes.
func (c Caller) Delete(t testing.TB, path string, header ...string) *Response {
	t.Helper()
	return c.Do(t, http.MethodDelete, path, nil, header...)
}

// Do makes a request and holds the answer against the OpenAPI document. It may be called from any goroutine.
func (c Caller) Do(t testing.TB, method, path string, body any, header ...string) *Response {
	t.Helper()
	target := "/api/v1" + path
	if rooted, ok := strings.CutPrefix(path, "//"); ok {
		target = "/" + rooted
	}
	var content []byte
	switch b := body.(type) {
	case nil:
	case string:
		content = []byte(b)
	default:
		var err error
		if content, err = json.Marshal(b); err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return &Response{}
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.app.URL+target, bytes.NewReader(content))
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return &Response{}
	}
	req.Host = c.Host
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return &Response{}
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	r := &Response{Status: answer.StatusCode, Header: answer.Header}
	if r.Raw, err = io.ReadAll(answer.Body); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") && json.Valid(r.Raw) && method != http.MethodHead {
		if err := json.Unmarshal(r.Raw, r); err != nil && strings.HasPrefix(target, "/api/") {
			t.Errorf("%s %s: not in the envelope: %v\n%s", method, path, err, r.Raw)
		}
		answer.Body = io.NopCloser(bytes.NewReader(r.Raw))
		c.app.holdAgainstDocument(t, c.Host, req, answer, r.Raw)
	}
	return r
}

// Want fails the test unless the answer has this status and, where given, this code.
func (r *Response) Want(t testing.TB, status int, code ...string) *Response {
	t.Helper()
	if r.Status != status || (len(code) > 0 && r.Code != code[0]) {
		t.Fatalf("answer %d %s, want %d %s\n%s", r.Status, r.Code, status, strings.Join(code, ""), r.Raw)
	}
	return r
}

// WantField fails the test unless the answer is 422 and says something is wrong with the field.
func (r *Response) WantField(t testing.TB, field string) *Response {
	t.Helper()
	r.Want(t, http.StatusUnprocessableEntity, "validation.failed")
	if len(r.Errors[field]) == 0 {
		t.Fatalf("errors for %v, want one for %s", maps.Keys(r.Errors), field)
	}
	return r
}

// Into reads data.
func (r *Response) Into(t testing.TB, to any) {
	t.Helper()
	if err := json.Unmarshal(r.Data, to); err != nil {
		t.Fatalf("read data: %v\n%s", err, r.Raw)
	}
}

// Object returns data as an object.
func (r *Response) Object(t testing.TB) map[string]any {
	t.Helper()
	var out map[string]any
	r.Into(t, &out)
	return out
}

// List returns data as a list of objects.
func (r *Response) List(t testing.TB) []map[string]any {
	t.Helper()
	var out []map[string]any
	r.Into(t, &out)
	return out
}

// Session is what signing in gives.
type Session struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// Person has an account and is signed in on the base domain.
type Person struct {
	Caller
	Session
	ID       uuid.UUID
	Email    string
	Password string
}

var people atomic.Int64

// SignUp makes somebody with a verified address and signs them in.
func (a *App) SignUp(t testing.TB) *Person {
	t.Helper()
	p := &Person{Email: fmt.Sprintf("orang%d@example.com", people.Add(1)), Password: "kata sandi yang panjang"}
	var err error
	if p.ID, err = a.Identity.CreateVerified(t.Context(), "Orang Contoh", p.Email, p.Password, "id"); err != nil {
		t.Fatal(err)
	}
	p.Caller = a.On("")
	p.SignIn(t)
	return p
}

// Operator makes somebody who holds this role on the platform.
func (a *App) Operator(t testing.TB, role string) *Person {
	t.Helper()
	p := a.SignUp(t)
	if err := a.Identity.GrantRole(t.Context(), p.Email, role, "test"); err != nil {
		t.Fatal(err)
	}
	return p
}

// SignIn signs in once more, with a session of its own.
func (p *Person) SignIn(t testing.TB) {
	t.Helper()
	p.As("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password}).Want(t, http.StatusOK).Into(t, &p.Session)
	p.Token = p.AccessToken
}

// Member is somebody with a token of a tenant, on its host.
type Member struct {
	Caller
	Session
	Person   *Person
	TenantID uuid.UUID
	Slug     string
}

// Onboard makes a workspace of that slug and goes there as its owner.
func (p *Person) Onboard(t testing.TB, slug string) *Member {
	t.Helper()
	p.Post(t, "/auth/onboarding", map[string]any{"name": "Konveksi " + slug, "slug": slug}, "Idempotency-Key", uuid.NewString()).
		Want(t, http.StatusAccepted)
	return p.Select(t, slug)
}

// Select goes to a tenant.
func (p *Person) Select(t testing.TB, slug string) *Member {
	t.Helper()
	m := &Member{Person: p, Slug: slug}
	var answer struct {
		Session
		Tenant struct {
			ID uuid.UUID `json:"id"`
		} `json:"tenant"`
	}
	p.Post(t, "/auth/select-tenant", map[string]any{"tenant": slug}).Want(t, http.StatusOK).Into(t, &answer)
	m.Session, m.TenantID = answer.Session, answer.Tenant.ID
	m.Caller = p.app.On(slug).As(m.AccessToken)
	return m
}
