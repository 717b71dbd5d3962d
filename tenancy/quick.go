package tenancy

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Most statements are small and known to their connection: bind and execute, of enter and then of the statement, is all there
// is to send. They are written as protocol messages, since pgconn's Pipeline, which serves the rest, keeps books that such a
// statement does not need; they cost a third of the client's time for a read.

// quickLimit bounds what is written without reading: it fits into the socket's buffers, so the server, which has nothing to say
// before it has read it all, cannot be in the way of it.
const quickLimit = 8 << 10

// isQuick says whether the statement can be sent by exchange.
func (c *conn) isQuick(cl *call) bool {
	if !c.named || cl.stmt == nil || cl.parse || len(c.retired) > 0 {
		return false
	}
	if c.tx != nil && !c.tx.begun && c.fixed[c.tx.begin] == nil {
		return false
	}
	size := 4 * len(c.build.ParamValues)
	for _, v := range c.build.ParamValues {
		size += len(v)
	}
	return size < quickLimit
}

// exchange is send for a statement that isQuick.
func (c *conn) exchange(cl *call) (*rows, error) {
	if c.pg.IsBusy() || c.pg.IsClosed() {
		return nil, driver.ErrBadConn
	}
	f := c.pg.Frontend()
	sent := 0
	if c.tx == nil || !c.tx.begun {
		if c.tx != nil {
			c.tx.begun = true
			c.bind(f, c.fixed[c.tx.begin].Name, nil, nil, nil)
			sent++
		}
		c.enterAs(cl.scope)
		c.bind(f, c.fixed[c.form].Name, c.enter, nil, nil)
		sent++
	}
	c.bind(f, cl.stmt.bound.Name, c.build.ParamValues, c.build.ParamFormats, cl.stmt.formats)
	f.SendSync(&c.syncing)
	c.watch(cl.ctx)
	if err := f.Flush(); err != nil {
		c.unwatch()
		c.broken = fmt.Errorf("send: %w", err)
		if c.tx == nil && pgconn.SafeToRetry(err) {
			return nil, driver.ErrBadConn
		}
		return nil, c.broken
	}
	r := &c.reading
	*r = rows{c: c, ctx: cl.ctx, quick: true, columnTypes: columnTypes{c.types, cl.stmt.description}}
	r.columns, r.decode = cl.stmt.reader(c.types)
	for range sent {
		if err := c.answered(); err != nil {
			_ = c.settle() // the first error is the one that says why
			return nil, refusal(cl.scope, err)
		}
	}
	c.open = r
	if err := r.first(); err != nil {
		return nil, err
	}
	return r, nil
}

// bind queues the execution of a prepared statement.
func (c *conn) bind(f *pgproto3.Frontend, name string, params [][]byte, formats, results []int16) {
	c.binding = pgproto3.Bind{PreparedStatement: name, Parameters: params, ParameterFormatCodes: formats, ResultFormatCodes: results}
	f.SendBind(&c.binding)
	f.SendExecute(&c.executing)
}

// answered reads the answer to a statement whose rows nobody wants.
func (c *conn) answered() error {
	for {
		switch m, err := c.message(); m := m.(type) {
		case nil:
			return err
		case *pgproto3.CommandComplete, *pgproto3.EmptyQueryResponse:
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			c.settled = true
			return errUnexpected
		}
	}
}

// message reads the next message, or returns nil and why there is none.
func (c *conn) message() (pgproto3.BackendMessage, error) {
	m, err := c.pg.ReceiveMessage(context.Background()) // the call's own context is watched all along
	if err != nil {
		c.broken = fmt.Errorf("receive: %w", err)
		return nil, c.broken
	}
	return m, nil
}

// settle reads to the end of the exchange, after which the server is where we believe it to be.
func (c *conn) settle() error {
	defer c.unwatch()
	var first error
	for !c.settled {
		switch m, err := c.message(); m := m.(type) {
		case nil:
			return err
		case *pgproto3.ErrorResponse:
			if first == nil {
				first = pgconn.ErrorResponseToPgError(m)
			}
		case *pgproto3.ReadyForQuery:
			c.settled = true
		}
	}
	if idle := c.pg.TxStatus() == 'I'; idle == (c.tx != nil) && c.broken == nil {
		c.broken = errEnded
	}
	return first
}

// watch has the statement cancelled on the server if ctx ends before unwatch.
func (c *conn) watch(ctx context.Context) {
	c.settled = false
	if ctx.Done() != nil {
		c.watcher.Watch(ctx)
		c.watching = true
	}
}

func (c *conn) unwatch() {
	if c.watching {
		c.watching = false
		c.watcher.Unwatch()
	}
}

// quickRow reads the next row of an exchange; false at the end, or where tag and err say why.
func (r *rows) quickRow() bool {
	for r.err == nil && r.tag.String() == "" {
		switch m, err := r.c.message(); m := m.(type) {
		case nil:
			r.err = err
		case *pgproto3.DataRow:
			r.values = m.Values
			return true
		case *pgproto3.CommandComplete:
			r.tag = pgconn.NewCommandTag(string(m.CommandTag))
		case *pgproto3.ErrorResponse:
			r.err = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			r.c.settled = true
			r.err = errUnexpected
		}
	}
	return false
}

// quickClose reads what is left of an exchange.
func (r *rows) quickClose() error {
	for r.quickRow() { //nolint:revive // nobody wants them
	}
	if r.c.pg.IsClosed() || r.c.broken != nil && r.err != nil {
		r.c.unwatch()
		return r.err
	}
	if err := r.c.settle(); r.err == nil {
		r.err = err
	}
	return r.err
}
