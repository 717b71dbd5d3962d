package tenancy

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// copyChunk is how many bytes of rows are collected before they are sent.
const copyChunk = 1 << 20

// CopyFrom inserts rows into a table of ctx's tenant by COPY, the fastest way there is, and returns how many. table and
// columns are names, not SQL: they are quoted, and table is looked for in the tenant's schema alone. A value may be
// whatever an argument of a query may be.
//
// It joins the Tx of ctx, or else has one of its own. If anything fails, a row, rows itself or ctx, that transaction can only
// be rolled back (or to a savepoint). Rows are encoded and sent a MiB at a time, and between that rows may use the same
// transaction. It takes one round trip for each of these, and one before the first that asks for the columns' types,
// unless this process knows them and the transaction has begun.
func (db *DB) CopyFrom(ctx context.Context, table string, columns []string, rows iter.Seq2[[]any, error]) (n int64, err error) {
	if !db.inTx(ctx) {
		err = db.Tx(ctx, func(ctx context.Context) error {
			n, err = db.CopyFrom(ctx, table, columns, rows)
			return err
		})
		if err != nil {
			return 0, err
		}
		return n, nil
	}
	quoted := make([]string, len(columns))
	for i, column := range columns {
		quoted[i] = pgx.Identifier{column}.Sanitize()
	}
	if len(columns) == 0 {
		return 0, errors.New("tenancy: CopyFrom needs columns")
	}
	in := &copyIn{db: db, columns: columns, text: make([]byte, 0, 64)}
	list, into := strings.Join(quoted, ", "), pgx.Identifier{table}.Sanitize()
	in.describe = "select " + list + " from " + into
	in.sql = "copy " + into + " (" + list + ") from stdin"
	defer func() {
		if !in.whole { // also when rows panics
			in.abort(ctx)
		}
	}()
	if n, err = in.run(ctx, rows); err != nil {
		return 0, fmt.Errorf("copy into %s: %w", table, err)
	}
	in.whole = true
	return n, nil
}

// copyIn is a CopyFrom on its way.
type copyIn struct {
	db            *DB
	columns       []string
	describe, sql string
	types         *pgtype.Map
	oids          []uint32
	buf, text     []byte
	rows, copied  int64
	whole         bool
}

func (in *copyIn) run(ctx context.Context, rows iter.Seq2[[]any, error]) (int64, error) {
	if _, err := in.db.through(ctx, in.learn); err != nil {
		return 0, err
	}
	for row, err := range rows {
		if err != nil {
			return 0, fmt.Errorf("row %d: %w", in.rows+1, err)
		}
		if err := in.add(row); err != nil {
			return 0, fmt.Errorf("row %d: %w", in.rows, err)
		}
		if len(in.buf) >= copyChunk {
			if err := in.flush(ctx); err != nil {
				return 0, err
			}
		}
	}
	return in.copied, in.flushed(ctx)
}

// learn asks for the types of the columns, by which values are encoded, unless they are known.
func (in *copyIn) learn(ctx context.Context, c *conn) (driver.Result, error) {
	scope, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	in.types = c.types
	cl := &call{ctx: ctx, scope: scope, key: statementKey{schema: scope.schema, version: scope.version, sql: in.describe}}
	d := c.known.get(cl.key)
	if d == nil {
		if err := c.describe(cl); err != nil {
			return nil, c.explain(ctx, err)
		}
		d = cl.stmt.description
		c.known.put(cl.key, d)
	} else if err := c.ready(cl, ""); err != nil {
		return nil, err // before rows is touched: a tenant that has moved is tried again, and rows may be read only once
	}
	in.oids = in.oids[:0]
	for _, field := range d.Fields {
		in.oids = append(in.oids, field.DataTypeOID)
	}
	return driver.RowsAffected(0), nil
}

// add encodes a row in COPY's text format, which every type can read, also a tenant's own.
func (in *copyIn) add(row []any) error {
	in.rows++
	if len(row) != len(in.columns) {
		return fmt.Errorf("%d values for %d columns", len(row), len(in.columns))
	}
	for i, value := range row {
		if i > 0 {
			in.buf = append(in.buf, '\t')
		}
		text, err := in.types.Encode(in.oids[i], pgtype.TextFormatCode, value, in.text[:0]) // nil is NULL, so the buffer is not
		if err != nil {
			plain, ok := plainText(value)
			if !ok {
				return fmt.Errorf("column %s: %w", in.columns[i], err)
			}
			text = plain
		} else if text != nil {
			in.text = text
		}
		in.buf = appendCopyText(in.buf, text)
	}
	in.buf = append(in.buf, '\n')
	return nil
}

func appendCopyText(buf, text []byte) []byte {
	if text == nil {
		return append(buf, `\N`...)
	}
	for _, b := range text {
		switch b {
		case '\\':
			buf = append(buf, '\\', '\\')
		case '\t':
			buf = append(buf, '\\', 't')
		case '\n':
			buf = append(buf, '\\', 'n')
		case '\r':
			buf = append(buf, '\\', 'r')
		default:
			buf = append(buf, b)
		}
	}
	return buf
}

// flushed sends what is left. Where there was not a row, there is nothing to send.
func (in *copyIn) flushed(ctx context.Context) error {
	if len(in.buf) == 0 {
		return nil
	}
	return in.flush(ctx)
}

