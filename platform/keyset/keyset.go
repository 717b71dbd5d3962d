// Package keyset pages through a table by the last row seen instead of by an offset: a page costs the same wherever it is,
// and rows that are inserted meanwhile neither repeat nor hide others.
package keyset

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/fault"
)

// Sort is a column that a list may be sorted by. It must not be null.
type Sort[T any] struct {
	Column string
	Value  func(*T) any // string, integer or time
}

// Order is how a list may be sorted; the id breaks ties, so that every order is total.
type Order[T any] struct {
	Default string             // such as "-created_at"; "-" is descending
	By      map[string]Sort[T] // by the name clients use
	ID      func(*T) uuid.UUID
}

type cursor struct {
	Sort  string          `json:"s"`
	Value json.RawMessage `json:"v"`
	ID    uuid.UUID       `json:"id"`
}

// Page returns up to limit rows of query behind the cursor, and the cursor of the next page, "" on the last one. A sort
// that is not in the order or a cursor that did not come from the same list is fault.ValidationFailed.
func (o Order[T]) Page(ctx context.Context, query *gorm.DB, limit int, after, sort string) (rows []T, next string, err error) {
	if sort == "" {
		sort = o.Default
	}
	name, descending := strings.CutPrefix(sort, "-")
	by, ok := o.By[name]
	if !ok {
		names := make([]string, 0, len(o.By))
		for n := range o.By {
			names = append(names, n)
		}
		slices.Sort(names)
		list := strings.Join(names, ", ")
		return nil, "", fault.ValidationFailed.WithField("sort", "Urutan harus salah satu dari: "+list+".", "Sort must be one of: "+list+".")
	}
	direction, compare := "", ">"
	if descending {
		direction, compare = " desc", "<"
	}
	if after != "" {
		value, id, err := o.open(after, sort)
		if err != nil {
			return nil, "", fault.ValidationFailed.WithField("cursor", "Cursor tidak valid untuk daftar ini.", "The cursor is not valid for this list.")
		}
		query = query.Where("("+by.Column+", id) "+compare+" (?, ?)", value, id)
	}
	// One row more than asked for tells whether there is a next page.
	err = query.WithContext(ctx).Order(by.Column + direction + ", id" + direction).Limit(limit + 1).Find(&rows).Error
	if err != nil {
		return nil, "", fmt.Errorf("read a page: %w", err)
	}
	if len(rows) <= limit {
		return rows, "", nil
	}
	rows = rows[:limit]
	last := &rows[limit-1]
	value, err := json.Marshal(by.Value(last))
	if err != nil {
		return nil, "", fmt.Errorf("make a cursor: %w", err)
	}
	text, err := json.Marshal(cursor{Sort: sort, Value: value, ID: o.ID(last)})
	if err != nil {
		return nil, "", fmt.Errorf("make a cursor: %w", err)
	}
	return rows, base64.RawURLEncoding.EncodeToString(text), nil
}

// open reads a cursor. Its value gets the type of the column it is compared with, so that Postgres never sees another.
func (o Order[T]) open(text, sort string) (value any, id uuid.UUID, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, id, err
	}
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, id, err
	}
	if c.Sort != sort {
		return nil, id, fmt.Errorf("cursor of sort %q", c.Sort)
	}
	switch o.By[strings.TrimPrefix(sort, "-")].Value(new(T)).(type) {
	case time.Time:
		var t time.Time
		err = json.Unmarshal(c.Value, &t)
		value = t
	case string:
		var s string
		err = json.Unmarshal(c.Value, &s)
		if strings.ContainsRune(s, 0) {
			err = fmt.Errorf("cursor with a NUL")
		}
		value = s
	default:
		var n int64
		err = json.Unmarshal(c.Value, &n)
		if n != int64(int32(n)) { //nolint:gosec // that is the question: the columns are integer
			err = fmt.Errorf("cursor out of range")
		}
		value = n
	}
	return value, c.ID, err
}

// Contains returns the LIKE pattern of texts that contain q, whatever wildcards q has itself.
func Contains(q string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(q) + "%"
}
