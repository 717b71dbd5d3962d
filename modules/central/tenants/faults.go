package tenants

import (
	"time"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy/fleet"
)

// How the module refuses.
var (
	SlugTaken       = fleet.SlugTaken
	SlugReserved    = fault.ValidationFailed.WithField("slug", "Nama ruang kerja ini tidak dapat dipakai.", "This workspace name cannot be used.")
	NoExportDir     = fault.New(fault.Conflict, "tenant.export_unavailable", "HOMECORE_EXPORT_DIR belum diatur.", "HOMECORE_EXPORT_DIR is not set.")
	NameInvalid     = fault.ValidationFailed.WithField("name", "Isi nama dengan 2 sampai 120 karakter, dalam satu baris.", "Give a name of 2 to 120 characters, on one line.")
	CountryUnknown  = fault.ValidationFailed.WithField("country", "Negara tidak dikenal.", "This country is not known.")
	CurrencyUnknown = fault.ValidationFailed.WithField("currency", "Mata uang tidak dikenal.", "This currency is not known.")
	TimezoneUnknown = fault.ValidationFailed.WithField("timezone", "Zona waktu tidak dikenal.", "This time zone is not known.")

	// DomainRefused: no name, or one that can be no tenant's: an address, ours, a single word, a public suffix.
	DomainRefused  = fault.ValidationFailed.WithField("domain", "Bukan nama domain yang dapat dipakai.", "This is no domain that can be used.")
	DomainsTooMany = fault.ResourceConflict.WithField("domain", "Ruang kerja ini sudah memiliki terlalu banyak domain.", "This workspace has too many domains already.")
	DomainUnproven = fault.New(fault.Conflict, "domains.unproven", "Catatan DNS yang membuktikan kepemilikan domain belum ditemukan.",
		"The DNS record that proves the domain was not found.")
	DomainTaken    = fault.New(fault.Conflict, "domains.taken", "Domain ini sudah dipakai ruang kerja lain.", "Another workspace uses this domain.")
	DNSUnavailable = fault.New(fault.Unavailable, "domains.dns_unavailable", "DNS tidak menjawab. Coba lagi sebentar lagi.", "DNS does not answer. Try again shortly.").
			WithRetryAfter(30 * time.Second)
)
