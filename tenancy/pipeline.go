package tenancy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// call is one statement on its way.
type call struct {
	ctx   context.Context
	scope Scope
	key   statementKey
	args  []any
	keep  bool // the statement gets a name on this connection

	trusted bool // the SQL is this package's own: not refused, and not remembered, lest it open the way to the same SQL of others

	stmt    *statement // nil: the server is left to find the types
	parse   bool       // it has to be parsed on this connection first
	assumed bool       // stmt was described earlier, or to another connection: it may be out of date
	texts   [][]byte   // the arguments, where stmt is nil

	parsed, retried bool // for a Tracer
}

// run sends a statement, entering its tenant first, and returns its rows.
func (c *conn) run(ctx context.Context, sql string, named []driver.NamedValue) (*rows, error) {
	scope, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	return c.runAs(ctx, scope, sql, named, false)
}

func (c *conn) runAs(ctx context.Context, scope Scope, sql string, named []driver.NamedValue, trusted bool) (*rows, error) {
	if len(named) > math.MaxUint16 {
		return nil, fmt.Errorf("tenancy: %d arguments; the protocol carries %d", len(named), math.MaxUint16)
	}
	args := make([]any, len(named))
	for i := range named {
		args[i] = named[i].Value
	}
	worthwhile := !trusted && cacheable(sql)
	cl := &call{ctx: ctx, scope: scope, args: args, keep: c.named && worthwhile, trusted: trusted,
		key: statementKey{schema: scope.schema, version: scope.version, sql: sql}}
	if c.tracer == nil {
		return c.execute(cl, worthwhile)
	}
	return c.traced(cl, worthwhile)
}

func (c *conn) execute(cl *call, worthwhile bool) (*rows, error) {
	if err := c.plan(cl, worthwhile); err != nil {
		return nil, c.explain(cl.ctx, err)
	}
	began := time.Now()
	r, err := c.send(cl)
	if r != nil && r.description != nil {
		r.took.add(time.Since(began))
	}
	if err != nil && cl.assumed && suspicious(err) {
		r, err = c.again(cl, err)
	}
	return r, c.explain(cl.ctx, err)
}

// admit checks, before any I/O, that ctx may use this connection now.
func (c *conn) admit(ctx context.Context) (Scope, error) {
	scope, err := Current(ctx)
	if err != nil {
		return scope, err
	}
	if err := ctx.Err(); err != nil {
		return scope, err
	}
	switch {
	case c.tx == nil && !c.usable():
		return scope, driver.ErrBadConn
	case c.tx != nil && c.tx.scope != scope:
		return scope, ErrTenantMismatch
	case c.open != nil:
		return scope, ErrBusy
	case c.broken != nil:
		return scope, c.broken
	case c.pg.IsClosed():
		return scope, errLost
	}
	return scope, nil
}

// send runs one pipeline: [begin] [enter] [parse] bind execute sync.
func (c *conn) send(cl *call) (*rows, error) {
	if c.isQuick(cl) {
		return c.exchange(cl)
	}
	var name string
	if cl.stmt != nil {
		name = cl.stmt.bound.Name
	} else {
		name = c.newName(cl)
	}
	p, sent, err := c.start(cl)
	if err != nil {
		return nil, err
	}
	cl.parsed = cl.parsed || cl.parse
	switch {
	case cl.stmt == nil:
		p.SendPrepare(name, cl.key.sql, nil)
		p.SendQueryPrepared(name, cl.texts, nil, nil)
	case cl.parse:
		// With its parameter types given, not found again: the arguments are encoded for these.
		p.SendPrepare(name, cl.key.sql, cl.stmt.ParamOIDs)
		fallthrough
	default:
		p.SendQueryStatement(cl.stmt.bound, c.build.ParamValues, c.build.ParamFormats, cl.stmt.formats)
	}
	if err := c.sync(p); err != nil {
		return nil, err
	}
	r, err := c.receive(cl, p, sent, name)
	if err != nil {
		_ = c.finish(p) // drains; the first error is the one that says why
		return nil, err
	}
	return r, nil
}

