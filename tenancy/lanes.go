package tenancy

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A group is the connections that one login role has in this process. Each is a lane: a pool of one, so that it can be chosen.
//
// Which backend serves a tenant decides what a statement costs: one that has seen the tenant has its tables and plans in
// memory. So a tenant has a home lane in its group, by a hash, and goes elsewhere only if that one is busy and another idle; a read
// not even then, while home is busy with reads that take a moment and few wait for it: it travels with them (together.go). Who finds all of them busy waits at home, where tenants take turns: a tenant with a hundred requests gets one, then everybody
// else gets one. A lane that nobody waits for serves those who wait elsewhere. All this would not help against statements that
// never end, since what has begun cannot be moved: so there is a spare lane, opened when it is first needed, for those who
// have waited for spareAfter while they hold nothing.
type group struct {
	lanes []*lane       // the spare one is the last
	known *descriptions // of the cluster; nil: of nothing

	mu   sync.Mutex
	held map[string]int // lanes that a tenant holds, by schema

	waits, waited, exhausted, moved atomic.Int64 // for Stats
}

// lane is one connection.
type lane struct {
	group *group
	db    *sql.DB
	spare bool
	conn  atomic.Pointer[conn] // what db holds, for those who hold the lane
	// Of the reads that travel on it; theirs whose turn it is to read.
	last       *ask
	travelling int
	size       int          // of their arguments
	turn       atomic.Int64 // when the one began to read whose turn it is, since epoch

	// Guarded by group.mu.
	holder  string // the schema of who holds it; empty: it is idle
	brief   bool   // it is held for reads that are known to be quick
	waiting queue  // of those at home here
}

// waiter is a call that found every lane busy.
type waiter struct {
	schema  string
	home    *lane
	granted chan *lane // of capacity one; nil: it has to come again, by itself
	ask     *ask       // nil: it wants the lane for itself
	sent    bool       // with others' reads: it is given the lane to read the answer
}

const (
	// spareAfter is how long a tenant that holds nothing waits before it may use the spare lane.
	spareAfter = 25 * time.Millisecond
	// spareLate is the same where it waits behind reads that usually take a moment: the machine is busy, rather than the lane.
	spareLate = 10 * spareAfter
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
	l, _, err := g.join(ctx, schema, nil, limit)
	return l, err
}

// join is acquire for a read that may travel with others. If sent is true it has done so, and is to be answered by the lane; a nil lane
// means that it has to come again with acquire.
func (g *group) join(ctx context.Context, schema string, a *ask, limit time.Duration) (l *lane, sent bool, err error) {
	g.mu.Lock()
	home := g.lanes[g.home(schema)]
	if home.holder == "" || a == nil || !home.brief || home.waiting.size >= togetherQueue {
		if l := g.idle(home); l != nil {
			g.take(l, schema)
			l.brief = a != nil
			g.mu.Unlock()
			return l, false, nil
		}
	}
	w := &waiter{schema: schema, home: home, granted: make(chan *lane, 1), ask: a}
	home.waiting.add(w)
	g.mu.Unlock()
	l, err = g.wait(ctx, w, limit)
	return l, w.sent, err
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
			g.mu.Lock()
			if w.home.brief && w.home.stuck() {
				w.home.brief = false
			}
			switch {
			case w.sent && w.home.brief:
				g.mu.Unlock()
				patience.Reset(spareAfter)
				continue
			case w.sent:
				g.mu.Unlock()
				w.abandon()
				return nil, nil
			case !w.home.brief || waited > spareLate:
				if l := g.elsewhere(w.schema, w.home); l != nil && w.home.waiting.remove(w) {
					g.take(l, w.schema)
					g.mu.Unlock()
					return l, nil
				}
			}
			g.mu.Unlock()
			if waited >= limit {
				g.exhausted.Add(1)
				return nil, g.leave(w, ErrExhausted)
			}
			patience.Reset(min(spareAfter, limit-waited))
		}
	}
}

// leave gives up waiting. A lane that was granted meanwhile goes to the next.
func (g *group) leave(w *waiter, err error) error {
	g.mu.Lock()
	waiting, sent := w.home.waiting.remove(w), w.sent
	g.mu.Unlock()
	switch {
	case sent:
		w.abandon()
	case !waiting:
		if l := <-w.granted; l != nil {
			l.release()
		}
	}
	return err
}

// idle returns the lane to use now: home, or else another one. The spare lane is for those who have waited. Nobody waits
// while a lane is idle, so nobody is passed over.
func (g *group) idle(home *lane) *lane {
	if home.holder == "" {
		return home
	}
	for _, l := range g.regular() {
		if l.holder == "" {
			return l
		}
	}
	return nil
}

// elsewhere returns the lane for who has waited for home: any that is idle, or the spare one for who holds none.
func (g *group) elsewhere(schema string, home *lane) *lane {
	if l := g.idle(home); l != nil {
		return l
	}
	if spare := g.lanes[len(g.lanes)-1]; spare.holder == "" && g.held[schema] == 0 {
		return spare
	}
	return nil
}

func (g *group) regular() []*lane { return g.lanes[:len(g.lanes)-1] }

func (g *group) take(l *lane, schema string) {
	l.holder = schema
	g.held[schema]++
}

// quick says whether a statement is known to take a moment only, even if it has to be parsed first.
func (g *group) quick(key statementKey) bool {
	d := g.known.get(key)
	return d != nil && d.took.usual() <= togetherLonger
}

// linger says that the lane is held for more than a moment.
func (l *lane) linger() {
	l.group.mu.Lock()
	l.brief = false
	l.group.mu.Unlock()
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
	l.holder, l.brief = "", false
	if l.spare {
		return // whoever has waited long enough takes it
	}
	w := l.waiting.next()
	for _, other := range g.regular() {
		if w == nil && !other.brief { // there they wait for a moment, and are better off at home
			w = other.waiting.next()
		}
	}
	if w != nil {
		g.take(l, w.schema)
		l.brief = w.ask != nil
		w.granted <- l
	}
}

// queue is who waits, tenant by tenant: each turn goes to the tenant that has waited for its turn the longest.
type queue struct {
	size  int
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
	q.size++
}

func (q *queue) next() *waiter {
	if len(q.turns) == 0 {
		return nil
	}
	schema := q.turns[0]
	q.turns = q.turns[1:]
	w := q.of[schema][0]
	q.size--
	if rest := q.of[schema][1:]; len(rest) > 0 {
		q.of[schema] = rest
		q.turns = append(q.turns, schema)
	} else {
		delete(q.of, schema)
	}
	return w
}

// together takes up to most of those whose reads may travel together, in turn.
func (q *queue) together(most int) []*waiter {
	var taken []*waiter
	for i := 0; i < len(q.turns) && len(taken) < most; {
		schema := q.turns[i]
		w := q.of[schema][0]
		if w.ask == nil {
			i++
			continue
		}
		w.sent = true
		q.size--
		taken = append(taken, w)
		q.turns = slices.Delete(q.turns, i, i+1)
		if rest := q.of[schema][1:]; len(rest) > 0 {
			q.of[schema] = rest
			q.turns = append(q.turns, schema)
		} else {
			delete(q.of, schema)
		}
	}
	return taken
}

// remove reports whether w was still waiting.
func (q *queue) remove(w *waiter) bool {
	all := q.of[w.schema]
	for i, other := range all {
		if other != w {
			continue
		}
		q.size--
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
