package identity_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/api"
)

// authRoute is an operation under /auth, with what the document says of its input.
type authRoute struct {
	api.OperationInfo
	fields []string // of the body
	query  []string
}

// path is the route's with its parameters filled in, relative to /api/v1.
func (r authRoute) path(fill func() string) string {
	var b strings.Builder
	for i, part := range strings.Split(strings.TrimPrefix(r.Path, "/api/v1"), "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		if strings.HasPrefix(part, "{") {
			part = url.PathEscape(fill())
		}
		b.WriteString(part)
	}
	return b.String()
}

func (r authRoute) takesBody() bool { return len(r.fields) > 0 }

func authRoutes(t *testing.T, a *apptest.App) (routes []authRoute) {
	t.Helper()
	text, err := a.Router.Document(api.CoreAPI)
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Ref        string                     `json:"$ref"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct{ Name, In string }
			RequestBody struct {
				Content map[string]struct{ Schema schema }
			}
		}
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, o := range a.Router.Operations() {
		if o.Surface != api.CoreAPI || !strings.HasPrefix(o.Name, "central.auth.") {
			continue
		}
		r, described := authRoute{OperationInfo: o}, document.Paths[o.Path][strings.ToLower(o.Method)]
		for _, p := range described.Parameters {
			if p.In == "query" {
				r.query = append(r.query, p.Name)
			}
		}
		body := described.RequestBody.Content["application/json"].Schema
		if name, ok := strings.CutPrefix(body.Ref, "#/components/schemas/"); ok {
			body = document.Components.Schemas[name]
		}
		for name := range body.Properties {
			r.fields = append(r.fields, name)
		}
		slices.Sort(r.fields)
		routes = append(routes, r)
	}
	if len(routes) < 20 {
		t.Fatalf("only %d operations under /auth", len(routes))
	}
	return routes
}

// 34: what every answer carries, and what no request may do.
func TestAuth34_TheEdge(t *testing.T) {
	t.Parallel()
	const frontend = "https://app.example.com"
	a := apptest.New(t, apptest.With(func(c *app.Config) { c.CORSOrigins = []string{frontend, "https://*.tenants.example.com"} }))
	routes := authRoutes(t, a)
	some := func() string { return uuid.NewString() }

	t.Run("every answer forbids storing, sniffing, framing and telling where one came from", func(t *testing.T) {
		t.Parallel()
		for _, r := range routes {
			answer := a.On("").Do(t, r.Method, r.path(some), nil)
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			} {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s: %s is %q", r.Name, name, got)
				}
			}
		}
	})
	t.Run("401 says how to sign in, and that a token was no good", func(t *testing.T) {
		t.Parallel()
		asked := 0
		for _, r := range routes {
			if r.Rule == api.Public {
				continue
			}
			asked++
			if got := a.On("").Do(t, r.Method, r.path(some), nil).Want(t, 401).Header.Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("%s: %q", r.Name, got)
			}
			if got := a.On("").As("x.y.z").Do(t, r.Method, r.path(some), nil).Want(t, 401).Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
				t.Errorf("%s: %q", r.Name, got)
			}
		}
		if asked < 10 {
			t.Errorf("only %d operations ask for a token", asked)
		}
		if got := login(t, a, "hantu@example.com", password).Want(t, 401).Header.Get("WWW-Authenticate"); got == "" {
			t.Error("a refused sign-in does not say how to")
		}
	})
	t.Run("pages of the configured origins may call, and no others", func(t *testing.T) {
		t.Parallel()
		for origin, allowed := range map[string]bool{
			frontend: true, "https://satu.tenants.example.com": true, "https://app.example.com.evil.example": false, "http://app.example.com": false,
			"https://a.b.tenants.example.com": false, "https://tenants.example.com": false, "null": false,
		} {
			for _, r := range []*apptest.Response{
				a.On("").Do(t, http.MethodOptions, "/auth/login", nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"),
				a.On("").Get(t, "/auth/me", "Origin", origin),
			} {
				if got := r.Header.Get("Access-Control-Allow-Origin"); (got == origin) != allowed || got != "" && !allowed {
					t.Errorf("%s: %q", origin, got)
				}
				if got := r.Header.Get("Access-Control-Allow-Credentials"); got != "" {
					t.Errorf("%s: credentials %q", origin, got)
				}
			}
		}
	})
	t.Run("a body has a size, a depth and a type", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		owner := p.Onboard(t, "rapi-jahit")
		deep := `{"email":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`
		for _, r := range routes {
			if !r.takesBody() {
				continue
			}
			ask := func(body string, header ...string) *apptest.Response {
				caller := p.Caller
				if strings.HasPrefix(r.Rule.String(), "member") { // for whom the rule is asked before the body
					caller = owner.Caller
				}
				return caller.Do(t, r.Method, r.path(some), body, header...)
			}
			ask(`{"email":"`+strings.Repeat("x", 1<<20)+`"}`).Want(t, 413, "request.too_large")
			ask(deep).Want(t, 400, "request.malformed")
			ask(`{"email":"a@example.com","email":"b@example.com"}`).Want(t, 400, "request.malformed")
			ask(`{"siapa":1}`).Want(t, 422, "validation.failed")
			ask(`email=a`, "Content-Type", "application/x-www-form-urlencoded").Want(t, 415, "request.unsupported_media_type")
		}
	})
}

// fuzzed is how many bodies the ordinary run sends; HOMECORE_FUZZ_BODIES=100000 sends the contract's number.
const fuzzed = 3000

// 34: whatever is sent to the auth routes, none of them breaks.
func TestAuth34_FuzzedBodiesGiveNo5xx(t *testing.T) {
	t.Parallel()
	total := fuzzed
	if text := os.Getenv("HOMECORE_FUZZ_BODIES"); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	a := apptest.New(t)
	routes := authRoutes(t, a)
	var next, refused, passed atomic.Int64
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			f := &fuzzer{rand.New(rand.NewPCG(seed, uint64(worker)))} //nolint:gosec // a seed that can be given again
			p := a.SignUp(t)
			for {
				i := int(next.Add(1)) - 1
				if i >= total || t.Failed() {
					return
				}
				r := routes[i%len(routes)]
				path, body := r.path(f.text), f.body(r.fields, p.Email)
				if len(r.query) > 0 && f.IntN(2) == 0 {
					path += "?" + url.Values{r.query[f.IntN(len(r.query))]: {f.text()}, "lang": {"en"}}.Encode()
				}
				caller := p.Caller
				if f.IntN(4) == 0 {
					caller = p.As(f.header())
				}
				if !r.takesBody() && r.Method == http.MethodGet {
					body = ""
				}
				media := "application/json"
				if f.IntN(20) == 0 {
					media = f.header()
				}
				answer := caller.Do(t, r.Method, path, body, "Content-Type", media, "X-Request-Id", f.header(), "Idempotency-Key", f.header())
				switch {
				case answer.Status >= 500 || answer.Status == 0:
					t.Errorf("%s %s answers %d\n%q\n%s", r.Method, path, answer.Status, body, answer.Raw)
				case answer.Status >= 400:
					refused.Add(1)
				default:
					passed.Add(1)
				}
				if answer.Code == "auth.unauthenticated" && caller.Token == p.Token { // it has signed itself out
					p = a.SignUp(t)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d refused, %d passed", refused.Load(), passed.Load())
	if passed.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d passed, %d refused: the bodies are too much alike", passed.Load(), refused.Load())
	}
}

// fuzzer makes bodies: well-formed ones of the right fields with wrong values, and such that are no JSON.
type fuzzer struct{ *rand.Rand }

func (f *fuzzer) pick(of ...string) string { return of[f.IntN(len(of))] }

func (f *fuzzer) text() string {
	switch f.IntN(12) {
	case 0:
		return strings.Repeat(f.pick("x", "é", "日", "\u202e", " ", "'", "%00", "{{", "\\"), f.IntN(600))
	case 1:
		return f.pick("id", "en", "", "totp", "rapi-jahit", "null", "true", "0")
	case 2:
		return f.pick("siti@example.com", "@", "a@b", "a@[::1]", "a@b@c.id", "ａ@ｂ.id", "a\u0000@b.id", strings.Repeat("a", 65)+"@b.id", "a@"+strings.Repeat("b.", 130)+"id")
	case 3:
		return uuid.NewString()
	case 4:
		return f.pick("eyJhbGciOiJub25lIn0.e30.", "AQ", strings.Repeat("A", 66), "AR"+strings.Repeat("A", 64), "....", "\r\n")
	case 5:
		return f.pick("'; drop table users; --", "${jndi:ldap://x}", "../../etc/passwd", "<script>", "$1", "%s%n", "\ufeff", "\ud7ff", "\U0010ffff", "a\u0301")
	case 6:
		return strconv.FormatInt(f.Int64(), 10)
	case 7:
		raw := make([]byte, f.IntN(40))
		for i := range raw {
			raw[i] = byte(f.Uint32())
		}
		return strings.ToValidUTF8(string(raw), "\ufffd")
	default:
		return f.pick("kata sandi yang panjang", "123456", "https://app.example.com/", "Siti Aminah", "2026-01-01T00:00:00Z", "ID", "IDR", "Asia/Jakarta")
	}
}

// header is text that net/http lets into a header.
func (f *fuzzer) header() string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, f.text())
}

func (f *fuzzer) value(depth int) any {
	switch f.IntN(10) {
	case 0:
		return f.pick("1e999", "-0", "1e308", "9223372036854775808", "0.1") // written as a number by body
	case 1:
		return nil
	case 2:
		return f.IntN(2) == 0
	case 3:
		return f.Float64() * 1e20
	case 4:
		if depth > 4 {
			return []any{}
		}
		list := make([]any, f.IntN(4))
		for i := range list {
			list[i] = f.value(depth + 1)
		}
		return list
	case 5:
		if depth > 4 {
			return map[string]any{}
		}
		object := map[string]any{}
		for range f.IntN(4) {
			object[f.text()] = f.value(depth + 1)
		}
		return object
	default:
		return f.text()
	}
}

func (f *fuzzer) body(fields []string, email string) string {
	object := map[string]any{}
	for _, name := range fields {
		switch f.IntN(8) {
		case 0: // left out
		case 1, 2:
			object[name] = f.value(0)
		default:
			object[name] = f.text()
			if name == "email" && f.IntN(3) == 0 {
				object[name] = email
			}
		}
	}
	if f.IntN(6) == 0 {
		object[f.text()] = f.value(0)
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return "{}"
	}
	text := string(raw)
	switch f.IntN(12) {
	case 0: // cut off
		return text[:f.IntN(len(text)+1)]
	case 1: // a byte changed
		i := f.IntN(len(raw))
		raw[i] = byte(f.Uint32())
		return string(raw)
	case 2: // numbers that Go has no room for
		return strings.NewReplacer(`"1e999"`, "1e999", `"9223372036854775808"`, "9223372036854775808", `"-0"`, "-0", `"1e308"`, "1e308").Replace(text)
	case 3:
		n := f.IntN(80)
		return fmt.Sprintf(`{"email":%s%s}`, strings.Repeat("[", n), strings.Repeat("]", n))
	case 4:
		return text + f.pick(text, ",", "\x00", " ", "\xff", "]")
	case 5:
		return strings.NewReplacer(":", f.pick(":", "::", ""), `\u`, `\ud800\u`).Replace(text)
	default:
		return text
	}
}
