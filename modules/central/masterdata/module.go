// Package masterdata is the words the platform gives every new tenant: master taxonomies, kept by its operators. The active
// ones are copied into a tenant when it is made (Active); what becomes of a master afterwards changes no tenant.
package masterdata

import (
	"time"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/idempotency"
	"garment.id/homecore/platform/resource"
)

// Deps is everything the module uses.
type Deps struct {
	DB    *database.DB
	Clock func() time.Time
}

// Service is the module.
type Service struct {
	Deps
	rows *resource.Store[Taxonomy, *Taxonomy]
	once *idempotency.Store
}

// New makes the module.
func New(d Deps) *Service {
	return &Service{
		Deps: d,
		rows: resource.New[Taxonomy](d.DB, d.Clock, order, constraints),
		once: idempotency.New(d.DB),
	}
}

// Routes registers what the module serves.
func (s *Service) Routes(r *api.Router) {
	const path, one = "/master-data/taxonomies", "/master-data/taxonomies/{taxonomy}"
	read, write := api.Can("masterdata.read"), api.Can("masterdata.write")
	api.Get(r, path, s.handleList, "central.master-data.taxonomies.list", read, api.Summary("List master taxonomies"))
	api.Post(r, path, api.Once(s.once, s.handleCreate), "central.master-data.taxonomies.create", write, api.Summary("Create a master taxonomy"), api.Status(201))
	api.Get(r, one, s.handleShow, "central.master-data.taxonomies.show", read, api.Summary("Show a master taxonomy"))
	api.Put(r, one, s.handleUpdate, "central.master-data.taxonomies.update", write, api.Summary("Change a master taxonomy"))
	api.Delete(r, one, s.handleDelete, "central.master-data.taxonomies.delete", write, api.Summary("Delete a master taxonomy"))
}
