package tenants

import (
	"time"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/tenancy/fleet"
)

// What is said of a field in more than one refusal.
var (
	slugReserved = locale.Text{ID: "Nama ruang kerja ini tidak dapat dipakai.", EN: "This workspace name cannot be used."}
	nameInvalid  = locale.Text{ID: "Isi nama dengan 2 sampai 120 karakter, dalam satu baris.", EN: "Give a name of 2 to 120 characters, on one line."}
)

// How the module refuses.
var (
	SlugTaken    = fleet.SlugTaken
	SlugReserved = fault.ValidationFailed.WithField("slug", slugReserved.ID, slugReserved.EN)
	NoExportDir  = fault.New(fault.Conflict, "tenant.export_unavailable", "HOMECORE_EXPORT_DIR belum diatur.", "HOMECORE_EXPORT_DIR is not set.")
	NameInvalid  = fault.ValidationFailed.WithField("name", nameInvalid.ID, nameInvalid.EN)

	// DomainRefused: no name, or one that can be no tenant's: an address, ours, a single word, a public suffix.
	DomainRefused  = fault.ValidationFailed.WithField("domain", "Bukan nama domain yang dapat dipakai.", "This is no domain that can be used.")
	DomainsTooMany = fault.ResourceConflict.WithField("domain", "Ruang kerja ini sudah memiliki terlalu banyak domain.", "This workspace has too many domains already.")
	DomainUnproven = fault.New(fault.Conflict, "domains.unproven", "Catatan DNS yang membuktikan kepemilikan domain belum ditemukan.",
		"The DNS record that proves the domain was not found.")
	DomainTaken    = fault.New(fault.Conflict, "domains.taken", "Domain ini sudah dipakai ruang kerja lain.", "Another workspace uses this domain.")
	DNSUnavailable = fault.New(fault.Unavailable, "domains.dns_unavailable", "DNS tidak menjawab. Coba lagi sebentar lagi.", "DNS does not answer. Try again shortly.").
			WithRetryAfter(30 * time.Second)
)
