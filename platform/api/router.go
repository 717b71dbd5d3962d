package api

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/rs/cors"

	"garment.id/homecore/platform/fault"
)

const basePath = "/api/v1"

// Surface is one of the two APIs the process serves.
type Surface string

// The two surfaces: the host of a request decides between them.
const (
	CoreAPI   Surface = "core"   // on the base domain
	TenantAPI Surface = "tenant" // on a tenant's host
)

// Router is the edge: it registers operations and serves them. Register every operation before it serves the first request.
type Router struct {
	config     Config
	baseHost   string
	core       *side
	tenants    *side
	cors       *cors.Cors
	metrics    *metrics
	operations []OperationInfo
	draining   atomic.Bool
}

// side is one surface: its routes and the document that describes them.
type side struct {
	surface  Surface
	engine   *gin.Engine
	api      huma.API
	names    *schemaNames
	document func() ([]byte, error)
}

// OperationInfo describes a registered operation; one that stands on both surfaces is listed once for each.
type OperationInfo struct {
	Name    string
	Method  string
	Path    string
	Surface Surface
	Rule    Rule
}

// New returns a router without operations. It panics if a mandatory field of config is missing.
func New(config Config) *Router {
	adoptLibraries()
	r := &Router{config: config.withDefaults()}
	r.baseHost = hostName(r.config.BaseDomain)
	r.cors = newCORS(r.config.CORSOrigins, r.ownOrigin)
	r.metrics = newMetrics(r.config.Registry)
	r.core = r.newSide(CoreAPI, "HomeCore Core API")
	r.tenants = r.newSide(TenantAPI, "HomeCore Tenant API")
	return r
}

// adoptLibraries sets what gin and huma keep in package variables; every router wants the same.
var adoptLibraries = sync.OnceFunc(func() {
	gin.SetMode(gin.ReleaseMode)
	huma.NewError = bareFailure
	huma.NewErrorWithContext = humaFailure
	// encoding/json matches names in any case: "NAME" would be decoded into name without having been validated as name.
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
})

func (r *Router) newSide(surface Surface, title string) *side {
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	engine.NoRoute(refuseRoute)
	engine.NoMethod(refuseMethod)

	s := &side{surface: surface, engine: engine, names: newSchemaNames()}
	s.api = humagin.New(engine, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: title, Version: r.config.Version},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", s.names.name),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
				},
			},
		},
		Formats:       map[string]huma.Format{"application/json": {Marshal: marshalJSON, Unmarshal: unmarshalJSON}},
		DefaultFormat: "application/json",
	})
	s.document = sync.OnceValues(s.marshalDocument)
	r.serveDocs(s)
	return s
}

// Get registers a handler for GET path, relative to /api/v1. The name is its operationId: "central.…" places it on the Core API,
// "tenant.…" on the Tenant API. It panics on a zero rule, a name of neither kind, and a route that exists already.
func Get[I, O any](r *Router, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts ...Option) {
	register(r, http.MethodGet, basePath+path, h, name, who, opts)
}

// Post registers a handler for POST path; see [Get].
func Post[I, O any](r *Router, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts ...Option) {
	register(r, http.MethodPost, basePath+path, h, name, who, opts)
}

// Put registers a handler for PUT path; see [Get].
func Put[I, O any](r *Router, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts ...Option) {
	register(r, http.MethodPut, basePath+path, h, name, who, opts)
}

// Delete registers a handler for DELETE path; see [Get].
func Delete[I, O any](r *Router, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts ...Option) {
	register(r, http.MethodDelete, basePath+path, h, name, who, opts)
}

// Root registers a handler for GET path outside /api/v1, such as /.well-known/jwks.json, on both surfaces. Its name begins with
// "central.", and its output may be any JSON.
func Root[I, O any](r *Router, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts ...Option) {
	register(r, http.MethodGet, path, h, name, who, append(slices.Clone(opts), Both))
}

func register[I, O any](r *Router, method, path string, h func(context.Context, *I) (*O, error), name string, who Rule, opts []Option) {
	input := reflect.TypeFor[I]()
	for _, o := range r.declare(method, path, name, who, input, opts) {
		side := r.sideOf(o.Surface)
		side.names.enter(input.PkgPath(), name)
		huma.Register(side.api, o.describe(), handle(o, h))
		o.complete(side.api.OpenAPI())
		r.operations = append(r.operations, o.OperationInfo)
	}
}

func (r *Router) sideOf(s Surface) *side {
	if s == TenantAPI {
		return r.tenants
	}
	return r.core
}

// Operations returns every registered operation, in the order of registration.
func (r *Router) Operations() []OperationInfo { return slices.Clone(r.operations) }

// Document returns the OpenAPI 3.1 document of a surface, for the base domain and for a tenant called {slug} on it.
func (r *Router) Document(s Surface) ([]byte, error) {
	doc, err := r.sideOf(s).document()
	if err != nil {
		return nil, err
	}
	host := r.config.BaseDomain
	if s == TenantAPI {
		host = "{slug}." + host
	}
	scheme := "https"
	if isDevelopment(r.baseHost) {
		scheme = "http"
	}
	return bytes.ReplaceAll(doc, []byte(anyServer), []byte(scheme+"://"+host)), nil
}

// Drain makes /ready answer 503 from now on, so that no new traffic is sent here.
func (r *Router) Drain() { r.draining.Store(true) }

func refuseRoute(c *gin.Context) { refuse(c, fault.RouteNotFound) }

func refuseMethod(c *gin.Context) {
	h := c.Writer.Header()
	if allow := h.Get("Allow"); strings.Contains(allow, http.MethodGet) {
		h.Set("Allow", allow+", "+http.MethodHead)
	}
	refuse(c, fault.MethodRefused)
}

func refuse(c *gin.Context, err error) {
	ctx := c.Request.Context()
	exchangeFrom(ctx).fail(ctx, err)
	c.Writer.WriteHeaderNow() // tells gin, which would add its own text, that the answer is complete
}
