package keyset

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

type row struct {
	ID        uuid.UUID
	Name      string
	Position  int
	CreatedAt time.Time
}

var order = Order[row]{Default: "-created_at", ID: func(r *row) uuid.UUID { return r.ID }, By: map[string]Sort[row]{
	"name":       {Column: "name", Value: func(r *row) any { return r.Name }},
	"position":   {Column: "position", Value: func(r *row) any { return r.Position }},
	"created_at": {Column: "created_at", Value: func(r *row) any { return r.CreatedAt }},
}}

// FuzzCursor holds that whatever a client sends as a cursor, what is compared with a column is a value of that column's type which
// Postgres can read.
func FuzzCursor(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		for _, sort := range []string{"name", "position", "-created_at"} {
			value, _, err := order.open(text, sort)
			if err != nil {
				continue
			}
			switch v := value.(type) {
			case string:
				if sort != "name" || strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
					t.Errorf("%q by %s: text %q", text, sort, v)
				}
			case int64:
				if sort != "position" || v != int64(int32(v)) {
					t.Errorf("%q by %s: number %d", text, sort, v)
				}
			case time.Time:
				if sort != "-created_at" || v.Year() < 0 || v.Year() > 9999 {
					t.Errorf("%q by %s: time %s", text, sort, v)
				}
			default:
				t.Errorf("%q by %s: %T", text, sort, v)
			}
		}
	})
}
