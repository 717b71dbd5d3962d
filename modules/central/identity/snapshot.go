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

	mu    sync.Mutex
	value T
	asOf  time.Time // when the reading began: what happened after it may be missing. Monotonic.
}

// get returns the value, read again if older than fresh. When that fails, a value no older than tolerate will do.
func (s *snapshot[T]) get(ctx context.Context, fresh, tolerate time.Duration) (T, error) {
	value, asOf := s.peek()
	if !asOf.IsZero() && time.Since(asOf) < fresh {
		return value, nil
	}
	// The reading serves others too: it must not end with the request that happened to begin it, nor join its transaction.
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
	var err error
	select {
	case <-ctx.Done():
		return value, ctx.Err()
	case r := <-done:
		err = r.Err
	}
	value, asOf = s.peek()
	if err != nil && (asOf.IsZero() || time.Since(asOf) >= tolerate) {
		return value, err
	}
	return value, nil
}

func (s *snapshot[T]) peek() (T, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, s.asOf
}
