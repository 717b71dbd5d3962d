package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
)

// What an argument becomes is the same whether its type is found by the server, was described or is prepared.
func TestDriverArguments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	w.do(t, `create type t_0.mood as enum ('good', 'bad'); create domain t_0.code as text check (value ~ '^[A-Z]+$'); create type t_0.pair as (n int, word text);
		grant usage on type t_0.mood, t_0.code, t_0.pair to public`)
	at := time.Date(2026, 2, 3, 4, 5, 6, 123456789, time.FixedZone("WIB", 7*3600))
	huge := strings.Repeat("käse 🧵", 1<<18)
	n, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	tests := []struct {
		as   string // its type
		arg  any
		want string // as text; a digest where it is long
	}{
		{"int2", int16(math.MinInt16), "-32768"}, {"int8", uint32(math.MaxUint32), "4294967295"}, {"int8", int64(math.MinInt64), "-9223372036854775808"},
		{"numeric", "NaN", "NaN"}, {"numeric", "Infinity", "Infinity"}, {"numeric", "-Infinity", "-Infinity"}, {"numeric", "1e-1000", "0." + strings.Repeat("0", 999) + "1"},
		{"numeric", pgtype.Numeric{Int: n, Exp: -10, Valid: true}, "12345678901234567890.1234567890"}, {"numeric", pgtype.Numeric{NaN: true, Valid: true}, "NaN"},
		{"numeric", pgtype.Numeric{InfinityModifier: pgtype.NegativeInfinity, Valid: true}, "-Infinity"}, {"numeric", 0.1, "0.1"}, {"numeric", int64(1) << 62, "4611686018427387904"},
		{"float8", math.NaN(), "NaN"}, {"float8", math.Inf(1), "Infinity"}, {"float8", math.Inf(-1), "-Infinity"}, {"float8", math.MaxFloat64, "1.7976931348623157e+308"},
		{"float8", math.SmallestNonzeroFloat64, "5e-324"}, {"float4", float32(0.1), "0.1"},
		{"text", "", ""}, {"text", "it's \\ \"x\" $1 -- /*", "it's \\ \"x\" $1 -- /*"}, {"varchar(3)", "abc", "abc"}, {"text", []byte("bytes"), "bytes"},
		{"bool", true, "true"}, {"bool", sql.NullBool{Bool: false, Valid: true}, "false"},
		{"uuid", uuid.NameSpaceDNS, uuid.NameSpaceDNS.String()}, {"uuid", uuid.NameSpaceDNS.String(), uuid.NameSpaceDNS.String()}, {"uuid[]", []uuid.UUID{uuid.NameSpaceDNS}, "{" + uuid.NameSpaceDNS.String() + "}"},
		{"bytea", []byte{}, `\x`}, {"bytea", []byte{0, 0xff, '\\', '\''}, `\x00ff5c27`},
		{"jsonb", map[string]any{"a": []int{1}, "b": nil}, `{"a": [1], "b": null}`}, {"jsonb", `[1,"x"]`, `[1, "x"]`}, {"jsonb", []byte(`{"k":"v"}`), `{"k": "v"}`}, {"json", `{"a":  1}`, `{"a":  1}`},
		{"text[]", []string{"a", `b"c\`, "d,e", "", "NULL"}, `{a,"b\"c\\","d,e","","NULL"}`}, {"int8[]", []int64{1, -2}, "{1,-2}"}, {"int8[]", []*int64{nil}, "{NULL}"}, {"int4[]", []int32{}, "{}"},
		{"int4[]", [][]int32{{1, 2}, {3, 4}}, "{{1,2},{3,4}}"}, {"text[]", `{a,NULL}`, "{a,NULL}"}, {"timestamptz[]", []time.Time{at}, `{"2026-02-02 21:05:06.123456+00"}`},
		{"timestamptz", at, "2026-02-02 21:05:06.123456+00"}, {"date", at, "2026-02-03"}, {"timestamp", at, "2026-02-03 04:05:06.123456"},
		{"timestamptz", pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, "infinity"}, {"timestamptz", "-infinity", "-infinity"}, {"date", "infinity", "infinity"},
		{"timestamptz", time.Date(-43, 3, 15, 12, 0, 0, 0, time.UTC), "0044-03-15 12:00:00+00 BC"}, {"timestamptz", time.Date(12026, 1, 2, 3, 4, 5, 0, time.UTC), "12026-01-02 03:04:05+00"},
		{"timestamptz", time.Time{}, "0001-01-01 00:00:00+00"},
		{"interval", 90*time.Minute + time.Microsecond, "01:30:00.000001"}, {"interval", "1 mon -2 days", "1 mon -2 days"}, {"interval", pgtype.Interval{Months: 1, Days: 2, Microseconds: 3, Valid: true}, "1 mon 2 days 00:00:00.000003"},
		{"inet", netip.MustParseAddr("10.0.0.1"), "10.0.0.1/32"}, {"cidr", netip.MustParsePrefix("10.0.0.0/8"), "10.0.0.0/8"}, {"inet", "::1", "::1/128"},
		{"int4range", pgtype.Range[int32]{Lower: 1, Upper: 5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, "[1,5)"}, {"tstzrange", "[2026-01-01,)", `["2026-01-01 00:00:00+00",)`},
		{"daterange", "empty", "empty"}, {"int4multirange", "{[1,3),[5,7)}", "{[1,3),[5,7)}"},
		{"mood", mood("bad"), "bad"}, {"mood", "good", "good"}, {"mood[]", "{good,bad}", "{good,bad}"}, {"code", "ABC", "ABC"}, {"pair", `(1,"a,b")`, `(1,"a,b")`}, {"pair", "(,)", "(,)"},
		{"text", huge, ""}, {"bytea", []byte(huge), ""}, {"jsonb", `"` + huge + `"`, ""},
	}
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, 1, options...)
			ctx := w.as(t, 0)
			for _, tt := range tests {
				for round := range 3 {
					var got, digest string
					err := db.router.QueryRowContext(ctx, "select x::text, md5(x::text) from (select $1::"+tt.as+" as x) _", tt.arg).Scan(&got, &digest)
					if tt.want == "" && len(got) > 1<<20 {
						switch tt.as {
						case "bytea":
							if got != fmt.Sprintf(`\x%x`, huge) {
								t.Errorf("a large %s is another", tt.as)
							}
						default:
							if strings.Trim(got, `"`) != huge {
								t.Errorf("a large %s is another", tt.as)
							}
						}
						continue
					}
					if err != nil || got != tt.want {
						t.Errorf("%T %.40v as %s, round %d: %.60q, %v, want %q", tt.arg, tt.arg, tt.as, round, got, err, tt.want)
					}
				}
			}
			t.Run("NULL is NULL, of every type and in every guise", func(t *testing.T) {
				var noText *string
				var noTime *time.Time
				var noID *uuid.UUID
				for _, as := range []string{"int8", "numeric", "float8", "text", "bool", "uuid", "bytea", "jsonb", "text[]", "timestamptz", "date", "interval", "inet", "int4range", "mood", "code", "pair"} {
					for _, null := range []any{nil, noText, noTime, noID, sql.NullString{}, sql.NullInt64{}, pgtype.Text{}, pgtype.Numeric{}} {
						if _, text := null.(pgtype.Numeric); text && as != "numeric" && as != "float8" {
							continue
						}
						for range 3 {
							var is bool
							var value any
							err := db.router.QueryRowContext(ctx, "select x is null and x is not distinct from null, x from (select $1::"+as+" as x) _", null).Scan(&is, &value)
							if err != nil || !is || value != nil {
								t.Errorf("%T as %s: %v %v %v", null, as, is, value, err)
							}
						}
					}
				}
			})
			t.Run("what is no value of the type keeps its SQLSTATE", func(t *testing.T) {
				for as, bad := range map[string]any{"mood": "worse", "uuid": "x", "numeric": "1,5", "jsonb": "{", "inet": "10.0.0.256", "timestamptz": "not a time", "int4range": "[5,1)"} {
					for range 3 {
						_, err := db.router.ExecContext(ctx, "select $1::"+as, bad)
						if err == nil || state(err) != "" && !strings.HasPrefix(state(err), "22") {
							t.Errorf("%v as %s: %v", bad, as, err)
						}
					}
				}
				for range 3 {
					if err := db.Gorm(ctx).Exec("select ?::code", "abc").Error; state(err) != "23514" {
						t.Errorf("a domain's check: %v", err)
					}
					if err := db.Gorm(ctx).Exec("select ?::text", "a\x00b").Error; state(err) != "22021" {
						t.Errorf("a NUL in a text: %v", err)
					}
				}
			})
			if n := wire.conns.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestSavepoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			db, wire := w.open(t, 1, options...)
			ctx := w.as(t, 0)
			stocks := func(ctx context.Context) (found string) {
				t.Helper()
				must(t, db.Gorm(ctx).Raw("select string_agg(stock::text, ' ' order by id) from books").Scan(&found).Error)
				return found
			}
			set := func(tx *gorm.DB, id, stock int) error {
				return tx.Exec("update books set stock = ? where id = ?", stock, id).Error
			}
			defer db.Gorm(ctx).Exec("update books set stock = 0")
			must(t, db.Tx(ctx, func(ctx context.Context) error {
				g := func() *gorm.DB { return db.Gorm(ctx) } // GORM keeps the error of a RollbackTo in its receiver
				must(t, set(g(), 1, 1))
				must(t, g().SavePoint("a").Error)
				must(t, set(g(), 2, 2))
				must(t, g().SavePoint("b").Error)
				must(t, set(g(), 3, 3))
				if err := set(g(), 3, -1); state(err) != "23514" {
					t.Error(err)
				}
				if err := set(g(), 3, 4); state(err) != "25P02" {
					t.Errorf("after an error: %v", err)
				}
				must(t, g().RollbackTo("b").Error)
				if found := stocks(ctx); found != "1 2 0" {
					t.Errorf("back at b: %s", found)
				}
				must(t, g().RollbackTo("a").Error)
				must(t, g().RollbackTo("a").Error) // it is still there
				if found := stocks(ctx); found != "1 0 0" {
					t.Errorf("back at a: %s", found)
				}
				if err := g().Exec("rollback to savepoint b").Error; state(err) != "3B001" { // GORM's own keeps it to itself
					t.Errorf("b went with a: %v", err)
				}
				must(t, g().RollbackTo("a").Error)
				// Three deep, where the middle one fails.
				must(t, g().Transaction(func(tx *gorm.DB) error {
					must(t, set(tx, 2, 20))
					if err := tx.Transaction(func(tx *gorm.DB) error {
						must(t, tx.Transaction(func(tx *gorm.DB) error { return set(tx, 3, 30) }))
						return errFuzz
					}); err != errFuzz {
						t.Error(err)
					}
					return nil
				}))
				// The tenant is entered still: settings made before a savepoint outlive a rollback to it.
				if found, err := canary(ctx, db); err != nil || found != "t_0" {
					t.Error(found, err)
				}
				return nil
			}))
			if found := stocks(ctx); found != "1 20 0" {
				t.Errorf("committed %s", found)
			}
			t.Run("one before anything else does not take the tenant away with it", func(t *testing.T) {
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					must(t, db.Gorm(ctx).SavePoint("first").Error)
					_ = db.Gorm(ctx).Exec("select 1/0").Error
					must(t, db.Gorm(ctx).RollbackTo("first").Error)
					found, err := canary(ctx, db)
					if found != "t_0" {
						t.Errorf("read %q", found)
					}
					return err
				}))
			})
			t.Run("a cancelled statement may be taken back, too", func(t *testing.T) {
				must(t, db.Tx(ctx, func(ctx context.Context) error {
					must(t, set(db.Gorm(ctx), 1, 7))
					must(t, db.Gorm(ctx).SavePoint("a").Error)
					short, cancel := context.WithTimeout(ctx, 300*time.Millisecond) // it must be under way by then
					defer cancel()
					if err := db.Gorm(short).Exec("select pg_sleep(60)").Error; !errors.Is(err, context.DeadlineExceeded) || state(err) != "57014" {
						t.Error(err)
					}
					return db.Gorm(ctx).RollbackTo("a").Error
				}))
				if found := stocks(ctx); !strings.HasPrefix(found, "7 ") {
					t.Errorf("committed %s", found)
				}
			})
			if n := wire.conns.Load(); n > 1+2 { // cancelling dials, but not by way of AfterConnect
				t.Errorf("%d connections", n)
			}
		})
	}
}

