package tenancy

import "container/list"

// lru is a map that forgets its least recently used entry when it is full. It is not safe for concurrent use.
type lru[K comparable, V any] struct {
	limit   int
	entries map[K]*list.Element
	recent  *list.List // of lruEntry[K, V], most recently used first
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, entries: make(map[K]*list.Element), recent: list.New()}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	e, ok := l.entries[key]
	if !ok {
		return value, false
	}
	l.recent.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// put returns what it replaced or pushed out, if anything.
func (l *lru[K, V]) put(key K, value V) (old V, evicted bool) {
	old, evicted = l.remove(key)
	l.entries[key] = l.recent.PushFront(&lruEntry[K, V]{key, value})
	if len(l.entries) > l.limit {
		return l.remove(l.recent.Back().Value.(*lruEntry[K, V]).key)
	}
	return old, evicted
}

func (l *lru[K, V]) remove(key K) (old V, ok bool) {
	e, ok := l.entries[key]
	if !ok {
		return old, false
	}
	delete(l.entries, key)
	return l.recent.Remove(e).(*lruEntry[K, V]).value, true
}
