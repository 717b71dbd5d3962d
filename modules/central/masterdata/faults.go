package masterdata

import "garment.id/homecore/platform/fault"

// How the module refuses.
var (
	CodeUsed      = fault.ResourceConflict.WithField("code", "Kode sudah dipakai pada jenis ini.", "The code is already in use in this kind.")
	ParentUnknown = fault.ValidationFailed.WithField("parent_id", "Induk tidak ditemukan pada jenis ini.", "There is no such parent in this kind.")
	ParentBelow   = fault.ValidationFailed.WithField("parent_id", "Induk tidak boleh berada di bawah data ini.", "The parent must not be below this taxonomy.")
	KindFixed     = fault.ResourceConflict.WithField("kind", "Jenis tidak dapat diubah selama masih punya induk atau anak.", "The kind cannot change while there is a parent or a child.")
)

// constraints says what the violation of each constraint means.
var constraints = map[string]*fault.Fault{
	"master_taxonomies_code_key":    CodeUsed,
	"master_taxonomies_parent_fkey": ParentUnknown,
}
