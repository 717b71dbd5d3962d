package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"garment.id/homecore/platform/database"
)

// How long a process may act on what it last read of a tenant. It may be wrong for that long without harm: the database
// refuses entry to a tenant that was shut or moved meanwhile.
const (
	heardFor   = time.Minute     // while the listener hears of every change
	unheardFor = 2 * time.Second // while it does not
	shutFor    = time.Second     // a tenant that cannot be entered; it soon can, and a migration tells nobody
	unknownFor = time.Second     // a name that stands for nobody
	usableFor  = 2 * time.Minute // while schema central cannot be read
	patience   = 500 * time.Millisecond
)

// Names are bounded, so that somebody who tries one host after the other costs neither memory nor what is known of tenants.
const (
	maxKnown   = 50_000
	maxUnknown = 10_000
)

// Registry knows the tenants and lets requests into them. It is safe for concurrent use.
//
// It keeps what it reads in memory. A change is heard of at once while Listen is connected, and within two seconds while it is
// not; that a schema has been migrated is told to nobody, and is read within a minute. Either way what is remembered is a hint: Postgres refuses to enter a tenant that was shut or moved, and Renew then says
// why, or where it is now. While schema central cannot be read, tenants that are known stay usable for two minutes after
// they were last read, and everybody else is told to try again. One query runs at a time, for all who wait.
type Registry struct {
	central    *database.DB
	baseDomain string // without port
	version    int    // the newest tenant migration this binary has

	reads     reads
	records   *otter.Cache[uuid.UUID, record]
	names     *otter.Cache[string, owner] // slugs, and domains: those have a dot
	unknown   *otter.Cache[key, time.Time]
	listening atomic.Bool
	now       func() time.Time
}

// key is what a tenant is looked up by: its id, or else a name.
type key struct {
	id   uuid.UUID
	name string
}

func (k key) isDomain() bool { return strings.Contains(k.name, ".") }

type record struct {
	Tenant
	asOf time.Time // when the reading began: what happened after it may be missing. Monotonic.
}

// owner is whose a name is.
type owner struct {
	id   uuid.UUID
	asOf time.Time
}

// NewRegistry returns a registry for hosts under baseDomain ("localhost:8080"; the port does not matter). A tenant whose
// schema is older than version is not let in.
func NewRegistry(central *database.DB, baseDomain string, version int) *Registry {
	host, _, _ := strings.Cut(strings.ToLower(baseDomain), ":")
	r := &Registry{central: central, baseDomain: host, version: version, records: remember[uuid.UUID, record](maxKnown, usableFor),
		names: remember[string, owner](maxKnown, usableFor), unknown: remember[key, time.Time](maxUnknown, unknownFor), now: time.Now}
	r.reads.query, r.reads.keep, r.reads.now = r.query, r.keep, r.now
	return r
}

func remember[K comparable, V any](most int, atMost time.Duration) *otter.Cache[K, V] {
	return otter.Must(&otter.Options[K, V]{MaximumSize: most, ExpiryCalculator: otter.ExpiryWriting[K, V](atMost)})
}

// Resolve finds the tenant that a host name (lower case, no port) stands for, by its slug below the base domain or by a domain
// of its own that was verified: fault Unknown where it stands for none.
func (r *Registry) Resolve(ctx context.Context, host string) (Tenant, error) {
	slug, below := strings.CutSuffix(host, "."+r.baseDomain)
	switch {
	case below && slug != "" && !strings.Contains(slug, "."):
		return r.find(ctx, key{name: slug})
	case below || host == r.baseDomain || !strings.Contains(host, "."):
		return Tenant{}, Unknown
	}
	return r.find(ctx, key{name: host})
}

// BySlug returns the tenant of that slug: fault Unknown where there is none.
func (r *Registry) BySlug(ctx context.Context, slug string) (Tenant, error) {
	if strings.Contains(slug, ".") {
		return Tenant{}, Unknown
	}
	return r.find(ctx, key{name: slug})
}

// ByID returns the tenant of that id: fault Unknown where there is none.
func (r *Registry) ByID(ctx context.Context, id uuid.UUID) (Tenant, error) {
	return r.find(ctx, key{id: id})
}

// find returns what is known of a tenant, and reads it where that is too old.
func (r *Registry) find(ctx context.Context, k key) (Tenant, error) {
	if at, ok := r.unknown.GetIfPresent(k); ok && r.now().Sub(at) < unknownFor {
		return Tenant{}, Unknown
	}
	known, fresh, usable := r.recall(k)
	if fresh {
		return known, nil
	}
	if !usable {
		return r.read(ctx, k)
	}
	// Nobody waits long for what is most likely the same as before.
	if r.reads.failing() {
		return known, nil
	}
	hurried, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := r.read(hurried, k)
	if err != nil && !errors.Is(err, Unknown) && ctx.Err() == nil {
		return known, nil
	}
	return t, err
}

