package tenancy

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

type mood string

type spoken string

func (s spoken) String() string { return "spoken " + string(s) }

type level int

// words is a text[], as GORM wants lists to be: it would write a plain slice as (a, b).
type words []string

func (w words) Value() (driver.Value, error) {
	text, err := pgtype.NewMap().Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, []string(w), nil)
	return string(text), err
}

func (w *words) Scan(src any) error {
	return pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.TextFormatCode, []byte(src.(string)), (*[]string)(w))
}

type kitchen struct {
	ID      uuid.UUID `gorm:"type:uuid;primaryKey"`
	Flag    bool
	Small   int16
	Medium  int32
	Large   int64
	Single  float32
	Double  float64
	Amount  string `gorm:"type:numeric(20,4)"`
	Word    string
	Code    string `gorm:"type:varchar(8)"`
	Mood    mood
	Raw     []byte
	Doc     json.RawMessage   `gorm:"type:jsonb"`
	Tags    map[string]string `gorm:"type:jsonb;serializer:json"`
	List    words             `gorm:"type:text[]"`
	IP      pgtype.Text       `gorm:"type:inet"`
	Day     time.Time         `gorm:"type:date"`
	At      time.Time         `gorm:"type:timestamptz"`
	Local   time.Time         `gorm:"type:timestamp"`
	Span    string            `gorm:"type:interval"`
	Maybe   *string
	Never   *time.Time
	Absent  sql.NullInt64
	Deleted gorm.DeletedAt
}

const kitchenDDL = `create type t_0.mood as enum ('good', 'bad'); grant usage on type t_0.mood to public;
create table t_0.kitchens (id uuid primary key, flag bool, small int2, medium int4, large int8, single float4, double float8,
	amount numeric(20,4), word text, code varchar(8), mood t_0.mood, raw bytea, doc jsonb, tags jsonb, list text[], ip inet,
	day date, at timestamptz, local timestamp, span interval, maybe text, never timestamptz, absent int8, deleted timestamptz);
grant select, insert, update, delete on t_0.kitchens to public`

func TestDriverTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	w.do(t, kitchenDDL)
	jakarta := time.FixedZone("WIB", 7*3600)
	at := time.Date(2026, 2, 3, 23, 30, 15, 123456000, jakarta)
	want := kitchen{
		ID: uuid.New(), Flag: true, Small: -3, Medium: 1 << 30, Large: -1 << 62, Single: 0.1, Double: 1e300, Amount: "12345678901234.5600",
		Word: "käse ' \" \\ \n 🧵", Code: "A-1", Mood: "bad", Raw: []byte{0, 1, 0xff, '\\'}, Doc: json.RawMessage(`{"a": [1, null]}`),
		Tags: map[string]string{"k": "v"}, List: words{"a", `b"c`, "d,e"}, IP: pgtype.Text{String: "10.1.2.0/24", Valid: true},
		Day: time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC), At: at.UTC(), Local: time.Date(2026, 2, 3, 23, 30, 15, 0, time.UTC), Span: "1 day 02:00:00",
	}
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run("gorm writes and reads every type, "+name, func(t *testing.T) {
			db, _ := w.open(t, 1, options...)
			for _, round := range []string{"never seen", "described", "prepared"} {
				err := db.Tx(w.as(t, 0), func(ctx context.Context) error {
					row := want
					row.ID = uuid.New()
					row.At = at // written in another zone than it is read in
					must(t, db.Gorm(ctx).Create(&row).Error)
					var got kitchen
					must(t, db.Gorm(ctx).First(&got, "id = ? and at = ? and mood = ?", row.ID, at, want.Mood).Error)
					got.ID = want.ID
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s:\n got %+v\nwant %+v", round, got, want)
					}
					must(t, db.Gorm(ctx).Delete(&row).Error)
					var left int64
					must(t, db.Gorm(ctx).Model(&kitchen{}).Where("word = ?", row.Word).Count(&left).Error)
					if left != 0 {
						t.Errorf("%d rows are not deleted", left)
					}
					return nil
				})
				must(t, err)
			}
		})
	}
}

