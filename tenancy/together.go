package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Reads that wait for the same lane travel together. Whoever gets the lane writes its own statement and those of the others in
// one go, each with its own entry and its own Sync, so that each is a transaction of its own, as alone as if it had travelled
// alone; then each in turn reads its own answer and hands the lane on. (Hendler et al., "Flat combining and the
// synchronization-parallelism tradeoff", SPAA 2010, do so with locks.)
//
// A client and a server on one network spend more on waking each other than on a read by key. Together they are woken once for
// many. And since waiting at home has become cheap, a tenant's reads stay on its home lane, whose backend knows its tables.
//
// A statement that takes long would hold up those behind it, so only such as have been quick travel so, and only reads: a write
// ends with a wait for the disk, which writes on several lanes have in common. One that waits for a lock all the same leaves those
// behind it to find another lane after a moment. They are then executed twice, so only what changes nothing travels (isPure).

const (
	togetherMost   = 16                    // reads in one go
	togetherStuck  = 50 * time.Millisecond // without an answer: those behind it go elsewhere
	togetherQueue  = 6                     // waiting at home: the next goes to another lane, if one is idle
	togetherFew    = 2                     // of them left: those who wait by now are sent
	togetherLonger = 5 * time.Millisecond  // of a statement's usual time: it travels alone
)

// ask is a read that may travel with others.
type ask struct {
	ctx   context.Context
	scope Scope
	key   statementKey
	args  []any

	stmt  *statement // once sent
	size  int        // of its arguments
	next  *waiter    // who reads after it; nil: the last
	ended EndOfStatement

	gone     atomic.Bool // nobody waits for it any more
	answered bool        // by who read before it
	res      *result
	err      error
}

// errAlone is not told to anybody: the read has to be made alone. Nothing came of it, or it was rolled back.
var errAlone = errors.New("tenancy: travels alone")

// travels says whether sql may be a read that is worth sending with others.
func travels(sql string) bool {
	return len(sql) > 6 && (sql[0] == 'S' || sql[0] == 's') && (sql[1] == 'E' || sql[1] == 'e') && (sql[2] == 'L' || sql[2] == 'l') && cacheable(sql)
}

// lead sends a's read and the reads of those who wait at l, if a's is known to l's connection and quick. The lane is then in the
// hands of whoever reads last.
func (l *lane) lead(a *ask) bool {
	c := l.conn.Load()
	if c == nil || !c.mine.TryLock() {
		return false
	}
	if !c.fit(a.ctx) || !c.join(a, encode) {
		c.mine.Unlock()
		return false
	}
	l.last, l.travelling, l.size = a, 1, a.size
	l.turn.Store(int64(time.Since(epoch)))
	l.board(c, true)
	return true
}

// board sends the reads of those who wait, behind those that have been sent; first says that nothing has been.
func (l *lane) board(c *conn, first bool) {
	for _, w := range l.companions(togetherMost - l.travelling) {
		if l.size > quickLimit || !c.join(w.ask, encodeValues) {
			w.granted <- nil
			continue
		}
		l.last.next, l.last = w, w.ask
		l.travelling++
		l.size += w.ask.size
	}
	if err := c.pg.Frontend().Flush(); err != nil {
		c.broken = fmt.Errorf("send: %w", err)
		if first && pgconn.SafeToRetry(err) {
			c.broken = errAlone
		}
	}
}

// companions takes those who may travel along out of the queue.
func (l *lane) companions(most int) []*waiter {
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	if len(l.waiting.turns) == 0 {
		return nil
	}
	return l.waiting.together(most)
}

// fit says whether an idle connection can be used as it is. Otherwise database/sql replaces it.
func (c *conn) fit(ctx context.Context) bool {
	return c.usable() && len(c.served) < c.limit && len(c.retired) == 0 && !c.pg.IsBusy() &&
		(time.Since(c.returned) <= lookAfter || alive(ctx, c.pg))
}

// encodeValues is encode for the arguments of a call that may have returned by now, as one that is cancelled does: only for such as
// nobody can change any more.
func encodeValues(b *pgx.ExtendedQueryBuilder, _ *pgtype.Map, d *description, args []any) error {
	if !encodeCommon(b, d.params.ParamOIDs, args) {
		return errAlone
	}
	return nil
}

// join queues a's read on the connection, if it is prepared there and quick.
func (c *conn) join(a *ask, encode func(*pgx.ExtendedQueryBuilder, *pgtype.Map, *description, []any) error) bool {
	stmt, ok := c.stmts.get(a.key)
	if !ok || !stmt.pure || stmt.took.usual() > togetherLonger || encode(&c.build, c.types, stmt.description, a.args) != nil {
		return false
	}
	a.stmt, a.size = stmt, 4*len(c.build.ParamValues)
	for _, v := range c.build.ParamValues {
		a.size += len(v)
	}
	if a.size >= quickLimit {
		return false
	}
	if c.tracer != nil {
		a.ended = c.tracer.Start(a.ctx, Statement{Scope: a.scope, SQL: a.key.sql})
	}
	f := c.pg.Frontend()
	c.enterAs(a.scope)
	c.bind(f, c.fixed[c.form].Name, c.enter, nil, nil)
	c.bind(f, stmt.bound.Name, c.build.ParamValues, c.build.ParamFormats, stmt.formats)
	f.SendSync(&c.syncing)
	return true
}

