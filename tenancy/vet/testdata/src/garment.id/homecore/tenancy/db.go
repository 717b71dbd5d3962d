// Package tenancy has the handle, as the real one.
package tenancy

import (
	"context"

	"gorm.io/gorm"
)

type DB struct{ gorm *gorm.DB }

func (db *DB) Gorm(ctx context.Context) *gorm.DB { return db.gorm.WithContext(ctx) }

func (db *DB) Tx(ctx context.Context, fn func(context.Context) error) error {
	return db.gorm.WithContext(ctx).Transaction(func(*gorm.DB) error { return fn(ctx) })
}

type Scope struct{}

func With(ctx context.Context, _ Scope) context.Context { return ctx }

// Enter may do what nobody else may.
func (db *DB) Enter(ctx context.Context) error {
	return db.Gorm(ctx).Exec("set role x").Raw("select 1 from pg_catalog.pg_roles").Error
}
