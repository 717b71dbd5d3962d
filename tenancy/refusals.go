package tenancy

import (
	"time"

	"garment.id/homecore/platform/fault"
)

// Refusals of entry, and of a write to a tenant that is open for reading alone.
var (
	Unknown       = fault.New(fault.NotFound, "tenant.unknown", "Ruang kerja tidak ditemukan.", "There is no such workspace.")
	IsSuspended   = fault.New(fault.Forbidden, "tenant.suspended", "Ruang kerja ini sedang ditangguhkan.", "This workspace is suspended.")
	IsReadOnly    = fault.New(fault.Forbidden, "tenant.read_only", "Ruang kerja ini sedang hanya dapat dibaca.", "This workspace can only be read at the moment.")
	InMaintenance = fault.New(fault.Unavailable, "tenant.maintenance", "Ruang kerja ini sedang dalam pemeliharaan.", "This workspace is under maintenance.").
			WithRetryAfter(5 * time.Second)
)

// Shut is what an InMaintenance tells the client beside its Retry-After.
type Shut struct {
	Reason string `json:"reason" enum:"maintenance,provisioning,migrating,changing"`
}

// InMaintenance, by its reason. errors.Is finds each to be InMaintenance.
var (
	isMaintained = InMaintenance.WithData(Shut{"maintenance"}).WithRetryAfter(15 * time.Second)
	isBeingMade  = InMaintenance.WithData(Shut{"provisioning"}).WithRetryAfter(2 * time.Second)
	isBehind     = InMaintenance.WithData(Shut{"migrating"})                                // its schema is older than this binary needs
	isChanging   = InMaintenance.WithData(Shut{"changing"}).WithRetryAfter(2 * time.Second) // Postgres has shut it, and the registry does not say why yet
)
