// Package database has the handle, as the real one.
package database

import (
	"context"

	"gorm.io/gorm"
)

type DB struct{ gorm *gorm.DB }

func (db *DB) Gorm(ctx context.Context) *gorm.DB { return db.gorm.WithContext(ctx) }

func (db *DB) Tx(ctx context.Context, fn func(context.Context) error) error {
	return db.gorm.WithContext(ctx).Transaction(func(*gorm.DB) error { return fn(ctx) })
}
