package tenants

import "garment.id/homecore/platform/fault"

// How the module refuses.
var (
	SlugTaken       = fault.ResourceConflict.WithField("slug", "Nama ruang kerja ini sudah dipakai.", "This workspace name is taken.")
	SlugReserved    = fault.ValidationFailed.WithField("slug", "Nama ruang kerja ini tidak dapat dipakai.", "This workspace name cannot be used.")
	TimezoneUnknown = fault.ValidationFailed.WithField("timezone", "Zona waktu tidak dikenal.", "This time zone is not known.")
)
