package tenancy

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"reflect"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// encode turns args into what the parameters of d expect, as pgx does; and where pgx refuses, because say a number is
// given for a text column, it lets the server read the argument as it would read a literal.
func encode(b *pgx.ExtendedQueryBuilder, types *pgtype.Map, d *description, args []any) error {
	if encodeCommon(b, d.params.ParamOIDs, args) {
		return nil
	}
	err := b.Build(types, d.params, args)
	if err == nil {
		return nil
	}
	literal := make([]any, len(args))
	for i, arg := range args {
		literal[i] = arg
		if text, ok := plainText(arg); ok && text != nil {
			literal[i] = string(text)
		}
	}
	if b.Build(types, d.params, literal) == nil {
		return nil
	}
	return err
}

// encodeCommon reports whether all args are of the kinds that keys and limits are, which pgx takes several attempts at.
func encodeCommon(b *pgx.ExtendedQueryBuilder, oids []uint32, args []any) bool {
	if len(args) != len(oids) {
		return false
	}
	b.ParamValues, b.ParamFormats, b.ResultFormats = b.ParamValues[:0], b.ParamFormats[:0], b.ResultFormats[:0]
	for i, arg := range args {
		var value []byte
		format := int16(pgtype.BinaryFormatCode)
		switch v := arg.(type) {
		case uuid.UUID:
			if oids[i] != pgtype.UUIDOID {
				return false
			}
			value = v[:]
		case string:
			if oids[i] != pgtype.TextOID && oids[i] != pgtype.VarcharOID {
				return false
			}
			value, format = []byte(v), pgtype.TextFormatCode
		case int:
			if oids[i] != pgtype.Int8OID {
				return false
			}
			value = binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(v)) //nolint:gosec // two's complement
		case int64:
			if oids[i] != pgtype.Int8OID {
				return false
			}
			value = binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(v)) //nolint:gosec // two's complement
		case bool:
			if oids[i] != pgtype.BoolOID {
				return false
			}
			value = []byte{0}
			if v {
				value[0] = 1
			}
		default:
			return false
		}
		b.ParamValues, b.ParamFormats = append(b.ParamValues, value), append(b.ParamFormats, format)
	}
	return true
}

// plain returns args as text whose type the server is left to find, if that means the same as encoding them by type. For
// bytes, lists and structures it does not: they look different in a bytea, a jsonb and an array.
func plain(args []any) (texts [][]byte, ok bool) {
	texts = make([][]byte, len(args))
	for i, arg := range args {
		if texts[i], ok = plainText(arg); !ok {
			return nil, false
		}
	}
	return texts, true
}

// plainText returns nil for NULL.
func plainText(arg any) (text []byte, ok bool) {
	switch v := arg.(type) {
	case nil:
		return nil, true
	case string:
		return []byte(v), true
	case uuid.UUID:
		return []byte(v.String()), true
	case time.Time:
		if v.Year() < 1 || v.Year() > 9999 {
			return nil, false
		}
		return v.Truncate(time.Microsecond).AppendFormat(nil, "2006-01-02 15:04:05.999999Z07:00:00"), true
	case driver.Valuer:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
			return nil, false
		}
		value, err := v.Value()
		if err != nil {
			return nil, false
		}
		if _, again := value.(driver.Valuer); again {
			return nil, false
		}
		return plainText(value)
	}
	v := reflect.ValueOf(arg)
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, true
		}
		return plainText(v.Elem().Interface())
	}
	if v.NumMethod() > 0 {
		return nil, false // its methods may say how it wants to be written
	}
	switch v.Kind() {
	case reflect.String:
		return []byte(v.String()), true
	case reflect.Bool:
		return strconv.AppendBool(nil, v.Bool()), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(nil, v.Int(), 10), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(nil, v.Uint(), 10), true
	case reflect.Float32, reflect.Float64:
		return strconv.AppendFloat(nil, v.Float(), 'g', -1, v.Type().Bits()), true
	}
	return nil, false
}

// resultFormat asks for binary where database/sql has a type for it, and for text elsewhere, as pgx's stdlib does.
func resultFormat(oid uint32) int16 {
	switch oid {
	case pgtype.BoolOID, pgtype.ByteaOID, pgtype.CIDOID, pgtype.DateOID, pgtype.Float4OID, pgtype.Float8OID, pgtype.Int2OID,
		pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.XIDOID:
		return pgtype.BinaryFormatCode
	}
	return pgtype.TextFormatCode
}

// decoder turns one column's bytes, never NULL, into a value of its own: src is overwritten by the next row.
type decoder func(src []byte) (driver.Value, error)

func decoderFor(types *pgtype.Map, oid uint32, format int16) decoder {
	switch oid {
	case pgtype.Int8OID:
		if format == pgtype.BinaryFormatCode {
			return func(src []byte) (driver.Value, error) { return int64(binary.BigEndian.Uint64(src)), nil }
		}
		return scanned(types, oid, format, func(v int64) (driver.Value, error) { return v, nil })
	case pgtype.Int2OID, pgtype.Int4OID:
		return scanned(types, oid, format, func(v int64) (driver.Value, error) { return v, nil })
	case pgtype.BoolOID:
		return scanned(types, oid, format, func(v bool) (driver.Value, error) { return v, nil })
	case pgtype.Float4OID:
		return scanned(types, oid, format, func(v float32) (driver.Value, error) { return float64(v), nil })
	case pgtype.Float8OID:
		return scanned(types, oid, format, func(v float64) (driver.Value, error) { return v, nil })
	case pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID:
		return scanned(types, oid, format, func(v pgtype.Uint32) (driver.Value, error) { return v.Value() })
	case pgtype.DateOID:
		return scanned(types, oid, format, func(v pgtype.Date) (driver.Value, error) { return v.Value() })
	case pgtype.TimestampOID:
		return scanned(types, oid, format, func(v pgtype.Timestamp) (driver.Value, error) { return v.Value() })
	case pgtype.TimestamptzOID:
		return scanned(types, oid, format, func(v pgtype.Timestamptz) (driver.Value, error) {
			v.Time = v.Time.UTC() // text and binary would otherwise differ in their location
			return v.Value()
		})
	case pgtype.ByteaOID:
		if format == pgtype.TextFormatCode {
			return scanned(types, oid, format, func(v []byte) (driver.Value, error) { return v, nil })
		}
		return func(src []byte) (driver.Value, error) { return bytes.Clone(src), nil }
	case pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
		return func(src []byte) (driver.Value, error) { return bytes.Clone(src), nil }
	}
	if format == pgtype.TextFormatCode {
		return func(src []byte) (driver.Value, error) { return string(src), nil }
	}
	return scanned(types, oid, format, func(v string) (driver.Value, error) { return v, nil })
}

func scanned[T any](types *pgtype.Map, oid uint32, format int16, value func(T) (driver.Value, error)) decoder {
	dst := new(T)
	plan := types.PlanScan(oid, format, dst)
	return func(src []byte) (driver.Value, error) {
		*dst = *new(T) // nothing of the last row may stay, nor be written over
		if err := plan.Scan(src, dst); err != nil {
			return nil, err
		}
		return value(*dst)
	}
}
