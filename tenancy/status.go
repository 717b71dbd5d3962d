package tenancy

import (
	"time"

	"github.com/google/uuid"
)

// DefaultCluster is the name of the cluster that also holds schema central.
const DefaultCluster = "main"

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
	Archived    Status = "archived"    // shut for good, its data kept
	Dropping    Status = "dropping"    // its data goes once the time of grace is over
	Dropped     Status = "dropped"     // a name that was once used
)

// Tenant is a row of the registry.
type Tenant struct {
	ID                 uuid.UUID
	Slug               string
	Name               string
	Status             Status
	StatusReason       *string
	StatusChangedAt    time.Time
	StatusBefore       *Status    // what undoing an archive or a drop returns to
	DropAfter          *time.Time // until then a drop can be undone
	Cluster            string
	SchemaName         string // empty until it has a place
	RoleName           string
	LoginGroup         int16
	Version            int64  // grows with every change of name or status
	RetryAfter         *int32 // seconds after which clients ask again, under maintenance
	SchemaVersion      int    // the newest migration its schema has, as its cluster last said
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
