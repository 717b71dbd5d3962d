package tenancy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
)

// result is all that came of a read, away from the connection it came by.
type result struct {
	columnTypes
	columns []string
	decode  []decoder

	data         []byte // the values, one after another
	ends         []int  // where each ends in data; null: it is NULL
	row, at      int    // the next value, and where it begins
	passed       bool   // they are still the row's that was advanced to
	rowsAffected int64
}

const null = -1

// result returns an empty one for the rows of s.
func (c *conn) result(s *statement) *result {
	res := results.Get().(*result)
	decode, ok := s.decoders.Get().([]decoder)
	if !ok {
		_, decode = columnsOf(c.types, s.Fields, s.formats)
	}
	s.reader(c.types)
	*res = result{columnTypes: columnTypes{c.types, s.description}, columns: s.columns, decode: decode, data: res.data[:0], ends: res.ends[:0]}
	return res
}

func (r *result) add(values [][]byte) {
	for _, v := range values {
		if v == nil {
			r.ends = append(r.ends, null)
			continue
		}
		r.data = append(r.data, v...)
		r.ends = append(r.ends, len(r.data))
	}
}

// keptBytes bounds the memory that a result keeps for the next one.
const keptBytes = 64 << 10

func (r *result) free() {
	if r.description == nil {
		return
	}
	if r.decode != nil { // one that tells of its columns alone has none
		r.decoders.Put(r.decode) //nolint:staticcheck // a slice's header is small beside what is saved
	}
	r.columnTypes, r.columns, r.decode = columnTypes{}, nil, nil
	if cap(r.data) <= keptBytes {
		results.Put(r)
	}
}

// Columns returns the names of the columns, which are the caller's: GORM may put others in their places.
func (r *result) Columns() []string { return slices.Clone(r.columns) }

// advance goes on to the next row, whose values are then at row; Next after back returns that row again.
func (r *result) advance() bool {
	if r.passed {
		for _, end := range r.ends[r.row : r.row+len(r.decode)] {
			if end != null {
				r.at = end
			}
		}
		r.row += len(r.decode)
	}
	r.passed = r.row < len(r.ends)
	return r.passed
}

func (r *result) back() { r.passed = false }

// Next decodes the next row.
func (r *result) Next(dest []driver.Value) error {
	if r.row == len(r.ends) {
		return io.EOF
	}
	for i := range r.decode {
		end := r.ends[r.row]
		r.row++
		if end == null {
			dest[i] = nil
			continue
		}
		value, err := r.decode[i](r.data[r.at:end])
		if err != nil {
			return fmt.Errorf("read column %s: %w", r.columns[i], err)
		}
		dest[i], r.at = value, end
	}
	return nil
}

// Close gives the result back.
func (r *result) Close() error {
	r.free()
	return nil
}

// delivery is a database/sql that connects nowhere: what it is asked for, its context carries. Only database/sql can make the
// sql.Rows and sql.Row that callers expect.
type delivery struct{ db *sql.DB }

// deliveries is how many idle connections, which are nothing, are kept to be used again.
const deliveries = 256

func newDelivery() delivery {
	db := sql.OpenDB(deliverer{})
	db.SetMaxIdleConns(deliveries)
	return delivery{db}
}

func (d delivery) rows(res *result) (*sql.Rows, error) {
	return d.db.QueryContext(carrying{context.Background(), res}, "")
}

func (d delivery) row(res *result) *sql.Row {
	return d.db.QueryRowContext(carrying{context.Background(), res}, "")
}

func (d delivery) refusal(err error) *sql.Row {
	return d.db.QueryRowContext(carrying{context.Background(), err}, "")
}

// carrying is a context that never ends, since nobody is waited for, and carries a *result or an error.
type carrying struct {
	context.Context
	load any
}

type loadKey struct{}

// Value returns the load.
func (c carrying) Value(key any) any {
	if key == (loadKey{}) {
		return c.load
	}
	return nil
}

type deliverer struct{}

// Connect connects nowhere.
func (deliverer) Connect(context.Context) (driver.Conn, error) { return deliverer{}, nil }

// Driver names no driver.
func (deliverer) Driver() driver.Driver { return noDriver{} }

// QueryContext returns what ctx carries.
func (deliverer) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	switch load := ctx.Value(loadKey{}).(type) {
	case *result:
		return load, nil
	case error:
		return nil, load
	}
	return nil, errNothing
}

var errNothing = errors.New("tenancy: there is nothing to deliver")

// Prepare and Begin are never called; Close has nothing to do.
func (deliverer) Prepare(string) (driver.Stmt, error) { return nil, errNothing }
func (deliverer) Begin() (driver.Tx, error)           { return nil, errNothing }
func (deliverer) Close() error                        { return nil }
