package tenancy

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Tracer is told of every statement of a DB: each one of GORM's or of raw SQL, COMMIT and ROLLBACK, and the hatches. BEGIN
// and entering the tenant travel with the first statement and are not told apart.
type Tracer interface {
	// Start is called before anything is sent, and returns what to call at the statement's end, which for a query is when
	// its last row was read or its rows were closed. It may return nil. Both are called while the connection is held, from
	// whatever goroutine uses it: they should be quick, and must not use the database.
	Start(ctx context.Context, s Statement) EndOfStatement
}

// EndOfStatement is called once, at the end of the statement that it was returned for.
type EndOfStatement func(Outcome)

// Statement is what a Tracer is told of a statement. It has no arguments: values are data of the tenant's.
type Statement struct {
	Scope Scope
	SQL   string
	InTx  bool // in a transaction of the caller's, rather than in one of its own
}

// Operation returns the statement's verb in capitals: SELECT, COMMIT.
func (s Statement) Operation() string {
	in := scanner{sql: s.SQL}
	t := in.next()
	for t.is("(") {
		t = in.next()
	}
	return strings.ToUpper(t.word())
}

// Sanitized returns the SQL without its comments, and with ? where strings and numbers are written in it. Parameters ($1) stay.
func (s Statement) Sanitized() string {
	var out strings.Builder
	in := scanner{sql: s.SQL}
	parameter := false
	for end := 0; ; end = in.pos {
		t := in.next()
		if t.kind == atEnd {
			return out.String()
		}
		if start := in.pos - t.length; start > end && out.Len() > 0 {
			out.WriteByte(' ')
		}
		if t.kind == literal && !parameter {
			out.WriteByte('?')
		} else {
			out.WriteString(s.SQL[in.pos-t.length : in.pos])
		}
		parameter = t.is("$")
	}
}

// Outcome is how a statement ended.
type Outcome struct {
	Rows    int64 // rows returned, or else affected
	Parsed  bool  // the server had to parse it: it was not prepared on this connection
	Retried bool  // it was sent twice, since what was known of it was out of date; see "Prepared statements"
	Err     error // nil, or what the caller gets; SQLState tells PostgreSQL's code
}

// SQLState returns PostgreSQL's code of err, such as 23505, or "" if it is not PostgreSQL's.
func SQLState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

func (end EndOfStatement) call(o Outcome) {
	if end != nil {
		end(o)
	}
}

// begunKey is where a context carries the end of a statement whose beginning was told already, when it was sent with others.
type begunKey struct{}

// traced is execute for someone who listens.
func (c *conn) traced(cl *call, worthwhile bool) (*rows, error) {
	end, begun := cl.ctx.Value(begunKey{}).(EndOfStatement)
	if begun {
		cl.retried = true
	} else {
		end = c.tracer.Start(cl.ctx, Statement{Scope: cl.scope, SQL: cl.key.sql, InTx: c.tx != nil})
	}
	r, err := c.execute(cl, worthwhile)
	ended := func(rows int64, err error) {
		end.call(Outcome{Rows: rows, Parsed: cl.parsed, Retried: cl.retried, Err: err})
	}
	switch {
	case err != nil:
		ended(0, err)
	case r.done:
		ended(r.tag.RowsAffected(), nil)
	default:
		r.ended = ended
	}
	return r, err
}

// traceHatch tells the Tracer of something that is no ordinary statement.
func (c *conn) traceHatch(ctx context.Context, scope Scope, sql string, do func() (int64, error)) (int64, error) {
	if c.tracer == nil {
		return do()
	}
	end := c.tracer.Start(ctx, Statement{Scope: scope, SQL: sql, InTx: c.tx != nil})
	n, err := do()
	end.call(Outcome{Rows: n, Parsed: true, Err: err})
	return n, err
}
