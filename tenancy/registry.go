package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

// Refusals of entry, and of a write to a tenant that is open for reading alone.
var (
	Unknown       = fault.New(fault.NotFound, "tenant.unknown", "Ruang kerja tidak ditemukan.", "There is no such workspace.")
	IsSuspended   = fault.New(fault.Forbidden, "tenant.suspended", "Ruang kerja ini sedang ditangguhkan.", "This workspace is suspended.")
	IsReadOnly    = fault.New(fault.Forbidden, "tenant.read_only", "Ruang kerja ini sedang hanya dapat dibaca.", "This workspace can only be read at the moment.")
	InMaintenance = fault.New(fault.Unavailable, "tenant.maintenance", "Ruang kerja ini sedang dalam pemeliharaan.", "This workspace is under maintenance.").
			WithRetryAfter(5 * time.Second)
)

// How long a process may act on what it last read of a tenant. It may be wrong for that long without harm: the database
// refuses entry to a tenant that was shut meanwhile.
const (
	knownFor   = 2 * time.Second
	unknownFor = time.Second // an unknown name that was just registered is looked up again soon
)

// Registry knows the tenants and lets requests into them. It is safe for concurrent use.
type Registry struct {
	central    *database.DB
	baseDomain string // without port
	version    int    // the newest tenant migration this binary has
	bySlug     *otter.Cache[string, entry]
	byID       *otter.Cache[uuid.UUID, entry]
}

type entry struct {
	Tenant
	found bool
}

// NewRegistry returns a registry for hosts under baseDomain ("localhost:8080"; the port does not matter). A tenant whose
// schema is older than version is not let in.
func NewRegistry(central *database.DB, baseDomain string, version int) *Registry {
	host, _, _ := strings.Cut(strings.ToLower(baseDomain), ":")
	expiry := func() *otter.Options[string, entry] {
		return &otter.Options[string, entry]{MaximumSize: 50_000, ExpiryCalculator: otter.ExpiryWritingFunc(remember[string])}
	}
	return &Registry{
		central: central, baseDomain: host, version: version,
		bySlug: otter.Must(expiry()),
		byID: otter.Must(&otter.Options[uuid.UUID, entry]{
			MaximumSize: 50_000, ExpiryCalculator: otter.ExpiryWritingFunc(remember[uuid.UUID]),
		}),
	}
}

func remember[K comparable](e otter.Entry[K, entry]) time.Duration {
	if e.Value.found {
		return knownFor
	}
	return unknownFor
}

// Resolve finds the tenant that a host name (lower case, no port) stands for: fault Unknown where it stands for none.
func (r *Registry) Resolve(ctx context.Context, host string) (Tenant, error) {
	slug, ok := strings.CutSuffix(host, "."+r.baseDomain)
	if !ok || slug == "" || strings.Contains(slug, ".") {
		return Tenant{}, Unknown
	}
	return r.BySlug(ctx, slug)
}

// BySlug returns the tenant of that slug: fault Unknown where there is none.
func (r *Registry) BySlug(ctx context.Context, slug string) (Tenant, error) {
	e, err := r.bySlug.Get(ctx, slug, otter.LoaderFunc[string, entry](func(ctx context.Context, slug string) (entry, error) {
		return r.load(ctx, "slug = ?", slug)
	}))
	return known(e, err)
}

// ByID returns the tenant of that id: fault Unknown where there is none.
func (r *Registry) ByID(ctx context.Context, id uuid.UUID) (Tenant, error) {
	return known(r.entryByID(ctx, id))
}

func (r *Registry) entryByID(ctx context.Context, id uuid.UUID) (entry, error) {
	return r.byID.Get(ctx, id, otter.LoaderFunc[uuid.UUID, entry](func(ctx context.Context, id uuid.UUID) (entry, error) {
		return r.load(ctx, "id = ?", id)
	}))
}

func known(e entry, err error) (Tenant, error) {
	if err != nil {
		return Tenant{}, fmt.Errorf("look up the tenant: %w", err)
	}
	if !e.found {
		return Tenant{}, Unknown
	}
	return e.Tenant, nil
}

// load runs for every request that waits for the same key: one caller hanging up must not fail the others.
func (r *Registry) load(ctx context.Context, where string, key any) (entry, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	var e entry
	err := r.central.Gorm(ctx).Where(where, key).Where("status <> 'dropped'").Take(&e.Tenant).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return entry{}, nil
	}
	e.found = err == nil
	return e, err
}

// Enter returns a context whose statements go to the tenant's schema. It refuses with Unknown, IsSuspended or InMaintenance.
func (r *Registry) Enter(ctx context.Context, id uuid.UUID) (context.Context, error) {
	e, err := r.entryByID(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("enter tenant %s: %w", id, err)
	}
	if !e.found {
		return nil, Unknown
	}
	switch e.Status {
	case Active, ReadOnly:
	case Suspended, Archived, Dropping:
		return nil, IsSuspended
	default:
		return nil, InMaintenance
	}
	if e.SchemaVersion < r.version {
		return nil, InMaintenance
	}
	return With(ctx, e.scope()), nil
}

// EnterNew is Enter for the one who prepares a tenant before anybody may use it.
func (r *Registry) EnterNew(ctx context.Context, id uuid.UUID) (context.Context, error) {
	e, err := r.load(ctx, "id = ?", id)
	if err != nil {
		return nil, fmt.Errorf("enter new tenant %s: %w", id, err)
	}
	if !e.found || e.SchemaVersion == 0 {
		return nil, Unknown
	}
	return With(ctx, e.scope()), nil
}

// Renew reads a tenant anew after the database refused to enter it, and returns where it is now.
func (r *Registry) Renew(ctx context.Context, old Scope) (Scope, error) {
	r.Forget(Tenant{ID: old.tenant, Slug: old.slug})
	ctx, err := r.Enter(ctx, old.tenant)
	if err != nil {
		return Scope{}, err
	}
	now, err := Current(ctx)
	if err == nil && now == old {
		return Scope{}, InMaintenance
	}
	return now, err
}

// Forget makes the next request read the tenant anew.
func (r *Registry) Forget(t Tenant) {
	r.bySlug.Invalidate(t.Slug)
	r.byID.Invalidate(t.ID)
}

func (e entry) scope() Scope {
	s := Scope{
		tenant: e.ID, slug: e.Slug, schema: e.SchemaName, role: e.RoleName, cluster: e.Cluster,
		group: int(e.LoginGroup), version: int64(e.SchemaVersion), readOnly: e.Status == ReadOnly,
	}
	if e.StatementTimeoutMS != nil {
		s.timeout = time.Duration(*e.StatementTimeoutMS) * time.Millisecond
	}
	return newScope(s)
}
