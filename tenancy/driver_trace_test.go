package tenancy

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"sync"
	"testing"
)

// notes is a Tracer that writes down what it is told.
type notes struct {
	mu    sync.Mutex
	lines []string
	deaf  bool
}

func (n *notes) Start(ctx context.Context, s Statement) EndOfStatement {
	if n.deaf {
		return nil
	}
	if current, err := Current(ctx); err != nil || current != s.Scope {
		panic("the context is not the statement's")
	}
	return func(o Outcome) {
		n.mu.Lock()
		defer n.mu.Unlock()
		line := fmt.Sprintf("%s %s %d", s.Scope.Slug(), s.SQL, o.Rows)
		for word, is := range map[string]bool{" tx": s.InTx} {
			if is {
				line += word
			}
		}
		if o.Parsed {
			line += " parsed"
		}
		if o.Retried {
			line += " retried"
		}
		if o.Err != nil {
			line += " " + SQLState(o.Err)
		}
		n.lines = append(n.lines, line)
	}
}

func TestTracer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, 1)
	n := &notes{}
	db, _ := w.open(t, 1, func(cfg *Config) { cfg.Tracer = n })
	ctx := w.as(t, 0)
	told := func(t *testing.T, want ...string) {
		t.Helper()
		if !reflect.DeepEqual(n.lines, want) {
			t.Errorf("told\n%q, want\n%q", n.lines, want)
		}
		n.lines = nil
	}
	t.Run("each statement, at its end", func(t *testing.T) {
		for range 2 {
			must(t, db.Gorm(ctx).Exec("update books set stock = ? where id < 3", 5).Error)
		}
		rows, err := db.Gorm(ctx).Raw("select id from books").Rows()
		must(t, err)
		if len(n.lines) != 2 {
			t.Errorf("the end was told before it: %q", n.lines)
		}
		must(t, rows.Close())
		must(t, rows.Close())
		told(t, "t_0 update books set stock = $1 where id < 3 2 parsed", "t_0 update books set stock = $1 where id < 3 2", "t_0 select id from books 3 parsed")
	})
	t.Run("transactions, errors and refusals", func(t *testing.T) {
		_ = db.Tx(ctx, func(ctx context.Context) error {
			_ = db.Gorm(ctx).Exec("set role x").Error
			_ = db.Gorm(ctx).Exec("select 1/0").Error
			return errFuzz
		})
		must(t, db.Tx(ctx, func(ctx context.Context) error { return db.Gorm(ctx).Exec("select 1").Error }))
		must(t, db.Tx(ctx, func(ctx context.Context) error { return nil }))
		told(t, "t_0 set role x 0 tx ", "t_0 select 1/0 0 tx parsed 22012", "t_0 rollback 0 tx", "t_0 select 1 1 tx parsed", "t_0 commit 0 tx")
	})
	t.Run("what is sent twice is told once", func(t *testing.T) {
		read := func() { must(t, db.Gorm(ctx).Raw("select * from books").Scan(&[]map[string]any{}).Error) }
		read()
		n.lines = nil
		w.do(t, "alter table t_0.books add column x int")
		read()
		told(t, "t_0 select * from books 3 parsed retried")
	})
	t.Run("hatches", func(t *testing.T) {
		_, err := db.CopyFrom(ctx, "books", []string{"id", "title"}, rowsOf(nil, []any{10, "x"}, []any{11, "y"}))
		must(t, err)
		_, err = db.CopyTo(ctx, "select 1", new(bytes.Buffer))
		must(t, err)
		must(t, db.Notify(ctx, "x", "y"))
		told(t, `t_0 copy "books" ("id", "title") from stdin 2 tx parsed`, "t_0 commit 0 tx",
			"t_0 copy (select 1\n) to stdout (format csv, header) 1 tx parsed", "t_0 commit 0 tx", "t_0 select pg_catalog.pg_notify($1, $2) 1 parsed")
	})
	t.Run("one that does not want to know", func(t *testing.T) {
		n.deaf = true
		must(t, db.Tx(ctx, func(ctx context.Context) error { return db.Gorm(ctx).Exec("select 1").Error }))
		told(t, []string(nil)...)
	})
}

func TestStatementSaysNoValues(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][2]string{
		"select 1":              {"SELECT", "select ?"},
		"select  a.b, $1::text": {"SELECT", "select a.b, $1::text"},
		"( select 'it''s', E'\\'', $$x$$, -- why\n 1.5e3 /* ? */ from \"t 1\" where a='x')": {"SELECT", "( select ?, ?, ?, ?e3 from \"t 1\" where a=?)"},
		"commit":                        {"COMMIT", "commit"},
		"insert into x values ('secret": {"INSERT", "insert into x values (?"},
		"":                              {"", ""},
	} {
		s := Statement{SQL: sql}
		if got := [2]string{s.Operation(), s.Sanitized()}; got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}
