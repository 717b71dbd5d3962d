package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

const defaultMaxBody = 1 << 20

// Option says something more about an operation.
type Option func(*operation)

// Both also serves a central operation on tenants' hosts: a tenant's own login page calls it there.
func Both(o *operation) { o.both = true }

// Status sets what the operation answers when its handler does not say; others that it may answer follow.
func Status(status int, others ...int) Option {
	return func(o *operation) { o.status, o.otherStatuses = status, others }
}

// Summary names the operation in the documentation. Default: the last words of its name.
func Summary(text string) Option { return func(o *operation) { o.summary = text } }

// Description explains the operation in the documentation, in Markdown.
func Description(text string) Option { return func(o *operation) { o.description = text } }

// AnyQuery takes parameters that the operation does not declare, and ignores them: somebody else writes its addresses.
func AnyQuery(o *operation) { o.anyQuery = true }

// MaxBody limits the request's body, in bytes. Default 1 MiB.
func MaxBody(bytes int64) Option { return func(o *operation) { o.maxBody = bytes } }

// operation is one registered route on one surface.
type operation struct {
	OperationInfo
	router        *Router
	both          bool
	status        int
	otherStatuses []int
	summary       string
	description   string
	maxBody       int64
	hasBody       bool
	anyMedia      bool // a raw body of a type the handler judges itself
	query         []string
	anyQuery      bool     // others are ignored
	uuids         []string // parameters that are UUIDs
	headers       []string
	meter         meter
}

// declare checks a registration and returns the operation for each surface it stands on.
func (r *Router) declare(method, path, name string, who Rule, input reflect.Type, opts []Option) []*operation {
	if who.who == nobody {
		panic(fmt.Sprintf("api: %s has no access rule", name))
	}
	o := operation{
		OperationInfo: OperationInfo{Name: name, Method: method, Path: path, Rule: who},
		router:        r, status: http.StatusOK, maxBody: defaultMaxBody,
	}
	for _, opt := range opts {
		opt(&o)
	}
	o.readInput(input)

	var surfaces []Surface
	switch {
	case strings.HasPrefix(name, "central."):
		surfaces = []Surface{CoreAPI}
		if o.both {
			surfaces = append(surfaces, TenantAPI)
		}
	case !strings.HasPrefix(name, "tenant."):
		panic(fmt.Sprintf("api: the name %q begins with neither central. nor tenant.", name))
	case o.both:
		panic(fmt.Sprintf("api: %s cannot stand on the Core API", name))
	case who.who == user:
		panic(fmt.Sprintf("api: %s is a tenant's: use Member or Can", name))
	default:
		surfaces = []Surface{TenantAPI}
	}
	operations := make([]*operation, 0, 2)
	for _, s := range surfaces {
		if slices.ContainsFunc(r.operations, func(other OperationInfo) bool { return other.Name == name && other.Surface == s }) {
			panic(fmt.Sprintf("api: two operations are called %s", name))
		}
		c := o
		c.Surface = s
		c.meter = r.metrics.of(name, s)
		operations = append(operations, &c)
	}
	return operations
}

// readInput notes which parameters the input declares, embedded structs included, and whether it takes a body.
func (o *operation) readInput(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			o.readInput(f.Type)
			continue
		}
		if tag := f.Tag.Get("query"); tag != "" {
			name, _, _ := strings.Cut(tag, ",")
			o.query = append(o.query, name)
		}
		if f.Type == uuidType {
			o.uuids = append(o.uuids, f.Tag.Get("path"), f.Tag.Get("query"))
		}
		if name := f.Tag.Get("header"); name != "" {
			o.headers = append(o.headers, http.CanonicalHeaderKey(name))
		}
		switch f.Name {
		case "Body":
			o.hasBody = true
		case "RawBody":
			o.hasBody = true
			o.anyMedia = f.Tag.Get("contentType") != jsonMedia
		}
	}
}

// guard runs before the input is parsed: who may call comes first, so that strangers learn nothing from how their input is judged.
func (o *operation) guard(hc huma.Context, next func(huma.Context)) {
	ctx := hc.Context()
	x := exchangeFrom(ctx)
	x.operation = o
	admitted, err := o.admit(ctx, x)
	if err == nil {
		err = o.inspect(x, hc)
	}
	if err != nil {
		x.fail(ctx, err)
		return
	}
	if admitted != ctx {
		hc = huma.WithContext(hc, admitted)
	}
	next(hc)
}

var errNoOutput = errors.New("the handler returned neither an output nor an error")

// handle runs h between the edge's last checks of the input and the stamp on its output.
func handle[I, O any](o *operation, h func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		x := exchangeFrom(ctx)
		if o.hasBody {
			// The deadline was for the body. Left in place it would end the context of a handler that takes longer.
			_ = huma.SetReadDeadline(x, time.Time{})
		}
		if len(x.wrong) > 0 {
			return nil, x.invalid(x.wrong)
		}
		out, err := h(ctx, in)
		if x.principal != nil && x.method != http.MethodGet && x.method != http.MethodHead {
			o.router.config.Changed(x.principal.UserID)
		}
		if err == nil && out == nil {
			err = errNoOutput
		}
		if err != nil {
			return nil, x.failure(ctx, err)
		}
		if s, ok := any(out).(stamper); ok {
			s.stamp(x, o.status)
		}
		return out, nil
	}
}
