package tenants

import (
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy/fleet"
)

// How the module refuses.
var (
	SlugTaken       = fleet.SlugTaken
	SlugReserved    = fault.ValidationFailed.WithField("slug", "Nama ruang kerja ini tidak dapat dipakai.", "This workspace name cannot be used.")
	TimezoneUnknown = fault.ValidationFailed.WithField("timezone", "Zona waktu tidak dikenal.", "This time zone is not known.")
)
