package exceptions

import (
	"context"

	"garment.id/homecore/tenancy"
)

func run(ctx context.Context, tenants *tenancy.DB) {
	db := tenants.Gorm(ctx)
	db.Exec("set role a") //homecore:allow tenantset a reason
	db.Exec("set role b") // want "SET role"

	//homecore:allow tenantset a reason
	db.Exec("set role c")
	db.Exec("set role d") // want "SET role"

	//homecore:allow tenantschema a reason for something else
	db.Exec("set role e") // want "SET role"

	db.Exec("set role f") /* want "SET role" */ //homecore:allow tenantset
}
