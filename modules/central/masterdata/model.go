package masterdata

import (
	"github.com/google/uuid"

	"garment.id/homecore/platform/keyset"
	"garment.id/homecore/platform/patch"
	"garment.id/homecore/platform/resource"
)

// Taxonomy is one word of a kind, as new tenants get it.
type Taxonomy struct {
	resource.Head
	Kind        string         `json:"kind"`
	Code        string         `json:"code" doc:"Unique in its kind, whatever the case."`
	Name        string         `json:"name"`
	ParentID    *uuid.UUID     `json:"parent_id" nullable:"true" doc:"A taxonomy of the same kind."`
	Description string         `json:"description"`
	Position    int            `json:"position"`
	Attributes  map[string]any `json:"attributes" gorm:"serializer:json"`
	IsActive    bool           `json:"is_active"`
}

// TableName is for GORM.
func (Taxonomy) TableName() string { return "master_taxonomies" }

// Draft is what a new taxonomy is made of.
type Draft struct {
	Kind        string         `json:"kind" minLength:"2" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$" example:"fabric" doc:"product_category, material_category, fabric, color, size, unit, process, or one of your own."`
	Code        string         `json:"code" minLength:"1" maxLength:"40" pattern:"^[A-Za-z0-9][A-Za-z0-9._/-]*$" example:"KATUN-30S"`
	Name        string         `json:"name" pattern:"\\S" minLength:"1" maxLength:"120" example:"Katun combed 30s"`
	ParentID    *uuid.UUID     `json:"parent_id,omitempty" nullable:"true"`
	Description string         `json:"description,omitempty" maxLength:"2000"`
	Position    int            `json:"position,omitempty" minimum:"0" maximum:"1000000"`
	Attributes  map[string]any `json:"attributes,omitempty"`
	IsActive    *bool          `json:"is_active,omitempty" doc:"True unless said otherwise."`
}

// Change is an update: what is left out stays as it is, and parent_id null makes it a root.
type Change struct {
	Version     *int64                      `json:"version,omitempty" minimum:"1" doc:"The version you have seen, unless If-Match says it."`
	Kind        patch.Field[string]         `json:"kind,omitempty" minLength:"2" maxLength:"40" pattern:"^[a-z][a-z0-9_]*$"`
	Code        patch.Field[string]         `json:"code,omitempty" minLength:"1" maxLength:"40" pattern:"^[A-Za-z0-9][A-Za-z0-9._/-]*$"`
	Name        patch.Field[string]         `json:"name,omitempty" pattern:"\\S" minLength:"1" maxLength:"120"`
	ParentID    patch.Field[*uuid.UUID]     `json:"parent_id,omitempty"`
	Description patch.Field[string]         `json:"description,omitempty" maxLength:"2000"`
	Position    patch.Field[int]            `json:"position,omitempty" minimum:"0" maximum:"1000000"`
	Attributes  patch.Field[map[string]any] `json:"attributes,omitempty"`
	IsActive    patch.Field[bool]           `json:"is_active,omitempty"`
}

// Filter narrows a list. Empty fields do not.
type Filter struct {
	Kind     string
	ParentID uuid.UUID
	IsActive string
	Q        string // part of the code or the name, whatever the case
}

var order = keyset.Order[Taxonomy]{
	Default: "position",
	By: map[string]keyset.Sort[Taxonomy]{
		"position":   {Column: "position", Value: func(t *Taxonomy) any { return t.Position }},
		"kind":       {Column: "kind", Value: func(t *Taxonomy) any { return t.Kind }},
		"code":       {Column: "code", Value: func(t *Taxonomy) any { return t.Code }},
		"name":       {Column: "name", Value: func(t *Taxonomy) any { return t.Name }},
		"created_at": {Column: "created_at", Value: func(t *Taxonomy) any { return t.CreatedAt }},
		"updated_at": {Column: "updated_at", Value: func(t *Taxonomy) any { return t.UpdatedAt }},
	},
}
