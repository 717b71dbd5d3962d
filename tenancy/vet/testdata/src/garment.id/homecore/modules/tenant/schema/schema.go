package schema

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"garment.id/homecore/tenancy"
)

type service struct{ DB *tenancy.DB }

const (
	/* want "central.users names a schema" */ qualified = `
		-- of the operator
		select id from central.users`
	plain  = "select u.id, t.name from users u join teams as t on t.id = u.team_id where u.at > 1.5"
	clause = "join central.users u on u.id = m.user_id"
)

var statements = []struct{ sql string }{
	{"delete from other.links"}, // want "other.links names a schema"
	{"delete from links where a.id in (select a.id from links a)"},
}

type article struct{}

func (article) TableName() string { return "central.articles" } // want "central.articles names a schema"

type dynamic struct{ schema string }

func (d dynamic) TableName() string { return d.schema + ".articles" } // want "%s.articles names a schema"

type good struct{}

func (good) TableName() string { return "articles" }

func (s *service) gorm(ctx context.Context, name string) {
	db := s.DB.Gorm(ctx)
	db.Table("central.users")                                    // want "central.users names a schema"
	db.Table("central.users u")                                  // want "central.users names a schema"
	db.Table(`"central"."users"`)                                // want "central.users names a schema"
	db.Table("users u, central.teams t")                         // want "central.teams names a schema"
	db.Table(name + ".users")                                    // want "%s.users names a schema"
	db.Table(fmt.Sprintf("%s.users", name))                      // want "%s.users names a schema"
	db.Joins(clause)                                             // want "central.users names a schema"
	db.Joins("left join only other.users u on true")             // want "other.users names a schema"
	db.Where("id in (select id from other.users)")               // want "other.users names a schema"
	db.Find(nil, "id in (select id from other.users)")           // want "other.users names a schema"
	db.Select("id, (select max(at) from other.users) as at")     // want "other.users names a schema"
	db.Order("(select 1 from other.users)")                      // want "other.users names a schema"
	db.Where("other.users.id = ?", 1)                            // want "other.users.id names a schema"
	db.Update("id", gorm.Expr("(select 1 from other.users)"))    // want "other.users names a schema"
	db.Raw("update other.users set at = now()")                  // want "other.users names a schema"
	db.Raw("select 1 from a join b on a.id = b.id, other.users") // want "other.users names a schema"
	db.Raw("insert into other.users (id) values (1)")            // want "other.users names a schema"
	db.Raw("truncate table only a, other.users")                 // want "other.users names a schema"
	db.Raw("delete from a using other.users")                    // want "other.users names a schema"
	db.Raw("table other.users")                                  // want "other.users names a schema"
	db.Raw("select other.secret(1)")                             // want "other.secret names a schema"
	db.Raw("select 1 from tenant_" + name + ".users")            // want "tenant_%s.users names a schema"
	db.Raw("select 1 from pg_catalog.pg_class")                  // want "pg_catalog.pg_class names a schema or a catalog"
	db.Raw("select 1 from pg_roles r")                           // want "pg_roles names a schema or a catalog"
	db.Raw("select 1 from information_schema.tables")            // want "information_schema.tables names a schema"
	db.Raw(qualified)                                            // reported where it is written
	gorm.G[article](db).Where("id in (select id from x.y)")      // want "x.y names a schema"
	query := "select 1 from other.users where id = " + name      // want "other.users names a schema"
	db.Raw(query)                                                // reported where it is written
	part := "from other.users"
	db.Raw("select 1 " + part) // want "other.users names a schema"

	db.Raw(plain)
	db.Table("users u").Select("u.id, count(*)").Joins("join teams t on t.id = u.team_id").Order("t.name, u.id")
	db.Where("u.name is distinct from t.name and extract(epoch from u.at) > 1 and trim(both from u.name) <> ''")
	db.Where("name = ?", "from other.users")
	db.Where("name = 'from other.users' /* from other.users */")
	db.Raw("select pg_catalog.now(), u.id from pg_catalog.generate_series(1, 2) g, pg_typeof(u.id), lateral unnest(u.tags) x")
	db.Raw("insert into users as u (id) values (1) on conflict (id) do update set name = excluded.name, at = u.at returning u.id")
	db.Raw("with old as (select o.id from users o for update of o skip locked) update users u set at = old.at from old where u.id = old.id")
	db.Raw("select exists (select from users), u.* from users u where u.id in (?)", 1)
	fmt.Println("Read about it from garment.id, or join a.b")
}

func (s *service) others(ctx context.Context, db *sql.DB, conn *pgx.Conn) {
	db.QueryContext(ctx, "select 1 from other.users") // want "other.users names a schema"
	conn.Exec(ctx, "select 1 from central.users")     // has a role of its own
}

func growing(ctx context.Context, tenants *tenancy.DB, names []string) {
	var query string
	for _, name := range names {
		query = query + name
	}
	tenants.Gorm(ctx).Raw(query)
}