func (c *conn) receive(cl *call, p *pgconn.Pipeline, sent int, name string) (*rows, error) {
	if err := c.entered(cl, p, sent); err != nil {
		return nil, err
	}
	var fresh *description
	if cl.parse {
		result, err := p.GetResults()
		if err != nil {
			return nil, err
		}
		fresh = newDescription(result.(*pgconn.StatementDescription))
		c.remember(cl, newStatement(name, fresh))
	}
	result, err := p.GetResults()
	if err != nil {
		return nil, err
	}
	r := &rows{c: c, ctx: cl.ctx, pipeline: p, reader: result.(*pgconn.ResultReader)}
	switch {
	case cl.stmt == nil:
		r.describe(fresh, nil)
	case fresh != nil && !fresh.sameColumns(cl.stmt.description):
		// The rows are read as what they are. Its parameters were pinned to what they were, so it is not kept.
		r.describe(fresh, cl.stmt.formats)
		c.forget(cl.key)
		c.known.forget(cl.key)
	case len(cl.stmt.Fields) == 0:
		// Not known before it runs, as with FETCH. Cloned: the reader overwrites its own.
		r.describe(newDescription(&pgconn.StatementDescription{Fields: slices.Clone(r.reader.FieldDescriptions())}), nil)
	default:
		r.columnTypes = columnTypes{c.types, cl.stmt.description}
		r.columns, r.decode = cl.stmt.reader(c.types)
	}
	c.open = r
	return r, r.first()
}

// start opens a pipeline with everything that goes before the statement, and returns how many requests that is.
func (c *conn) start(cl *call) (p *pgconn.Pipeline, sent int, err error) {
	p = c.pg.StartPipeline(cl.ctx)
	if _, err := p.GetResults(); err != nil { // it did not open: nothing was sent, nothing has changed
		switch {
		case cl.ctx.Err() != nil:
			return nil, 0, cl.ctx.Err()
		case c.tx == nil:
			return nil, 0, driver.ErrBadConn
		}
		return nil, 0, err
	}
	for _, name := range c.retired {
		p.SendDeallocate(name)
		sent++
	}
	c.retired = c.retired[:0]
	if c.tx != nil {
		if c.tx.begun {
			return p, sent, nil
		}
		c.tx.begun = true
		c.sendFixed(p, c.tx.begin, nil)
		sent++
	}
	c.enterAs(cl.scope)
	c.sendFixed(p, c.form, c.enter)
	return p, sent + 1, nil
}

// entry is how a tenant is entered.
type entry struct {
	scope  Scope
	params [][]byte
	form   string
}

// enterAs makes ready what enters the tenant.
func (c *conn) enterAs(s Scope) {
	if c.entering == s {
		return
	}
	e, ok := c.served[s.schema]
	if !ok || e.scope != s {
		e = entry{scope: s, params: s.enterParams(c.shared), form: c.enterSQL[s.enterForm()]}
		c.served[s.schema] = e
	}
	c.entering, c.enter, c.form = s, e.params, e.form
}

func (c *conn) sendFixed(p *pgconn.Pipeline, sql string, params [][]byte) {
	if sd, ok := c.fixed[sql]; ok {
		p.SendQueryStatement(sd, params, nil, nil)
		return
	}
	p.SendQueryParams(sql, params, textOIDs[:len(params)], nil, nil)
}

// entered reads the answers to what start sent. No row of the statement is looked at before it returns.
func (c *conn) entered(cl *call, p *pgconn.Pipeline, sent int) error {
	for range sent {
		result, err := p.GetResults()
		if err != nil {
			return refusal(cl.scope, err)
		}
		if reader, ok := result.(*pgconn.ResultReader); ok {
			if _, err := reader.Close(); err != nil {
				return refusal(cl.scope, err)
			}
		}
	}
	return nil
}

// sync sends the pipeline. Only if not a byte of it left may database/sql try another connection.
func (c *conn) sync(p *pgconn.Pipeline) error {
	err := p.Sync()
	if err == nil {
		return nil
	}
	c.broken = fmt.Errorf("send: %w", err)
	_ = p.Close()
	if c.tx == nil && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn
	}
	return c.broken
}

// finish reads what is left of the pipeline, and checks that the server is where we believe it to be.
func (c *conn) finish(p *pgconn.Pipeline) error {
	err := p.Close()
	idle := c.pg.TxStatus() == 'I'
	if !c.pg.IsClosed() && idle == (c.tx != nil) && c.broken == nil {
		c.broken = errEnded
	}
	return err
}

// explain gives an error its final form. PostgreSQL's own stay as they are: GORM looks for them unwrapped.
func (c *conn) explain(ctx context.Context, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case pgErr.Code == "57014" && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), pgErr)
	case pgErr.Code == "25006":
		// A primary that has become a standby says the same, of tenants that may be written.
		if s, err := Current(ctx); err == nil && s.readOnly {
			return IsReadOnly.WithCause(pgErr)
		}
	case pgErr.Code == "26000":
		// Someone ran DEALLOCATE or DISCARD, or a pooler is in between: none of our names can be relied on.
		c.broken = err
		if c.tx == nil {
			return fmt.Errorf("%w: %w", driver.ErrBadConn, err) // nothing was executed
		}
	}
	return err
}
