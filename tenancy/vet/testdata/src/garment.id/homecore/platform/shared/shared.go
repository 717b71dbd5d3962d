// Package shared works on either handle.
package shared

import (
	"context"

	"gorm.io/gorm"
)

type handle interface {
	Gorm(ctx context.Context) *gorm.DB
}

func read(ctx context.Context, db handle) {
	db.Gorm(ctx).Raw("select 1 from central.users") // want "central.users names a schema"
}
