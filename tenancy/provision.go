package tenancy

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
)

// Status is where a tenant is in its life.
type Status string

const (
	Requested   Status = "requested"   // a row in the registry, no schema yet
	Creating    Status = "creating"    // its schema is being made
	Ready       Status = "ready"       // its schema stands, nobody uses it yet
	Active      Status = "active"      // in use
	ReadOnly    Status = "read_only"   // in use, writes are refused by the database
	Suspended   Status = "suspended"   // shut by the operator
	Maintenance Status = "maintenance" // shut for a moment
	Archived    Status = "archived"
	Dropping    Status = "dropping"
	Dropped     Status = "dropped"
)

// Tenant is a row of the registry.
type Tenant struct {
	ID                 uuid.UUID
	Slug               string
	Name               string
	Status             Status
	Cluster            string
	SchemaName         string
	RoleName           string
	LoginGroup         int16
	StatementTimeoutMS *int32
	Plan               *string
	Country            string
	Currency           string
	Timezone           string
	Locale             string
	CreatedAt          time.Time
	UpdatedAt          time.Time
}

// TableName is for GORM.
func (Tenant) TableName() string { return "tenants" }

// Place fills in where the tenant will stand: its cluster, schema, role and affinity group. The names are opaque and never
// change; the slug may.
func (i Installation) Place(t *Tenant) {
	h := fnv.New32a()
	_, _ = h.Write(t.ID[:])
	t.Cluster = DefaultCluster
	t.SchemaName = "t_" + hex.EncodeToString(t.ID[:])
	t.RoleName = i.TenantRole(t.ID)
	t.LoginGroup = int16(h.Sum32() % uint32(i.Groups)) //nolint:gosec // there are at most 256 groups
}

// Provisioner makes and migrates tenants' schemas. It works as the owner, the only role that may.
type Provisioner struct {
	owner *pgxpool.Pool
	inst  Installation
	set   []migrations.Migration
}

// NewProvisioner returns a Provisioner that brings schemas to the given set.
func NewProvisioner(owner *pgxpool.Pool, inst Installation, set []migrations.Migration) *Provisioner {
	return &Provisioner{owner: owner, inst: inst, set: set}
}

// Build makes the tenant's role and schema, in one transaction with its ledger: there is all of it or nothing. Building what
// stands already does nothing, so that an interrupted onboarding may simply be started again.
func (p *Provisioner) Build(ctx context.Context, tenant uuid.UUID) error {
	err := pgx.BeginFunc(ctx, p.owner, func(tx pgx.Tx) error {
		t, applied, err := lockTenant(ctx, tx, tenant)
		if err != nil || applied > 0 {
			return err
		}
		schema, role := pgx.Identifier{t.SchemaName}.Sanitize(), pgx.Identifier{t.RoleName}.Sanitize()
		b := &pgx.Batch{}
		b.Queue("create role " + role + " nologin")
		b.Queue("create schema " + schema)
		b.Queue("grant usage on schema " + schema + " to " + role)
		// What later migrations create is granted as it is created: none can be forgotten, and no catalogue is searched.
		b.Queue("alter default privileges in schema " + schema + " grant select, insert, update, delete on tables to " + role)
		for _, m := range p.set {
			queueMigration(b, t, m)
		}
		// The membership is the gate: from here on the tenant's affinity group may enter.
		b.Queue("grant " + role + " to " + pgx.Identifier{p.inst.GroupRole(int(t.LoginGroup))}.Sanitize())
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("build the schema of tenant %s: %w", tenant, err)
	}
	return nil
}

// lockTenant keeps everybody else from the tenant until tx ends, and returns the newest migration it has.
func lockTenant(ctx context.Context, tx pgx.Tx, id uuid.UUID) (t Tenant, applied int, err error) {
	t.ID = id
	err = tx.QueryRow(ctx, "select schema_name, role_name, login_group from central.tenants where id = $1 for update", id).
		Scan(&t.SchemaName, &t.RoleName, &t.LoginGroup)
	if err != nil {
		return t, 0, err
	}
	// A statement of its own: the one that waited for the lock still sees the ledger as it was before.
	err = tx.QueryRow(ctx, "select coalesce(max(version), 0) from central.tenant_migrations where tenant_id = $1", id).Scan(&applied)
	return t, applied, err
}

// queueMigration sends a migration statement by statement (a cluster of kind citus refuses several in one string).
func queueMigration(b *pgx.Batch, t Tenant, m migrations.Migration) {
	b.Queue("select set_config('search_path', $1, true)", pgx.Identifier{t.SchemaName}.Sanitize()+", pg_temp")
	for _, s := range m.Statements {
		b.Queue(s)
	}
	b.Queue("insert into central.tenant_migrations (tenant_id, version, name) values ($1, $2, $3)", t.ID, m.Version, m.Name)
}
