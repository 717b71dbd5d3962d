package tenancy

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
)

// Cache remembers, in this process, what was read from tenants. Each entry belongs to the tenant whose Scope it was asked
// with and is invisible to every other; without a Scope there is no entry, and ErrNoTenant. What was remembered of a place
// that the tenant has left, by a move or a restore, is not seen in the new one. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	entries *otter.Cache[cacheKey[K], V]
	limit   time.Duration

	mu    sync.RWMutex
	turns map[uuid.UUID]uint64 // how often a tenant's entries were forgotten
}

type cacheKey[K comparable] struct {
	tenant          uuid.UUID
	cluster, schema string
	turn            uint64
	key             K
}

// ErrNotCached is what a load returns to say that there is nothing, and that this is not to be remembered.
var ErrNotCached = otter.ErrNotFound

// NewCache returns a cache of at most so many entries, of all tenants together, each for at most so long.
func NewCache[K comparable, V any](most int, atMost time.Duration) *Cache[K, V] {
	return &Cache[K, V]{entries: remember[cacheKey[K], V](most, atMost), limit: 5 * time.Second, turns: make(map[uuid.UUID]uint64)}
}

// Get returns the entry of ctx's tenant, loaded where there is none; an error is returned and not remembered. Those who ask for
// the same meanwhile share the load. So it gets a context of its own, with the tenant but without the caller's transaction and
// end, for five seconds.
func (c *Cache[K, V]) Get(ctx context.Context, key K, load func(ctx context.Context) (V, error)) (V, error) {
	s, err := Current(ctx)
	if err != nil {
		var none V
		return none, err
	}
	return c.entries.Get(ctx, c.at(s, key), otter.LoaderFunc[cacheKey[K], V](func(context.Context, cacheKey[K]) (V, error) {
		loading, cancel := context.WithTimeout(With(context.Background(), s), c.limit)
		defer cancel()
		return load(loading)
	}))
}

// Forget forgets one entry of ctx's tenant.
func (c *Cache[K, V]) Forget(ctx context.Context, key K) error {
	s, err := Current(ctx)
	if err != nil {
		return err
	}
	c.entries.Invalidate(c.at(s, key))
	return nil
}

// ForgetTenant forgets everything of ctx's tenant, what is being loaded included.
func (c *Cache[K, V]) ForgetTenant(ctx context.Context) error {
	s, err := Current(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns[s.tenant]++
	return nil
}

func (c *Cache[K, V]) at(s Scope, key K) cacheKey[K] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return cacheKey[K]{tenant: s.tenant, cluster: s.cluster, schema: s.schema, turn: c.turns[s.tenant], key: key}
}
