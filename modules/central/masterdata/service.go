package masterdata

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
			if err := resource.LockTree(ctx, s.DB, "master_taxonomies"); err != nil {
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
		below, err := resource.InTree(ctx, s.DB, "master_taxonomies", id, *t.ParentID)
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

// Active returns every active master taxonomy, what a new tenant starts with.
func (s *Service) Active(ctx context.Context) ([]Taxonomy, error) {
	var rows []Taxonomy
	if err := s.rows.Query(ctx).Where("is_active").Order("kind, position, code").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the active master taxonomies: %w", err)
	}
	return rows, nil
}

// EnsureAll adds the drafts whose kind and code are not there yet. It is how demo data is
// loaded, and may be repeated.
func (s *Service) EnsureAll(ctx context.Context, drafts []Draft) error {
	return s.DB.Tx(ctx, func(ctx context.Context) error {
		for _, d := range drafts {
			var n int64
			if err := s.rows.Query(ctx).Where("kind = ? and lower(code) = lower(?)", d.Kind, d.Code).Count(&n).Error; err != nil {
				return fmt.Errorf("look for master taxonomy %s: %w", d.Code, err)
			}
			if n > 0 {
				continue
			}
			if _, err := s.Create(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
}