func (in *copyIn) flush(ctx context.Context) error {
	n, err := in.db.through(ctx, copyHatch(in.sql, bytes.NewReader(in.buf)))
	in.buf, in.copied = in.buf[:0], in.copied+n
	if err != nil {
		in.db.forgetTypes(ctx, in.describe)
	}
	return err
}

// forgetTypes has the next CopyFrom ask again: a migration may be why this one failed.
func (db *DB) forgetTypes(ctx context.Context, describe string) {
	_, _ = db.through(context.WithoutCancel(ctx), func(ctx context.Context, c *conn) (driver.Result, error) {
		if scope, err := Current(ctx); err == nil {
			c.known.forget(statementKey{schema: scope.schema, version: scope.version, sql: describe})
		}
		return driver.RowsAffected(0), nil
	})
}

// abort has the server fail the transaction, as it does when a statement fails: part of the rows may have been sent.
func (in *copyIn) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	_, _ = in.db.through(ctx, func(ctx context.Context, c *conn) (driver.Result, error) {
		if c.pg.TxStatus() == 'E' {
			return driver.RowsAffected(0), nil
		}
		return copyHatch(in.sql, failingReader{})(ctx, c)
	})
}

// failingReader's text goes to the server's log.
type failingReader struct{}

func (failingReader) Read([]byte) (int, error) {
	return 0, errors.New("not all rows could be read")
}

// copyHatch sends what r has. In a transaction that has failed it says so (25P02).
func copyHatch(sql string, r io.Reader) hatch {
	return func(ctx context.Context, c *conn) (driver.Result, error) {
		scope, err := c.admit(ctx)
		if err != nil {
			return nil, err
		}
		n, err := c.traceHatch(ctx, scope, sql, func() (int64, error) {
			if err := c.ready(&call{ctx: ctx, scope: scope}, ""); err != nil {
				return 0, err
			}
			tag, err := c.pg.CopyFrom(ctx, r, sql)
			return tag.RowsAffected(), c.copied(ctx, err)
		})
		return driver.RowsAffected(n), err
	}
}

// ready begins and enters, if that is still to do, and has the server read check, if there is any: as one statement, or not
// at all.
func (c *conn) ready(cl *call, check string) error {
	if c.tx.begun && check == "" {
		return nil
	}
	p, sent, err := c.start(cl)
	if err != nil {
		return err
	}
	if check != "" {
		p.SendPrepare("", check, nil)
	}
	if err := c.sync(p); err != nil {
		return err
	}
	if err = c.entered(cl, p, sent); err == nil && check != "" {
		_, err = p.GetResults()
	}
	if closing := c.finish(p); err == nil {
		err = closing
	}
	return c.explain(cl.ctx, err)
}

// copied looks after a COPY, which is no pipeline, at where the server is.
func (c *conn) copied(ctx context.Context, err error) error {
	if !c.pg.IsClosed() && c.pg.TxStatus() == 'I' && c.broken == nil {
		c.broken = errEnded
	}
	return c.explain(ctx, err)
}

// CopyTo writes the rows of a query of ctx's tenant to w as CSV (RFC 4180, with a line of the columns' names), and returns how
// many. The query takes no arguments: never write a value into it. It joins the Tx of ctx, or else has one of its own, and
// holds its connection for as long as w takes; w must not use that transaction. What was written before an error
// stays written. If w fails the query is cancelled, and the transaction can only be rolled back.
func (db *DB) CopyTo(ctx context.Context, query string, w io.Writer) (n int64, err error) {
	if !db.inTx(ctx) {
		err = db.Tx(ctx, func(ctx context.Context) error {
			n, err = db.CopyTo(ctx, query, w)
			return err
		})
		return n, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &copyOut{w: w, cancel: cancel}
	n, err = db.through(ctx, out.hatch(query))
	switch {
	case out.panicked != nil:
		panic(out.panicked)
	case out.err != nil:
		return 0, fmt.Errorf("copy out: %w", out.err)
	case err != nil:
		return 0, fmt.Errorf("copy out: %w", err)
	}
	return n, nil
}

// copyOut keeps w's failures from the connection, which would have to be closed.
type copyOut struct {
	w        io.Writer
	cancel   func()
	err      error
	panicked any
}

func (out *copyOut) hatch(query string) hatch {
	return func(ctx context.Context, c *conn) (driver.Result, error) {
		scope, err := c.admit(ctx)
		if err != nil {
			return nil, err
		}
		if err := refuse(query); err != nil {
			return nil, err
		}
		sql := "copy (" + query + "\n) to stdout (format csv, header)"
		n, err := c.traceHatch(ctx, scope, sql, func() (int64, error) {
			cl := &call{ctx: ctx, scope: scope, key: statementKey{schema: scope.schema, version: scope.version, sql: query}}
			// COPY goes where several statements may stand in one string, so that the query has to be one by itself first.
			check := query
			if c.known.get(cl.key) != nil {
				check = ""
			}
			if err := c.ready(cl, check); err != nil {
				return 0, err
			}
			tag, err := c.pg.CopyTo(ctx, out, sql)
			return tag.RowsAffected(), c.copied(ctx, err)
		})
		return driver.RowsAffected(n), err
	}
}

// Write never fails: after w has, it drops what still comes.
func (out *copyOut) Write(b []byte) (int, error) {
	if out.err == nil && out.panicked == nil {
		out.write(b)
	}
	return len(b), nil
}

func (out *copyOut) write(b []byte) {
	defer func() {
		if out.panicked = recover(); out.panicked != nil || out.err != nil {
			out.cancel()
		}
	}()
	_, out.err = out.w.Write(b)
}
