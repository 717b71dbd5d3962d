// Package accounts has the central handle alone, whose rows have no tenant.
package accounts

import (
	"context"

	"garment.id/homecore/platform/database"
)

func read(ctx context.Context, db *database.DB) {
	db.Gorm(ctx).Raw("select 1 from central.users join pg_roles on true")
	db.Gorm(ctx).Exec("set local statement_timeout = 1")
	db.Gorm(ctx).Exec("select pg_advisory_lock(1)")
}
