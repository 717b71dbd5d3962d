package tenancy

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows reads a result as it arrives. The pipeline stays open, and the connection busy, until the last row or Close.
type rows struct {
	c        *conn
	ctx      context.Context
	pipeline *pgconn.Pipeline
	reader   *pgconn.ResultReader
	quick    bool     // sent by exchange: there is no pipeline
	values   [][]byte // of the row that was read last

	columnTypes
	columns []string
	decode  []decoder

	peeked bool // a row was read that Next has not returned yet
	done   bool
	tag    pgconn.CommandTag
	err    error
	ended  func(rows int64, err error) // tells the Tracer; nil if there is none
}

func (r *rows) describe(d *description, formats []int16) {
	r.columnTypes = columnTypes{r.c.types, d}
	r.columns, r.decode = columnsOf(r.c.types, d.Fields, formats)
}

// first reads ahead to the first row, or to the end if there is none: a statement that fails does so before its rows are
// handed out, and one that returns none is over with its pipeline.
func (r *rows) first() error {
	if r.next() {
		r.peeked = true
		return nil
	}
	return r.finish()
}

func (r *rows) next() bool {
	if r.quick {
		return r.quickRow()
	}
	if r.reader.NextRow() {
		r.values = r.reader.Values()
		return true
	}
	return false
}

// Next reads the next row. Only when the server has ended the transaction of a single statement does it say io.EOF: a
// deferred constraint fails after the last row.
func (r *rows) Next(dest []driver.Value) error {
	if r.done || !r.peeked && !r.next() {
		if err := r.finish(); err != nil {
			return err
		}
		return io.EOF
	}
	r.peeked = false
	values := r.values
	if len(values) != len(r.decode) {
		return fmt.Errorf("tenancy: %d columns were described and %d arrived", len(r.decode), len(values))
	}
	for i, src := range values {
		if src == nil {
			dest[i] = nil
			continue
		}
		value, err := r.decode[i](src)
		if err != nil {
			return fmt.Errorf("read column %s: %w", r.columns[i], err)
		}
		dest[i] = value
	}
	return nil
}

// finish reads the rest and ends the pipeline.
func (r *rows) finish() error {
	if r.done {
		return r.err
	}
	r.done = true
	r.c.open = nil
	if r.quick {
		r.err = r.quickClose()
	} else {
		r.tag, r.err = r.reader.Close()
		if err := r.c.finish(r.pipeline); r.err == nil {
			r.err = err
		}
	}
	r.err = r.c.explain(r.ctx, r.err)
	if r.ended != nil {
		r.ended(r.tag.RowsAffected(), r.err)
	}
	return r.err
}

// Columns returns the names of the columns, which are the caller's: GORM may put others in their places.
func (r *rows) Columns() []string { return slices.Clone(r.columns) }

// Close discards the rows that were not read.
func (r *rows) Close() error { return r.finish() }

// columnTypes tells database/sql of the columns.
type columnTypes struct {
	types *pgtype.Map
	*description
}

// ColumnTypeDatabaseTypeName returns PostgreSQL's name of the type, or its oid.
func (r columnTypes) ColumnTypeDatabaseTypeName(i int) string {
	if t, ok := r.types.TypeForOID(r.Fields[i].DataTypeOID); ok {
		return strings.ToUpper(t.Name)
	}
	return strconv.FormatUint(uint64(r.Fields[i].DataTypeOID), 10)
}

const varHeaderSize = 4 // PostgreSQL counts it in a type's modifier

// ColumnTypeLength returns the declared length of texts and bytes.
func (r columnTypes) ColumnTypeLength(i int) (int64, bool) {
	switch field := r.Fields[i]; field.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		if field.TypeModifier < varHeaderSize {
			return math.MaxInt64, true
		}
		return int64(field.TypeModifier - varHeaderSize), true
	case pgtype.VarbitOID:
		return int64(field.TypeModifier), true
	}
	return 0, false
}

// ColumnTypePrecisionScale returns those of a numeric that declares them.
func (r columnTypes) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	field := r.Fields[i]
	if field.DataTypeOID != pgtype.NumericOID || field.TypeModifier < varHeaderSize {
		return 0, 0, false
	}
	modifier := field.TypeModifier - varHeaderSize
	return int64(modifier>>16) & 0xffff, int64(modifier) & 0xffff, true
}

// ColumnTypeScanType returns a Go type that holds the column's values.
func (r columnTypes) ColumnTypeScanType(i int) reflect.Type {
	switch r.Fields[i].DataTypeOID {
	case pgtype.Float8OID, pgtype.NumericOID:
		return reflect.TypeFor[float64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Int8OID:
		return reflect.TypeFor[int64]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	case pgtype.ByteaOID:
		return reflect.TypeFor[[]byte]()
	}
	return reflect.TypeFor[string]()
}