// 57014 is told apart: of a limit it is PostgreSQL's alone, of the caller's context it is that context's error as well.
func TestStatementTimeoutIsNotTheCallersContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	limited := w.scopes[0]
	limited.timeout = 30 * time.Millisecond
	patient := limited
	patient.timeout = 400 * time.Millisecond
	for name, options := range map[string][]func(*Config){"direct": nil, "behind a pooler": {pooler}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, wire := w.open(t, 1, options...)
			ctx := With(t.Context(), newScope(limited))
			only := func(t *testing.T, err error) {
				t.Helper()
				if state(err) != "57014" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a statement that takes too long: %v", err)
				}
			}
			for range 3 { // never seen, described, prepared
				var n []int
				only(t, db.Gorm(ctx).Raw("select 1 from (select pg_sleep(60)) _").Scan(&n).Error)
				only(t, db.Gorm(ctx).Raw("select g from generate_series(1, 1000000) g, pg_sleep(0.0005 * (g % 2))").Scan(&n).Error)
				only(t, db.Gorm(ctx).Exec("update books set stock = 1 where (select true from pg_sleep(60))").Error)
			}
			err := db.Tx(ctx, func(ctx context.Context) error { return db.Gorm(ctx).Exec("select pg_sleep(60)").Error })
			only(t, err)
			_, err = db.CopyTo(ctx, "select pg_sleep(60)", new(strings.Builder))
			only(t, err)
			// Each statement of a transaction has all of the limit.
			must(t, db.Tx(With(t.Context(), newScope(patient)), func(ctx context.Context) error {
				for range 4 {
					must(t, db.Gorm(ctx).Exec("select pg_sleep(0.12)").Error)
				}
				return nil
			}))
			both, cancel := context.WithTimeout(With(t.Context(), w.scopes[0]), 300*time.Millisecond)
			defer cancel()
			if err := db.Gorm(both).Exec("select pg_sleep(60)").Error; !errors.Is(err, context.DeadlineExceeded) || state(err) != "57014" {
				t.Errorf("the context's deadline: %v", err)
			}
			if found, err := canary(w.as(t, 0), db); err != nil || found != "t_0" || wire.conns.Load() != 1 {
				t.Error(found, err, wire.conns.Load())
			}
		})
	}
}
