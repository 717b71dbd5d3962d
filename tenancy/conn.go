package tenancy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

var (
	_ driver.Conn               = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
)

// conn is one connection. It belongs to no tenant: each statement or transaction enters its own.
type conn struct {
	pg    *pgconn.PgConn
	types *pgtype.Map
	build pgx.ExtendedQueryBuilder

	named   bool
	fixed   map[string]*pgconn.StatementDescription // the prepared fixedSQL
	stmts   *lru[statementKey, *statement]
	known   *descriptions
	retired []string // names the next pipeline closes
	serial  uint64

	tx     *tx
	open   *rows // a result being read; nothing else can be sent
	broken error // why the connection must not be used again

	tracer Tracer // may be nil

	shared   bool
	enterSQL [4]string
	entering Scope // whose parameters enter holds
	enter    [][]byte
	form     string

	// Of an exchange; kept to be used again, since there is one at a time.
	reading   rows
	binding   pgproto3.Bind
	executing pgproto3.Execute
	syncing   pgproto3.Sync
	watcher   *ctxwatch.ContextWatcher
	watching  bool
	settled   bool // it is over: the server is ready for the next

	returned time.Time // when it last came back to its pool

	served map[string]entry // by schema: each costs the backend memory that it keeps
	limit  int

	// mine is held by whoever uses the connection: a call of database/sql's (pooled is then true) or those whose reads travel together.
	mine   sync.Mutex
	pooled bool

	lane *lane
	held bool // a call that has returned still uses the connection: whoever hands it back releases the lane
}

// PrepareContext sends nothing: statements are prepared with the pipeline that first runs them, as the tenant that does.
func (c *conn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &stmt{c, query}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 1 {
		if h, ok := args[0].Value.(hatch); ok {
			return h(ctx, c)
		}
	}
	r, err := c.run(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if err := r.finish(); err != nil {
		return nil, err
	}
	return driver.RowsAffected(r.tag.RowsAffected()), nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r, err := c.run(ctx, query, args)
	if err != nil {
		return nil, err
	}
	c.held = true
	return r, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	scope, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	if !c.usable() {
		return nil, driver.ErrBadConn
	}
	begin, err := beginSQL(opts)
	if err != nil {
		return nil, err
	}
	c.tx = &tx{c: c, ctx: ctx, scope: scope, begin: begin}
	c.held = true
	return c.tx, nil
}

func beginSQL(opts driver.TxOptions) (string, error) {
	sqlText := "begin"
	switch level := sql.IsolationLevel(opts.Isolation); level {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted, sql.LevelReadCommitted:
		sqlText += " isolation level read committed"
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		sqlText += " isolation level repeatable read"
	case sql.LevelSerializable:
		sqlText += " isolation level serializable"
	default:
		return "", fmt.Errorf("tenancy: PostgreSQL has no isolation level %q", level)
	}
	if opts.ReadOnly {
		sqlText += " read only"
	}
	return sqlText, nil
}

// CheckNamedValue lets every value through: pgx knows more types than database/sql does.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if v.Name != "" {
		return errors.New("tenancy: named arguments are not supported; write $1")
	}
	return nil
}

// IsValid is called when the connection comes back to its pool. It may stay there if it can serve another tenant, and has not
// served so many that its backend's memory is better given back.
func (c *conn) IsValid() bool {
	c.returned = time.Now()
	fit := c.usable() && len(c.served) < c.limit
	if c.pooled {
		c.pooled = false
		c.mine.Unlock()
	}
	c.unhold() // last: whoever gets the lane uses the connection at once
	return fit
}

// unhold releases the lane for a call that kept the connection beyond its return.
func (c *conn) unhold() {
	if c.held && c.lane != nil { // a Listener's has none
		c.held = false
		c.lane.release()
	}
}

// usable says whether the connection may be used for a tenant: nothing open, nothing pending, nothing in doubt.
func (c *conn) usable() bool {
	return c.broken == nil && c.tx == nil && c.open == nil && !c.pg.IsClosed() && c.pg.TxStatus() == 'I'
}

// ResetSession discards a connection that the server has meanwhile closed, before anything is sent on it. One that was in use
// a moment ago is not looked at: that takes a system call, and the moment after looking is as long.
func (c *conn) ResetSession(ctx context.Context) error {
	c.mine.Lock()
	c.pooled = true
	if !c.usable() || time.Since(c.returned) > lookAfter && !alive(ctx, c.pg) {
		return driver.ErrBadConn
	}
	return nil
}

const lookAfter = time.Millisecond

func (c *conn) Close() error {
	if !c.pooled {
		c.mine.Lock() // after the reads that are travelling
		c.pooled = true
	}
	if c.lane != nil {
		c.lane.conn.CompareAndSwap(c, nil)
	}
	c.unhold()
	c.unwatch()
	ctx, cancel := context.WithTimeout(context.Background(), cancelLimit)
	defer cancel()
	return c.pg.Close(ctx)
}

// Prepare and Begin are what database/sql called before there were contexts.
func (c *conn) Prepare(string) (driver.Stmt, error) { return nil, ErrNoTenant }
func (c *conn) Begin() (driver.Tx, error)           { return nil, ErrNoTenant }

// tx is a transaction bound to one Scope. It reaches the server with its first statement.
type tx struct {
	c     *conn
	ctx   context.Context
	scope Scope
	begin string
	begun bool
}

// Commit does nothing if no statement was sent. An error that is not the server's leaves the outcome unknown.
func (t *tx) Commit() error {
	tag, err := t.end("commit")
	if err != nil {
		return err
	}
	if tag == "ROLLBACK" {
		return ErrRolledBack
	}
	return nil
}

func (t *tx) Rollback() error {
	_, err := t.end("rollback")
	return err
}

func (t *tx) end(verb string) (tag string, err error) {
	if t.c.tracer == nil || !t.begun {
		return t.finish(verb)
	}
	end := t.c.tracer.Start(t.ctx, Statement{Scope: t.scope, SQL: verb, InTx: true})
	tag, err = t.finish(verb)
	end.call(Outcome{Err: err})
	return tag, err
}

// finish does not listen to the caller's context: one that ended is why many transactions are rolled back.
func (t *tx) finish(verb string) (tag string, err error) {
	c := t.c
	c.tx = nil
	if !t.begun {
		return "", nil
	}
	if c.broken != nil {
		return "", c.broken
	}
	if c.pg.IsClosed() {
		return "", errLost
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), endLimit)
	defer cancel()
	p := c.pg.StartPipeline(ctx)
	c.sendFixed(p, verb, nil)
	if err := p.Sync(); err != nil {
		return "", fmt.Errorf("%s: %w", verb, err)
	}
	result, err := p.GetResults()
	if err == nil {
		var done pgconn.CommandTag
		done, err = result.(*pgconn.ResultReader).Close()
		tag = done.String()
	}
	if closing := p.Close(); err == nil {
		err = closing
	}
	return tag, err
}

// stmt is database/sql's idea of a prepared statement; ours are kept by the connection, per tenant.
type stmt struct {
	c     *conn
	query string
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.query, args)
}

func (s *stmt) Close() error                               { return nil }
func (s *stmt) NumInput() int                              { return -1 }
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, ErrNoTenant }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, ErrNoTenant }
