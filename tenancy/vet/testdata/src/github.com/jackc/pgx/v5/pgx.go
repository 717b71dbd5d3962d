// Package pgx has of pgx what the tests need.
package pgx

import "context"

type Conn struct{}

func (*Conn) Exec(context.Context, string, ...any) error { return nil }
