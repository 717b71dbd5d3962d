package tenancy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/fault"
)

const (
	readLimit   = 3 * time.Second // for one query
	maxTogether = 1_000           // keys of one query; who comes when it is full is told to try again
	failedFor   = time.Second     // after a query has failed, who can do without does not ask
)

// reads is the registry's way to the database: one query at a time. What is asked for while it runs goes together with the
// next, so an answer is never older than the question, and a flood of names is a trickle of queries.
type reads struct {
	query func(ctx context.Context, keys []key) (map[key]Tenant, error)
	keep  func(k key, t Tenant, found bool, asOf time.Time)
	now   func() time.Time

	mu      sync.Mutex
	running *batch // nil while nobody asks
	next    *batch
	failed  time.Time
}

type batch struct {
	keys  map[key]bool // true: changed while the query ran, so that its answer is not to be remembered
	all   bool         // as if all of them had
	done  chan struct{}
	found map[key]Tenant
	err   error
}

// ask returns the tenant of k, as it is after the call.
func (r *reads) ask(ctx context.Context, k key) (t Tenant, found bool, err error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &batch{keys: map[key]bool{}, done: make(chan struct{})}
	}
	b := r.next
	if len(b.keys) >= maxTogether {
		r.mu.Unlock()
		return t, false, fault.ServiceUnavailable
	}
	b.keys[k] = false
	if r.running == nil {
		r.running, r.next = b, nil
		go r.run(b) //nolint:gosec // it outlives the request on purpose; see run
	}
	r.mu.Unlock()
	select {
	case <-b.done:
		t, found = b.found[k]
		return t, found, b.err
	case <-ctx.Done():
		return t, false, ctx.Err()
	}
}

func (r *reads) run(b *batch) {
	for b != nil {
		r.mu.Lock()
		keys := slices.Collect(maps.Keys(b.keys))
		r.mu.Unlock()
		// It serves many: it neither ends with the request that happened to begin it nor joins its transaction.
		ctx, cancel := context.WithTimeout(context.Background(), readLimit)
		asOf := r.now()
		b.found, b.err = r.query(ctx, keys)
		cancel()
		b = r.finish(b, asOf)
	}
}

// finish remembers what was found and returns the next to run.
func (r *reads) finish(b *batch, asOf time.Time) *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.err != nil {
		r.failed = r.now()
	} else {
		r.failed = time.Time{}
		for k, changed := range b.keys {
			t, found := b.found[k]
			if changed || b.all || found && b.keys[key{id: t.ID}] {
				continue
			}
			r.keep(k, t, found, asOf)
		}
	}
	close(b.done)
	r.running, r.next = r.next, nil
	return r.running
}

// forget runs f, and keeps a query under way from bringing back what f makes forget.
func (r *reads) forget(f func(), changed ...key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	if r.running != nil {
		for _, k := range changed {
			r.running.keys[k] = true
		}
	}
}

func (r *reads) forgetAll(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	if r.running != nil {
		r.running.all = true
	}
}

// failing reports whether a query failed a moment ago.
func (r *reads) failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.failed.IsZero() && r.now().Sub(r.failed) < failedFor
}

// keep remembers what was read.
func (r *Registry) keep(k key, t Tenant, found bool, asOf time.Time) {
	if !found {
		r.unknown.Set(k, asOf)
		if k.name != "" {
			r.names.Invalidate(k.name)
		} else {
			r.records.Invalidate(k.id)
		}
		return
	}
	r.unknown.Invalidate(k)
	r.records.Set(t.ID, record{t, asOf})
	if k.name != "" {
		r.names.Set(k.name, owner{t.ID, asOf})
	}
}

// query reads tenants by id, slug and verified domain.
func (r *Registry) query(ctx context.Context, keys []key) (map[key]Tenant, error) {
	var ids []uuid.UUID
	var slugs, domains []string
	for _, k := range keys {
		switch {
		case k.name == "":
			ids = append(ids, k.id)
		case k.isDomain():
			domains = append(domains, k.name)
		default:
			slugs = append(slugs, k.name)
		}
	}
	found := make(map[key]Tenant, len(keys))
	if len(ids) > 0 {
		var rows []Tenant
		if err := r.central.Gorm(ctx).Where("id in ? and status <> 'dropped'", ids).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, t := range rows {
			found[key{id: t.ID}] = t
		}
	}
	if len(slugs) > 0 {
		var rows []Tenant
		if err := r.central.Gorm(ctx).Where("slug in ? and status <> 'dropped'", slugs).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, t := range rows {
			found[key{name: t.Slug}] = t
		}
	}
	if len(domains) > 0 {
		var rows []struct {
			Tenant
			Domain string
		}
		err := r.central.Gorm(ctx).Table("tenants").Select("tenants.*, d.domain").
			Joins("join tenant_domains d on d.tenant_id = tenants.id and d.verified_at is not null").
			Where("d.domain in ? and tenants.status <> 'dropped'", domains).Find(&rows).Error
		if err != nil {
			return nil, err
		}
		for _, t := range rows {
			found[key{name: t.Domain}] = t.Tenant
		}
	}
	return found, nil
}
