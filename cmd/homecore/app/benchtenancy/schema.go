package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/schema"

	"garment.id/homecore/migrations"
)

// table is one of a tenant's fifteen, with a primary key and an index; twelve point to another.
type table struct{ name, parent string }

var tables = []table{
	{"customers", ""}, {"suppliers", ""}, {"units", ""},
	{"materials", "suppliers"}, {"products", "customers"}, {"orders", "customers"}, {"order_items", "orders"},
	{"purchases", "suppliers"}, {"purchase_items", "purchases"}, {"stock", "materials"}, {"work_orders", "orders"},
	{"cuttings", "work_orders"}, {"sewings", "work_orders"}, {"invoices", "orders"}, {"payments", "invoices"},
}

// The one that is read where one is, and the second that a transaction reads.
const (
	mainTable   = "products"
	secondTable = "customers"
)

// row is what all tables have: a dozen columns of the usual types would say no more.
type row struct {
	ID         uuid.UUID
	Code       string
	Name       string
	ParentID   *uuid.UUID
	Quantity   int
	Attributes string
	IsActive   bool
	Version    int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

const columns = "id, code, name, parent_id, quantity, attributes, is_active, version, created_at, updated_at"

// TableName is for GORM.
func (row) TableName() string { return mainTable }

var _ schema.Tabler = row{}

// rowsPerTable are in each table of each tenant.
const rowsPerTable = 5

// rowID is the key of the j-th row of a tenant's table.
func rowID(tenant, j int) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:8], uint64(tenant)+1)
	binary.BigEndian.PutUint64(id[8:], uint64(j))
	return id
}

// baseline makes a tenant's tables: fifteen, with thirty indexes and twelve foreign keys, in thirty statements.
func baseline() []string {
	var out []string
	for _, t := range tables {
		references := ""
		if t.parent != "" {
			references = " references " + t.parent + " (id)"
		}
		out = append(out,
			fmt.Sprintf(`create table %s (id uuid primary key, code text not null, name text not null, parent_id uuid%s,
				quantity integer not null default 0, attributes jsonb not null default '{}', is_active boolean not null default true,
				version bigint not null default 1, created_at timestamptz not null default now(), updated_at timestamptz not null default now());`, t.name, references),
			fmt.Sprintf("create index %[1]s_code_idx on %[1]s (code);", t.name))
	}
	return out
}

// set is the tenants' migrations: the tables, and each later one a change such as releases bring.
func set(versions int) []migrations.Migration {
	out := []migrations.Migration{{Version: 1, Name: "00001_bench_tables", Statements: baseline()}}
	for v := 2; v <= versions; v++ {
		out = append(out, migrations.Migration{Version: v, Name: fmt.Sprintf("%05d_bench_change", v), Statements: change(fmt.Sprintf("c%d", v))})
	}
	return out
}

// change adds a column and an index on it.
func change(column string) []string {
	return []string{
		fmt.Sprintf("alter table orders add column %s text not null default '';", column),
		fmt.Sprintf("create index orders_%[1]s_idx on orders (%[1]s);", column),
	}
}

// rowsSQL fills all tables of a schema with the rows of tenants from (included) to (not included), counted from 0.
func rowsSQL(schema string, from, to int) string {
	var b strings.Builder
	for _, t := range tables {
		//homecore:allow tenantschema nobody's statement: rows are made by the owner, who enters nobody
		fmt.Fprintf(&b, `insert into %s.%s (id, code, name)
			select (lpad(to_hex(i + 1), 16, '0') || lpad(to_hex(j), 16, '0'))::uuid, 'KATUN-' || j, 'Katun combed ' || j
			from generate_series(%d, %d) i, generate_series(0, %d) j;`, quote(schema), t.name, from, to-1, rowsPerTable-1)
	}
	return b.String()
}
