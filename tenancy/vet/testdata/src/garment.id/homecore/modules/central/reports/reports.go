// Package reports is none of a tenant's, and uses their handle.
package reports

import (
	"context"

	"garment.id/homecore/tenancy"
)

func read(ctx context.Context, db *tenancy.DB) {
	db.Gorm(ctx).Raw("select 1 from central.users") // want "central.users names a schema"
}
