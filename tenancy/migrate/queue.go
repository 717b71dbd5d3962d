package migrate

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// queue hands the schemas of one cluster to its workers, each to one of them.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	ready   []*schema
	open    int // not settled: ready, with a worker, or waiting for their next attempt
	missed  []*schema
	stopped bool
}

func newQueue(ctx context.Context, schemas []*schema) (_ *queue, done func()) {
	q := &queue{ready: apart(schemas), open: len(schemas)}
	q.changed = sync.NewCond(&q.mu)
	stop := context.AfterFunc(ctx, q.stop)
	return q, func() { stop() }
}

// apart returns the schemas as a process should try them: those in use first, and from there on beginning anywhere, so
// that processes that work at once seldom want the same one.
func apart(schemas []*schema) []*schema {
	out := make([]*schema, 0, len(schemas))
	for len(schemas) > 0 {
		n := 1
		for n < len(schemas) && schemas[n].isOpen == schemas[0].isOpen {
			n++
		}
		at := rand.IntN(n) //nolint:gosec // a place to begin, not a secret
		out = append(append(out, schemas[at:n]...), schemas[:at]...)
		schemas = schemas[n:]
	}
	return out
}

// take returns the next schema; nil if there is none now, or with wait, none any more.
func (q *queue) take(wait bool) *schema {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.stopped:
			return nil
		case len(q.ready) > 0:
			s := q.ready[0]
			q.ready = q.ready[1:]
			return s
		case !wait || q.open == 0:
			return nil
		}
		q.changed.Wait()
	}
}

// settle says that a schema that was taken needs no more attempt in this pass.
func (q *queue) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.open == 0 {
		q.changed.Broadcast()
	}
}

// miss settles a schema that somebody else has, or has done.
func (q *queue) miss(s *schema) {
	q.mu.Lock()
	q.missed = append(q.missed, s)
	q.mu.Unlock()
	q.settle()
}

// later puts a schema back for another attempt after a while.
func (q *queue) later(s *schema, after time.Duration) {
	time.AfterFunc(after, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.ready = append(q.ready, s)
		q.changed.Signal()
	})
}

// stop ends the queue: what has not been taken stays.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.changed.Broadcast()
}

func (q *queue) halted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopped
}