// answer reads what came of a's read, and of those behind it as far as their answers have arrived. Then it hands the lane to who
// reads next, or back.
func (l *lane) answer(a *ask) (*result, error) {
	if a.answered {
		return a.res, a.err
	}
	c := l.conn.Load()
	l.collect(c, a)
	for next := a.next; next != nil; {
		w := next
		if c.broken == nil && c.pg.Frontend().ReadBufferLen() == 0 {
			w.granted <- l
			return a.res, a.err
		}
		l.collect(c, w.ask)
		w.ask.answered, next = true, w.ask.next
		w.granted <- l
	}
	c.returned = time.Now()
	c.mine.Unlock()
	l.release()
	return a.res, a.err
}

// collect reads what came of a's read.
func (l *lane) collect(c *conn, a *ask) {
	if l.travelling <= togetherFew && c.broken == nil {
		l.board(c, false) // lest the server run out of work while the answers are read
	}
	l.turn.Store(int64(time.Since(epoch)))
	a.res, a.err = c.answer(a)
	l.travelling--
	l.size -= a.size
	switch {
	case a.err == nil:
		a.ended.call(Outcome{Rows: a.res.rowsAffected})
	case !errors.Is(a.err, errAlone):
		a.ended.call(Outcome{Err: a.err})
	}
}

func (c *conn) answer(a *ask) (*result, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	began := time.Now()
	ctx := a.ctx
	if a.gone.Load() {
		ctx = ended
	}
	c.watch(ctx)
	if err := c.answered(); err != nil {
		_ = c.settle() // the first error is the one that says why
		return nil, refusal(a.scope, err)
	}
	res := c.result(a.stmt)
	err := c.collect(res)
	if settled := c.settle(); err == nil {
		err = settled
	}
	a.stmt.took.add(time.Since(began))
	if err == nil {
		return res, nil
	}
	res.free()
	switch code := SQLState(err); {
	case suspicious(err):
		c.forget(a.key) // perhaps only because what was known of it is out of date: alone, that is found out
		return nil, errAlone
	case code == "57014" && ctx.Err() == nil:
		return nil, errAlone // somebody else's cancellation came late, or it took too long: alone, that is told apart
	}
	return nil, c.explain(ctx, err)
}

// ended is the context of nobody: what still runs is cancelled.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// epoch is when time is counted from, in a clock that is never set.
var epoch = time.Now()

// stuck says whether the read whose turn it is has waited for its answer for so long that others had better not.
func (l *lane) stuck() bool {
	return time.Since(epoch)-time.Duration(l.turn.Load()) > togetherStuck
}

// isPure says whether sql, a query, changes nothing and waits for no row: it calls no function but those known to do neither.
func isPure(sql string) bool {
	in := scanner{sql: sql}
	var last token
	for t := in.next(); t.kind != atEnd; t = in.next() {
		switch {
		case t.word() == "for", t.word() == "into":
			return false
		case t.is("(") && (last.kind == quotedName || last.kind == bareWord && !pureBefore[last.word()]):
			return false
		}
		last = t
	}
	return true
}

// pureBefore are the words that may stand before a parenthesis.
var pureBefore = func() map[string]bool {
	words := make(map[string]bool)
	for _, w := range strings.Fields(`select from where and or not in on as by having limit offset exists any all some between like ilike is then else when
		values using distinct union except intersect filter over within case join array row cast
		count sum min max avg coalesce nullif greatest least lower upper length trim round abs date_trunc now extract concat bool_or bool_and array_agg
		json_agg jsonb_agg jsonb_build_object string_agg`) {
		words[w] = true
	}
	return words
}()

// collect reads the rows of one statement.
func (c *conn) collect(res *result) error {
	for {
		switch m, err := c.message(); m := m.(type) {
		case nil:
			return err
		case *pgproto3.DataRow:
			if len(m.Values) != len(res.decode) {
				return fmt.Errorf("tenancy: %d columns were described and %d arrived", len(res.decode), len(m.Values))
			}
			res.add(m.Values)
		case *pgproto3.CommandComplete:
			res.rowsAffected = pgconn.NewCommandTag(string(m.CommandTag)).RowsAffected()
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			c.settled = true
			return errUnexpected
		}
	}
}

// usualTime is how long a statement usually takes: a moving average, wherever it runs.
type usualTime struct{ ns atomic.Int64 }

const usualWeight = 8

func (u *usualTime) usual() time.Duration { return time.Duration(u.ns.Load()) }

// add loses one of two that come at the same time, which does no harm.
func (u *usualTime) add(d time.Duration) {
	old := u.ns.Load()
	u.ns.Store(old + (int64(d)-old)/usualWeight)
}

// abandon is called for a read that was sent and that nobody waits for any more: somebody has to take its turn to read.
func (w *waiter) abandon() {
	w.ask.gone.Store(true)
	go w.drain()
}

func (w *waiter) drain() {
	if l := <-w.granted; l != nil {
		res, err := l.answer(w.ask)
		if res != nil {
			res.free()
		}
		if errors.Is(err, errAlone) {
			w.ask.ended.call(Outcome{Err: w.ask.ctx.Err()})
		}
	}
}

var results = sync.Pool{New: func() any { return new(result) }}
