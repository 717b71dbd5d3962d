package tenancy

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
)

// find is GORM's callback for queries, for a result that has arrived as a whole: GORM reads it as it would read sql.Rows, which
// cost as much as the rest of the driver.
func (r *router) find(db *gorm.DB) {
	if db.Statement.ConnPool != gorm.ConnPool(r) {
		callbacks.Query(db) // in a transaction
		return
	}
	if db.Error != nil {
		return
	}
	callbacks.BuildQuerySQL(db)
	if db.DryRun || db.Error != nil {
		return
	}
	var rows gorm.Rows
	res, pooled, err := r.ask(db.Statement.Context, db.Statement.SQL.String(), db.Statement.Vars) //nolint:rowserrcheck // gorm.Scan does
	switch {
	case err != nil:
		_ = db.AddError(err)
		return
	case res != nil:
		rows = &direct{result: res, from: r.results}
	default:
		rows = pooled
	}
	defer func() { _ = db.AddError(rows.Close()) }()
	gorm.Scan(rows, db, 0)
	if db.Statement.Result != nil {
		db.Statement.Result.RowsAffected = db.RowsAffected
	}
}

// direct is a result in the shape of sql.Rows. Whatever it has no short way for it leaves to those.
type direct struct {
	*result
	from   delivery
	pooled *sql.Rows // what it was left to
}

// Columns returns the names of the columns, which are the caller's: GORM may put others in their places.
func (d *direct) Columns() ([]string, error) { return d.result.Columns(), nil }

// ColumnTypes returns the types of the columns.
func (d *direct) ColumnTypes() ([]*sql.ColumnType, error) {
	if d.pooled != nil {
		return d.pooled.ColumnTypes()
	}
	rows, err := d.from.rows(&result{columnTypes: d.columnTypes, columns: d.columns})
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // there are none
	types, err := rows.ColumnTypes()
	return types, errors.Join(err, rows.Err())
}

// Next goes on to the next row.
func (d *direct) Next() bool {
	if d.pooled != nil {
		return d.pooled.Next()
	}
	return d.advance()
}

// Err returns what ended the rows before their end.
func (d *direct) Err() error {
	if d.pooled != nil {
		return d.pooled.Err()
	}
	return nil
}

// Close gives the result back.
func (d *direct) Close() error {
	if d.pooled != nil {
		return d.pooled.Close()
	}
	d.free()
	return nil
}

// Scan puts the row's values into dest as sql.Rows does.
func (d *direct) Scan(dest ...any) error {
	if d.pooled == nil {
		if d.assign(dest) {
			return nil
		}
		d.back()
		rows, err := d.from.rows(d.result) //nolint:sqlclosecheck,rowserrcheck // Close and Err ask it
		if err != nil {
			return err
		}
		d.pooled = rows
		if !rows.Next() {
			return rows.Err()
		}
	}
	return d.pooled.Scan(dest...)
}

// assign reports whether it had a short way for every value.
func (d *direct) assign(dest []any) bool {
	if len(dest) != len(d.decode) {
		return false
	}
	at := d.at
	for i, end := range d.ends[d.row : d.row+len(dest)] {
		var src []byte
		if end != null {
			src, at = d.data[at:end:end], end
		}
		if !assign(dest[i], src, end == null, d.Fields[i].DataTypeOID) {
			return false
		}
	}
	return true
}

