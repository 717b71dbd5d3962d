package identity

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// snapshot is something of the database that a process holds and reads again when asked for and too old. However many ask, one reads.
type snapshot[T any] struct {
	load    func(ctx context.Context, last T) (T, error)
	timeout time.Duration // bounds a reading; who waits for it gets its error
	group   singleflight.Group

	mu      sync.Mutex
	value   T
	asOf    time.Time // when the reading began: what happened after it may be missing. Monotonic.
	dropped time.Time // what was read before is worth nothing
}

// get returns the value, read again if older than fresh. When that fails, a value no older than tolerate will do.
func (s *snapshot[T]) get(ctx context.Context, fresh, tolerate time.Duration) (T, error) {
	since := time.Now().Add(-fresh)
	for {
		value, asOf := s.peek()
		if !asOf.IsZero() && !asOf.Before(since) {
			return value, nil
		}
		// The reading serves others too: it must not end with the request that happened to begin it, nor join its transaction. And it may
		// have begun for others, before what we ask for: then one more follows.
		done := s.group.DoChan("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
			defer cancel()
			last, _ := s.peek()
			began := time.Now()
			value, err := s.load(ctx, last)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			s.value, s.asOf = value, began
			s.mu.Unlock()
			return nil, nil
		})
		select {
		case <-ctx.Done():
			return value, ctx.Err()
		case r := <-done:
			if r.Err == nil {
				continue
			}
			value, asOf = s.peek()
			if asOf.IsZero() || time.Since(asOf) >= tolerate {
				return value, r.Err
			}
			return value, nil
		}
	}
}

// drop makes whatever was read before now, or is being read, worth nothing.
func (s *snapshot[T]) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = time.Now()
}

// peek returns what is held, and as of when; zero where it is worth nothing.
func (s *snapshot[T]) peek() (T, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asOf.Before(s.dropped) {
		return s.value, time.Time{}
	}
	return s.value, s.asOf
}
