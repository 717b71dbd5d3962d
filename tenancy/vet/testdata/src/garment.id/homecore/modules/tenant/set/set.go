package set

import (
	"context"
	"database/sql"
	"fmt"

	"garment.id/homecore/tenancy"
)

const enter = "select set_config('search_path', $1, false)" // want "set_config: path, role and session"

const become = "set role other"

func run(ctx context.Context, tenants *tenancy.DB, plain *sql.DB, conn *sql.Conn, name string) {
	db := tenants.Gorm(ctx)
	db.Exec("SET search_path TO other")                                  // want "SET search_path"
	db.Exec("set local statement_timeout = 1")                           // want "SET local"
	db.Exec(fmt.Sprintf("set role %s", name))                            // want "SET role"
	db.Exec("/* as */ set role " + name)                                 // want "SET role"
	db.Exec(become)                                                      // want "SET role"
	db.Exec("select 1; reset all")                                       // want "RESET all"
	db.Exec("discard all")                                               // want "DISCARD all"
	db.Exec("listen news")                                               // want "LISTEN news"
	db.Exec("notify news")                                               // want "NOTIFY news"
	db.Exec("select pg_notify('news', '')")                              // want "pg_notify"
	db.Raw("select pg_advisory_lock(1)")                                 // want "pg_advisory_lock"
	db.Raw("select pg_try_advisory_lock_shared(1)")                      // want "pg_try_advisory_lock_shared"
	db.Raw("select pg_catalog.set_config('a', '', true)")                // want "set_config"
	db.Raw("alter role x set search_path = y")                           // want "search_path"
	db.Exec("do $$ begin perform set_config('role', 'x', true); end $$") // want "set_config"
	db.Select("set_config('role', 'x', true)")                           // want "set_config"
	plain.ExecContext(ctx, "set role other")                             // want "SET role"
	conn.QueryRowContext(ctx, "show search_path")                        // want "search_path"
	db.Exec(enter)                                                       // reported where it is written

	db.Raw("select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)")
	db.Exec("set constraints all deferred")
	db.Raw("update users set role = 'x' where name = 'set role x'")
	db.Raw("insert into users (id) values (1) on conflict (id) do update set at = now()")
	db.Where("notify is true").Update("listen", true)
	fmt.Println("set role as you like")
}
