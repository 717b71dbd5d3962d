package taxonomies

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"garment.id/homecore/platform/keyset"
	"garment.id/homecore/platform/resource"
)

// List returns a page of the taxonomies that pass the filter, and the cursor of the next one.
func (s *Service) List(ctx context.Context, f Filter, limit int, cursor, sort string) ([]Taxonomy, string, error) {
	q := s.rows.Query(ctx)
	if f.Kind != "" {
		q = q.Where("kind = ?", f.Kind)
	}
	if f.ParentID != uuid.Nil {
		q = q.Where("parent_id = ?", f.ParentID)
	}
	if f.IsActive != "" {
		q = q.Where("is_active = ?", f.IsActive == "true")
	}
	if f.Q != "" {
		pattern := keyset.Contains(f.Q)
		q = q.Where("(code ilike ? or name ilike ?)", pattern, pattern)
	}
	return s.rows.List(ctx, q, limit, cursor, sort)
}

// Get returns one taxonomy: fault.ResourceNotFound where there is none.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (*Taxonomy, error) {
	return s.rows.Get(ctx, id)
}

// Create adds a taxonomy. It refuses with CodeUsed and ParentUnknown.
func (s *Service) Create(ctx context.Context, d Draft) (*Taxonomy, error) {
	t := &Taxonomy{
		Kind: d.Kind, Code: d.Code, Name: d.Name, ParentID: d.ParentID, Description: d.Description,
		Position: d.Position, Attributes: d.Attributes, IsActive: d.IsActive == nil || *d.IsActive,
	}
	if t.Attributes == nil {
		t.Attributes = map[string]any{}
	}
	return t, s.rows.Create(ctx, t)
}

// Update changes a taxonomy that is still at version. It refuses with fault.ResourceStale, CodeUsed, ParentUnknown,
// ParentBelow and KindFixed.
func (s *Service) Update(ctx context.Context, id uuid.UUID, version int64, c Change) (*Taxonomy, error) {
	var t *Taxonomy
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		// Two moves at the same time could close a circle that neither sees: one after the other.
		if c.ParentID.Given {
			if err := resource.LockTree(ctx, s.DB, "taxonomies"); err != nil {
				return err
			}
		}
		t, err = s.change(ctx, id, version, c)
		return err
	})
	// The constraint that holds parent and child to one kind speaks of both ends; without a new parent it was the kind.
	if c.Kind.Given && !c.ParentID.Given && errors.Is(err, ParentUnknown) {
		return nil, KindFixed
	}
	return t, err
}

func (s *Service) change(ctx context.Context, id uuid.UUID, version int64, c Change) (*Taxonomy, error) {
	return s.rows.Update(ctx, id, version, func(ctx context.Context, t *Taxonomy) error {
		c.Kind.Set(&t.Kind)
		c.Code.Set(&t.Code)
		c.Name.Set(&t.Name)
		c.ParentID.Set(&t.ParentID)
		c.Description.Set(&t.Description)
		c.Position.Set(&t.Position)
		c.Attributes.Set(&t.Attributes)
		c.IsActive.Set(&t.IsActive)
		if !c.ParentID.Given || t.ParentID == nil {
			return nil
		}
		below, err := resource.InTree(ctx, s.DB, "taxonomies", id, *t.ParentID)
		if err == nil && below {
			err = ParentBelow
		}
		return err
	})
}

// Delete removes a taxonomy; a version of zero means whichever. It refuses with
// resource.InUse while it has children.
func (s *Service) Delete(ctx context.Context, id uuid.UUID, version int64) error {
	return s.rows.Delete(ctx, id, version)
}

// Copy is a master taxonomy that a new tenant starts with.
type Copy struct {
	MasterID       uuid.UUID
	MasterParentID *uuid.UUID
	Draft
}

// Seed gives a new tenant its copies, in the transaction ctx carries. A tenant that has copies already keeps them as they
// are: its own changes are never overwritten.
func (s *Service) Seed(ctx context.Context, masters []Copy) error {
	var seeded int64
	if err := s.rows.Query(ctx).Where("master_id is not null").Count(&seeded).Error; err != nil {
		return fmt.Errorf("count the copied taxonomies: %w", err)
	}
	if seeded > 0 || len(masters) == 0 {
		return nil
	}
	ids := make(map[uuid.UUID]uuid.UUID, len(masters))
	for _, m := range masters {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make an id: %w", err)
		}
		ids[m.MasterID] = id
	}
	now := s.Clock().UTC()
	rows := make([]Taxonomy, len(masters))
	for i, m := range masters {
		rows[i] = Taxonomy{
			Head: resource.Head{ID: ids[m.MasterID], Version: 1, CreatedAt: now, UpdatedAt: now},
			Kind: m.Kind, Code: m.Code, Name: m.Name, Description: m.Description, Position: m.Position,
			Attributes: m.Attributes, IsActive: true, MasterID: &m.MasterID,
		}
		// A parent that is not active was not copied: its children become roots.
		if m.MasterParentID != nil {
			if id, ok := ids[*m.MasterParentID]; ok {
				rows[i].ParentID = &id
			}
		}
	}
	// One statement: a foreign key is checked at its end, so the order of parents and children does not matter.
	if err := s.DB.Gorm(ctx).Create(&rows).Error; err != nil {
		return fmt.Errorf("copy the master taxonomies: %w", err)
	}
	return nil
}