// assign sets dest, a pointer to what GORM reads a field into, or to the field; what is NULL has no other short way than the first.
// The formats of src are those of resultFormat.
func assign(dest any, src []byte, isNull bool, oid uint32) bool {
	switch d := dest.(type) {
	case **string:
		return assignTo(d, src, isNull, oid, toString)
	case **int:
		return assignTo(d, src, isNull, oid, toInt)
	case **int64:
		return assignTo(d, src, isNull, oid, toInt64)
	case **bool:
		return assignTo(d, src, isNull, oid, toBool)
	case **float64:
		return assignTo(d, src, isNull, oid, toFloat)
	case **time.Time:
		return assignTo(d, src, isNull, oid, toTime)
	case **uuid.UUID:
		return assignTo(d, src, isNull, oid, toUUID)
	}
	if isNull {
		return false
	}
	var ok bool
	switch d := dest.(type) {
	case *string:
		*d, ok = toString(src, oid)
	case *int:
		*d, ok = toInt(src, oid)
	case *int64:
		*d, ok = toInt64(src, oid)
	case *bool:
		*d, ok = toBool(src, oid)
	}
	return ok
}

func assignTo[T any](dest **T, src []byte, isNull bool, oid uint32, read func([]byte, uint32) (T, bool)) bool {
	if isNull {
		*dest = nil
		return true
	}
	v, ok := read(src, oid)
	if ok {
		*dest = &v
	}
	return ok
}

func toString(src []byte, oid uint32) (string, bool) {
	if resultFormat(oid) != pgtype.TextFormatCode {
		return "", false
	}
	return string(src), true
}

func toInt64(src []byte, oid uint32) (int64, bool) {
	switch {
	case oid == pgtype.Int8OID && len(src) == 8:
		return int64(binary.BigEndian.Uint64(src)), true //nolint:gosec // two's complement
	case oid == pgtype.Int4OID && len(src) == 4:
		return int64(int32(binary.BigEndian.Uint32(src))), true //nolint:gosec // two's complement
	case oid == pgtype.Int2OID && len(src) == 2:
		return int64(int16(binary.BigEndian.Uint16(src))), true //nolint:gosec // two's complement
	}
	return 0, false
}

func toInt(src []byte, oid uint32) (int, bool) {
	v, ok := toInt64(src, oid)
	return int(v), ok && int64(int(v)) == v
}

func toBool(src []byte, oid uint32) (value, ok bool) {
	if oid != pgtype.BoolOID || len(src) != 1 {
		return false, false
	}
	return src[0] != 0, true
}

func toFloat(src []byte, oid uint32) (float64, bool) {
	if oid != pgtype.Float8OID || len(src) != 8 {
		return 0, false
	}
	return math.Float64frombits(binary.BigEndian.Uint64(src)), true
}

// y2k is where PostgreSQL begins to count microseconds.
var y2k = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func toTime(src []byte, oid uint32) (time.Time, bool) {
	if oid != pgtype.TimestamptzOID && oid != pgtype.TimestampOID || len(src) != 8 {
		return time.Time{}, false
	}
	micros := int64(binary.BigEndian.Uint64(src)) //nolint:gosec // two's complement
	if micros == math.MaxInt64 || micros == math.MinInt64 || micros > math.MaxInt64-y2k {
		return time.Time{}, false // infinite
	}
	return time.UnixMicro(micros + y2k).UTC(), true
}

func toUUID(src []byte, oid uint32) (uuid.UUID, bool) {
	if oid != pgtype.UUIDOID || len(src) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.ParseBytes(src)
	return id, err == nil
}

// ask makes a query, and once more if its tenant had moved. It returns a result, or rows that are still to be read.
func (r *router) ask(ctx context.Context, query string, args []any) (*result, *sql.Rows, error) {
	res, rows, err := r.askOnce(ctx, query, args)
	if err != nil {
		if ctx, err = r.again(ctx, err); err == nil {
			return r.askOnce(ctx, query, args)
		}
	}
	return res, rows, err
}

func (r *router) askOnce(ctx context.Context, query string, args []any) (*result, *sql.Rows, error) {
	res, l, ctx, err := r.read(ctx, query, args)
	if err != nil || res != nil {
		return res, nil, err
	}
	rows, err := l.db.QueryContext(ctx, query, args...)
	if err != nil {
		l.release()
		return nil, nil, err
	}
	return nil, rows, nil // the driver releases the lane when the connection comes back
}
