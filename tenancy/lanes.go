package tenancy

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A group is the connections that one login role has in this process. Each is a lane: a pool of one, so that it can be chosen.
//
// Which backend serves a tenant decides what a statement costs: one that has seen the tenant has its tables and plans in
// memory. So a tenant has a home lane in its group, by a hash, and goes elsewhere only if that one is busy and another idle.
// Who finds all of them busy waits at home, where tenants take turns: a tenant with a hundred requests gets one, then everybody
// else gets one. A lane that nobody waits for serves those who wait elsewhere. All this would not help against statements that
// never end, since what has begun cannot be moved: so there is a spare lane, opened when it is first needed, for those who
// have waited for spareAfter while they hold nothing.
type group struct {
	lanes []*lane // the spare one is the last

	mu   sync.Mutex
	held map[string]int // lanes that a tenant holds, by schema

	waits, waited, exhausted, moved atomic.Int64 // for Stats
}

// lane is one connection.
type lane struct {
	group *group
	db    *sql.DB
	spare bool
	// Guarded by group.mu.
	holder  string // the schema of who holds it; empty: it is idle
	waiting queue  // of those at home here
}

// waiter is a call that found every lane busy.
type waiter struct {
	schema  string
	home    *lane
	granted chan *lane // of capacity one
}

const (
	// spareAfter is how long a tenant that holds nothing waits before it may use the spare lane.
	spareAfter = 25 * time.Millisecond
	// spareIdle is how long a spare connection is kept when nobody needs it.
	spareIdle = time.Minute
)

var seed = maphash.MakeSeed()

func newGroup(size int, open func(g *group, l *lane) *sql.DB) *group {
	g := &group{held: make(map[string]int)}
	for i := range size + 1 {
		l := &lane{group: g, spare: i == size}
		l.db = open(g, l)
		l.db.SetMaxOpenConns(1)
		l.db.SetMaxIdleConns(1)
		if l.spare {
			l.db.SetConnMaxIdleTime(spareIdle)
		}
		g.lanes = append(g.lanes, l)
	}
	return g
}

func (g *group) home(schema string) int {
	return int(maphash.String(seed, schema) % uint64(len(g.lanes)-1)) //nolint:gosec // there are few lanes
}

// acquire returns a lane that is the caller's until released. It waits for at most limit: then ErrExhausted.
func (g *group) acquire(ctx context.Context, schema string, limit time.Duration) (*lane, error) {
	g.mu.Lock()
	home := g.home(schema)
	if l := g.idle(home); l != nil {
		g.take(l, schema)
		g.mu.Unlock()
		return l, nil
	}
	w := &waiter{schema: schema, home: g.lanes[home], granted: make(chan *lane, 1)}
	w.home.waiting.add(w)
	g.mu.Unlock()
	return g.wait(ctx, w, limit)
}

func (g *group) wait(ctx context.Context, w *waiter, limit time.Duration) (*lane, error) {
	patience := time.NewTimer(spareAfter)
	defer patience.Stop()
	began := time.Now()
	g.waits.Add(1)
	defer func() { g.waited.Add(int64(time.Since(began))) }()
	for {
		select {
		case l := <-w.granted:
			return l, nil
		case <-ctx.Done():
			return nil, g.leave(w, fmt.Errorf("wait for a connection: %w", context.Cause(ctx)))
		case <-patience.C:
			waited := time.Since(began)
			if waited >= limit {
				g.exhausted.Add(1)
				return nil, g.leave(w, ErrExhausted)
			}
			g.mu.Lock()
			if spare := g.lanes[len(g.lanes)-1]; spare.holder == "" && g.held[w.schema] == 0 && w.home.waiting.remove(w) {
				g.take(spare, w.schema)
				g.mu.Unlock()
				return spare, nil
			}
			g.mu.Unlock()
			patience.Reset(min(spareAfter, limit-waited))
		}
	}
}

// leave gives up waiting. A lane that was granted meanwhile goes to the next.
func (g *group) leave(w *waiter, err error) error {
	g.mu.Lock()
	waiting := w.home.waiting.remove(w)
	g.mu.Unlock()
	if !waiting {
		(<-w.granted).release()
	}
	return err
}

// idle returns the lane to use now: home, or else another one. The spare lane is for those who have waited. Nobody waits
// while a lane is idle, so nobody is passed over.
func (g *group) idle(home int) *lane {
	regular := g.regular()
	for i := range regular {
		if l := regular[(home+i)%len(regular)]; l.holder == "" {
			return l
		}
	}
	return nil
}

func (g *group) regular() []*lane { return g.lanes[:len(g.lanes)-1] }

func (g *group) take(l *lane, schema string) {
	l.holder = schema
	g.held[schema]++
}

// release hands the lane to whoever is next. Releasing an idle lane does nothing.
func (l *lane) release() {
	g := l.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.holder == "" {
		return
	}
	if g.held[l.holder]--; g.held[l.holder] == 0 {
		delete(g.held, l.holder)
	}
	l.holder = ""
	if l.spare {
		return // whoever has waited long enough takes it
	}
	w := l.waiting.next()
	for _, other := range g.regular() {
		if w == nil {
			w = other.waiting.next()
		}
	}
	if w != nil {
		g.take(l, w.schema)
		w.granted <- l
	}
}

// queue is who waits, tenant by tenant: each turn goes to the tenant that has waited for its turn the longest.
type queue struct {
	turns []string // tenants with somebody waiting, next first
	of    map[string][]*waiter
}

func (q *queue) add(w *waiter) {
	if q.of == nil {
		q.of = make(map[string][]*waiter)
	}
	if len(q.of[w.schema]) == 0 {
		q.turns = append(q.turns, w.schema)
	}
	q.of[w.schema] = append(q.of[w.schema], w)
}

func (q *queue) next() *waiter {
	if len(q.turns) == 0 {
		return nil
	}
	schema := q.turns[0]
	q.turns = q.turns[1:]
	w := q.of[schema][0]
	if rest := q.of[schema][1:]; len(rest) > 0 {
		q.of[schema] = rest
		q.turns = append(q.turns, schema)
	} else {
		delete(q.of, schema)
	}
	return w
}

// remove reports whether w was still waiting.
func (q *queue) remove(w *waiter) bool {
	all := q.of[w.schema]
	for i, other := range all {
		if other != w {
			continue
		}
		if len(all) > 1 {
			q.of[w.schema] = append(all[:i:i], all[i+1:]...)
			return true
		}
		delete(q.of, w.schema)
		for t, schema := range q.turns {
			if schema == w.schema {
				q.turns = append(q.turns[:t:t], q.turns[t+1:]...)
				break
			}
		}
		return true
	}
	return false
}

func (g *group) stats(cluster string, number int) Stats {
	s := Stats{
		Cluster: cluster, Group: number, Waits: g.waits.Load(), WaitTime: time.Duration(g.waited.Load()),
		Exhausted: g.exhausted.Load(), Moved: g.moved.Load(),
	}
	g.mu.Lock()
	for _, l := range g.lanes {
		if l.holder != "" {
			s.InUse++
		}
		for _, waiting := range l.waiting.of {
			s.Waiting += len(waiting)
		}
	}
	g.mu.Unlock()
	for _, l := range g.lanes {
		s.Open += l.db.Stats().OpenConnections
	}
	return s
}
