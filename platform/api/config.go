package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what the edge needs of its surroundings. BaseDomain, Authenticate, Tenants, PlatformPermits and TenantPermits are
// mandatory; the others say their default.
type Config struct {
	// BaseDomain is the host of the Core API, with the port if it is not the scheme's own: "localhost:8080".
	BaseDomain string
	// Version of the build, shown in the OpenAPI document. Default "dev".
	Version string

	// Authenticate returns who the bearer token speaks for, or a fault of kind Unauthenticated.
	Authenticate func(ctx context.Context, bearer string) (Principal, error)
	// Tenants finds and enters the tenant a host names.
	Tenants Tenants
	// PlatformPermits returns nil if p holds a permission of the platform, else fault.AccessDenied.
	PlatformPermits func(ctx context.Context, p Principal, permission string) error
	// TenantPermits returns nil if p is an active member of the tenant ctx has entered and holds permission; "" asks for membership alone.
	TenantPermits func(ctx context.Context, p Principal, permission string) error
	// Refused is told whom an operation was refused and why, with the permission it asks for, and returns why, or what went wrong; nil: nobody is.
	Refused func(ctx context.Context, p Principal, permission string, why error) error

	// Changed is told of a user who may have changed something: their request other than GET has been handled, and is about to be
	// answered. Default: nobody is told.
	Changed func(user uuid.UUID)

	// Unavailable says whether err means that the database or another neighbour is away: 503 rather than 500. Default: never.
	Unavailable func(err error) bool
	// Ready returns an error while the process should get no traffic. Default: always ready.
	Ready func(ctx context.Context) error

	// CORSOrigins are the origins whose pages may call, exactly as browsers send them; "http://*.localhost:8080" stands for any one label.
	CORSOrigins []string
	// TrustedProxies are the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed. Default: none.
	TrustedProxies []netip.Prefix
	// Pages are served on the base domain beside the API, such as the development mailbox. Default: none.
	Pages *http.ServeMux

	// Logger takes one line per request and one per unexpected error. Default slog.Default().
	Logger *slog.Logger
	// Registry takes the metrics. Default: a registry of its own, read by nobody.
	Registry *prometheus.Registry
	// Clock tells the time of an answer. Default time.Now.
	Clock func() time.Time
	// BodyTimeout is how long a client may take to send a body. Default 10 s.
	BodyTimeout time.Duration
}

// Tenant is the tenant a host names.
type Tenant struct {
	ID   uuid.UUID
	Slug string
}

// Tenants finds and enters tenants; package tenancy implements it.
type Tenants interface {
	// Resolve returns the tenant that host (lower case, no port) names, or the fault tenant.unknown.
	Resolve(ctx context.Context, host string) (Tenant, error)
	// Enter returns a context that carries the tenant's scope, or the faults tenant.suspended and tenant.maintenance.
	Enter(ctx context.Context, t Tenant) (context.Context, error)
}

func (c Config) withDefaults() Config {
	if c.BaseDomain == "" || c.Authenticate == nil || c.Tenants == nil || c.PlatformPermits == nil || c.TenantPermits == nil {
		panic("api: Config lacks BaseDomain, Authenticate, Tenants, PlatformPermits or TenantPermits")
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Refused == nil {
		c.Refused = func(_ context.Context, _ Principal, _ string, why error) error { return why }
	}
	if c.Changed == nil {
		c.Changed = func(uuid.UUID) {}
	}
	if c.Unavailable == nil {
		c.Unavailable = func(error) bool { return false }
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 10 * time.Second
	}
	return c
}