// recall returns what is remembered: whether it is fresh, and whether it will do if nothing better can be had.
func (r *Registry) recall(k key) (_ Tenant, fresh, usable bool) {
	now := r.now()
	id, asOf := k.id, now
	if k.name != "" {
		o, ok := r.names.GetIfPresent(k.name)
		if !ok {
			return Tenant{}, false, false
		}
		id, asOf = o.id, o.asOf
	}
	known, ok := r.records.GetIfPresent(id)
	if !ok || k.name != "" && !k.isDomain() && known.Slug != k.name {
		return Tenant{}, false, false
	}
	if known.asOf.Before(asOf) {
		asOf = known.asOf
	}
	age, limit := now.Sub(asOf), unheardFor
	if r.listening.Load() {
		limit = heardFor
	}
	if _, err := r.scope(known.Tenant); err != nil {
		limit = shutFor
	}
	return known.Tenant, age < limit, age < usableFor
}

// read asks the database, together with whoever else does.
func (r *Registry) read(ctx context.Context, k key) (Tenant, error) {
	t, ok, err := r.reads.ask(ctx, k)
	if err != nil {
		return Tenant{}, fmt.Errorf("look up the tenant: %w", err)
	}
	if !ok {
		return Tenant{}, Unknown
	}
	return t, nil
}

// Enter returns a context whose statements go to the tenant's schema. It refuses with Unknown, IsSuspended or InMaintenance.
func (r *Registry) Enter(ctx context.Context, id uuid.UUID) (context.Context, error) {
	t, err := r.find(ctx, key{id: id})
	if err != nil {
		return nil, err
	}
	s, err := r.scope(t)
	if err != nil {
		return nil, err
	}
	return With(ctx, s), nil
}

// EnterNew is Enter for the one who prepares a tenant before anybody may use it. It reads the tenant anew, in the transaction
// that ctx carries if there is one.
func (r *Registry) EnterNew(ctx context.Context, id uuid.UUID) (context.Context, error) {
	found, err := r.query(ctx, []key{{id: id}})
	if err != nil {
		return nil, fmt.Errorf("enter new tenant %s: %w", id, err)
	}
	t, ok := found[key{id: id}]
	if !ok || t.SchemaVersion == 0 {
		return nil, Unknown
	}
	return With(ctx, scopeOf(t)), nil
}

// Renew returns the Scope of a tenant that Postgres has just refused to enter as old, read anew: a statement that was refused
// has not run and may be tried once more with it. Otherwise it says why the tenant is shut: Unknown, IsSuspended or
// InMaintenance, which is also the answer while nothing has changed in the registry, since a change is on its way then.
// However many ask, one query runs at a time, and it begins after they have asked.
func (r *Registry) Renew(ctx context.Context, old Scope) (Scope, error) {
	t, err := r.read(ctx, key{id: old.tenant})
	if err != nil {
		return Scope{}, err
	}
	s, err := r.scope(t)
	if err != nil {
		return Scope{}, err
	}
	if s == old {
		return Scope{}, isChanging
	}
	return s, nil
}

// Forget makes the next request read the tenant anew.
func (r *Registry) Forget(t Tenant) {
	r.reads.forget(func() {
		r.records.Invalidate(t.ID)
		r.names.Invalidate(t.Slug)
		r.unknown.Invalidate(key{id: t.ID})
		r.unknown.Invalidate(key{name: t.Slug})
	}, key{id: t.ID}, key{name: t.Slug})
}

// ForgetName is Forget for a host name alone: whose it is may have changed.
func (r *Registry) ForgetName(name string) {
	r.reads.forget(func() {
		r.names.Invalidate(name)
		r.unknown.Invalidate(key{name: name})
	}, key{name: name})
}

func (r *Registry) forgetAll() {
	r.reads.forgetAll(func() {
		r.records.InvalidateAll()
		r.names.InvalidateAll()
		r.unknown.InvalidateAll()
	})
}

// scope says whether the tenant may be entered, and as what.
func (r *Registry) scope(t Tenant) (Scope, error) {
	switch t.Status {
	case Active, ReadOnly:
	case Suspended, Archived, Dropping:
		return Scope{}, IsSuspended
	case Dropped:
		return Scope{}, Unknown
	case Requested, Creating, Ready:
		return Scope{}, isBeingMade
	case Maintenance:
		if t.RetryAfter != nil {
			return Scope{}, isMaintained.WithRetryAfter(time.Duration(*t.RetryAfter) * time.Second)
		}
		return Scope{}, isMaintained
	default:
		return Scope{}, isMaintained
	}
	if t.SchemaVersion < r.version {
		return Scope{}, isBehind
	}
	return scopeOf(t), nil
}

func scopeOf(t Tenant) Scope {
	s := Scope{
		tenant: t.ID, slug: t.Slug, schema: t.SchemaName, role: t.RoleName, cluster: t.Cluster,
		group: int(t.LoginGroup), version: int64(t.SchemaVersion), readOnly: t.Status == ReadOnly,
	}
	if t.StatementTimeoutMS != nil {
		s.timeout = time.Duration(*t.StatementTimeoutMS) * time.Millisecond
	}
	return newScope(s)
}
