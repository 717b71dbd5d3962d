// Package taxonomies is a tenant's own words: categories, fabrics, colours, sizes, units and processes, each kind a tree.
//
// It is the pattern of the tenant's modules. Six files with the same names everywhere:
//
//	module.go   what it needs (Deps), what it offers (Service), its routes
//	model.go    its row and what clients may send
//	service.go  what can be done: the rules
//	http.go     how it is asked: translate, call once, answer
//	faults.go   how it refuses
//	jobs.go     what it does later (taxonomies do nothing later)
package taxonomies

import (
	"time"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/idempotency"
	"garment.id/homecore/platform/resource"
	"garment.id/homecore/tenancy"
)

// Deps is everything the module uses.
type Deps struct {
	DB    *tenancy.DB
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
	read, write := api.Can("taxonomies.read"), api.Can("taxonomies.write")
	api.Get(r, path, s.handleList, "tenant.master-data.taxonomies.list", read, api.Summary("List taxonomies"))
	api.Post(r, path, api.Once(s.once, s.handleCreate), "tenant.master-data.taxonomies.create", write, api.Summary("Create a taxonomy"), api.Status(201))
	api.Get(r, one, s.handleShow, "tenant.master-data.taxonomies.show", read, api.Summary("Show a taxonomy"))
	api.Put(r, one, s.handleUpdate, "tenant.master-data.taxonomies.update", write, api.Summary("Change a taxonomy"))
	api.Delete(r, one, s.handleDelete, "tenant.master-data.taxonomies.delete", write, api.Summary("Delete a taxonomy"))
}