// Whatever pgx's own database/sql driver returns is what code and libraries expect: ours returns the same, the first time
// (types left to the server), the second (described) and the third (prepared).
func TestDriverValuesAreThoseOfPgx(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	config, err := w.connect(0)
	must(t, err)
	config.RuntimeParams["timezone"] = "UTC"
	theirs := stdlib.OpenDB(*config)
	defer theirs.Close()
	db, _ := w.open(t, 1)
	behind, _ := w.open(t, 1, pooler)

	text, at := "x", time.Date(2026, 2, 3, 4, 5, 6, 789999, time.FixedZone("WIB", 7*3600))
	var noText *string
	for _, tt := range []struct {
		sql  string
		args []any
	}{
		{"select true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 4.50::numeric, 'a', 'b'::varchar(3), 'c'::char(3), null, null::int4", nil},
		{`select '\x00ff'::bytea, '{"a":1}'::json, '{"a":1}'::jsonb, '<a/>'::xml, 'a'::name, 'b'::"char"`, nil},
		{"select '2026-01-02'::date, 'infinity'::date, '2026-01-02 03:04:05.123456'::timestamp, '2026-01-02 03:04:05+07'::timestamptz, 'infinity'::timestamptz", nil},
		{"select '1 day'::interval, '10:11:12'::time, '10.0.0.1'::inet, '10.0.0.0/8'::cidr, '{1,2}'::int4[], '{a,\"b c\"}'::text[], '[1,5)'::int4range", nil},
		{"select gen_random_uuid() is not null, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid, 12::oid, pg_catalog.point(1,2)", nil},
		{"select $1::text, $2::int8, $3::float8, $4::bool, $5::timestamptz, $6::uuid", []any{"a'b", 5, 1.25, true, at, uuid.NameSpaceDNS}},
		{"select $1::timestamp, $2::date, $3::jsonb, $4::numeric, $5::inet, $6::bytea", []any{at, at, `{"k":[1]}`, "1.50", "10.0.0.1", "bytes"}},
		{"select $1::text, $2::text, $3::int4, $4::timestamptz", []any{&text, noText, nil, &at}},
		{"select $1::int4[], $2::text[], $3::jsonb, $4::jsonb, $5::bytea, $6::text", []any{[]int32{1, 2}, []string{"a", "b"}, map[string]int{"a": 1}, []byte(`{"b":2}`), []byte{0, 255}, mood("m")}},
		{"select $1::text, $2::int4, $3::int8, $4::inet", []any{spoken("s"), level(3), sql.NullInt64{Int64: 9, Valid: true}, netip.MustParseAddr("10.0.0.1")}},
		{"select $1::interval, $2::uuid[]", []any{90 * time.Minute, []uuid.UUID{uuid.NameSpaceURL}}},
		{"select 'NaN'::numeric, 'Infinity'::numeric, '-Infinity'::numeric, ('1' || repeat('0', 1000))::numeric + 0.000000001, '-Infinity'::float8, 'Infinity'::float4", nil},
		{"select '-infinity'::timestamptz, '-infinity'::date, 'infinity'::timestamp, '4713-01-01 BC'::date, '294276-12-31 23:59:59.999999'::timestamp, '0001-01-01'::timestamptz", nil},
		{"select '{{1,2},{3,null}}'::int8[], '{}'::text[], '{NULL,\"null\",\"\"}'::text[], '{t,f}'::bool[], '{2026-01-02}'::date[], '{1.5,NaN}'::numeric[], array['a'::bytea]", nil},
		{"select '[2026-01-01,2026-02-01)'::daterange, 'empty'::int8range, '(,)'::numrange, '{[1,3),[5,7)}'::int4multirange, '[\"2026-01-01 00:00:00+00\",)'::tstzrange", nil},
		{"select row(1, 'a,b', null), '1 year 2 mons -3 days 04:05:06.789'::interval, '24:00:00'::time, '10:11:12+07'::timetz, '12.34'::money, b'101', '101'::varbit", nil},
		{"select '::1/64'::inet, 'fe80::/10'::cidr, '08:00:2b:01:02:03'::macaddr, 'a & b'::tsquery, 'a:1 b:2'::tsvector, '(1,2),(3,4)'::box, '$.a'::jsonpath, 'pg_class'::regclass", nil},
		{"select null::int8[], null::jsonb, null::numeric, null::uuid, null::inet, null::timestamptz, null::interval, null::int4range, null::bytea, null::bool, null::text, null::date", nil},
		{"select jsonb 'null', json '  {\"a\" : [1 , 2]}', jsonb '{\"b\":1e400}', jsonb '\"\\u00e9\"'", nil},
		{"show server_encoding", nil},
		{"values (1, 'a'), (2, null)", nil},
		{"select 1 where false", nil},
	} {
		wantNames, wantTypes, want := all(t, tt.sql)(theirs.QueryContext(t.Context(), tt.sql, tt.args...))
		for range 3 {
			for _, ours := range []*DB{db, behind} {
				names, types, got := all(t, tt.sql)(ours.router.QueryContext(w.as(t, 0), tt.sql, tt.args...))
				if !reflect.DeepEqual(names, wantNames) || !reflect.DeepEqual(types, wantTypes) {
					t.Errorf("%s: columns %v %v, want %v %v", tt.sql, names, types, wantNames, wantTypes)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s:\n got %#v\nwant %#v", tt.sql, got, want)
				}
			}
		}
	}
}

// all reads everything, with times in UTC.
func all(t *testing.T, what string) func(*sql.Rows, error) ([]string, []string, [][]any) {
	return func(rows *sql.Rows, err error) (names, types []string, out [][]any) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer rows.Close()
		columns, err := rows.ColumnTypes()
		must(t, err)
		for _, c := range columns {
			names = append(names, c.Name())
			types = append(types, c.DatabaseTypeName()+" "+c.ScanType().String())
		}
		for rows.Next() {
			row := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range row {
				into[i] = &row[i]
			}
			must(t, rows.Scan(into...))
			for i, v := range row {
				if at, ok := v.(time.Time); ok {
					row[i] = at.UTC()
				}
			}
			out = append(out, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return names, types, out
	}
}

func TestDriverReadsAnArgumentAsALiteralWherePgxRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	for range 3 {
		var n int
		must(t, db.Gorm(w.as(t, 0)).Raw("select count(*) from books where title = $1 or id = 3", 5).Scan(&n).Error)
		if n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	}
}

func TestDriverRowsOwnTheirValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	db, _ := w.open(t, 1)
	const query = `select repeat(g::text, 3)::bytea, to_jsonb(g), g::text from generate_series(1, 3) g`
	for range 2 { // text, then binary
		rows, err := db.router.QueryContext(w.as(t, 0), query)
		must(t, err)
		var kept [][]byte
		for rows.Next() {
			var raw, doc any
			var word string
			must(t, rows.Scan(&raw, &doc, &word))
			kept = append(kept, raw.([]byte), doc.([]byte), []byte(word))
		}
		must(t, rows.Close())
		if got := bytes.Join(kept, []byte(" ")); string(got) != "111 1 1 222 2 2 333 3 3" {
			t.Errorf("kept %s", got)
		}
	}
}
