package tenants

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/keyset"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

// Filter narrows a list of tenants. Empty fields do not, but for the dropped ones: they are listed where they are asked for.
type Filter struct {
	Status  string
	Cluster string
	Q       string // part of the slug or the name, whatever the case
}

var byTenant = keyset.Order[tenancy.Tenant]{
	Default: "-created_at",
	By: map[string]keyset.Sort[tenancy.Tenant]{
		"created_at":        {Column: "created_at", Value: func(t *tenancy.Tenant) any { return t.CreatedAt }},
		"updated_at":        {Column: "updated_at", Value: func(t *tenancy.Tenant) any { return t.UpdatedAt }},
		"status_changed_at": {Column: "status_changed_at", Value: func(t *tenancy.Tenant) any { return t.StatusChangedAt }},
		"slug":              {Column: "slug", Value: func(t *tenancy.Tenant) any { return t.Slug }},
		"name":              {Column: "name", Value: func(t *tenancy.Tenant) any { return t.Name }},
	},
	ID: func(t *tenancy.Tenant) uuid.UUID { return t.ID },
}

// List returns a page of the tenants that pass the filter, and the cursor of the next one.
func (s *Service) List(ctx context.Context, f Filter, limit int, cursor, sort string) ([]tenancy.Tenant, string, error) {
	q := s.DB.Gorm(ctx).Model(&tenancy.Tenant{})
	if f.Status != "" {
		q = q.Where("status = ?", f.Status)
	} else {
		q = q.Where("status <> 'dropped'")
	}
	if f.Cluster != "" {
		q = q.Where("cluster = ?", f.Cluster)
	}
	if f.Q != "" {
		pattern := keyset.Contains(f.Q)
		q = q.Where("(slug ilike ? or name ilike ?)", pattern, pattern)
	}
	return byTenant.Page(ctx, q, limit, cursor, sort)
}

// Find returns the tenant named by slug or id, dropped ones too by their id: fault.ResourceNotFound where there is none.
func (s *Service) Find(ctx context.Context, slugOrID string) (*tenancy.Tenant, error) {
	where := "slug = ?"
	if id, err := uuid.Parse(slugOrID); err == nil && strings.EqualFold(id.String(), slugOrID) {
		where = "id = ?"
	}
	t, err := gorm.G[tenancy.Tenant](s.DB.Gorm(ctx)).Where(where, slugOrID).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, fault.ResourceNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read tenant %s: %w", slugOrID, err)
	}
	return &t, nil
}

// Change takes the tenant named by slug or id to another status, and returns it as it then is. It refuses with
// fault.ResourceNotFound and fleet.IllegalTransition.
func (s *Service) Change(ctx context.Context, slugOrID string, a fleet.Action, o fleet.Order) (*tenancy.Tenant, error) {
	return s.with(ctx, slugOrID, func(t *tenancy.Tenant) error { return s.Fleet.Change(ctx, t.ID, a, o) })
}

// Rename gives the tenant another slug, another name, or both; what is empty stays. A version of zero means whichever. It
// refuses with SlugTaken, SlugReserved, fault.ResourceStale, fault.ResourceNotFound and fleet.Leaving.
func (s *Service) Rename(ctx context.Context, slugOrID, slug, name string, version int64, o fleet.Order) (*tenancy.Tenant, error) {
	if slug != "" && reserved(slug) {
		return nil, SlugReserved
	}
	if name != "" && !validName(name) {
		return nil, NameInvalid
	}
	name = strings.TrimSpace(name)
	return s.with(ctx, slugOrID, func(t *tenancy.Tenant) error {
		if alike, err := s.lookalike(ctx, slug, t.ID); err != nil || alike && slug != "" {
			return cmp.Or[error](err, SlugTaken)
		}
		if err := s.Fleet.Rename(ctx, t.ID, slug, name, version, o); err != nil {
			return err
		}
		s.Registry.Forget(tenancy.Tenant{ID: t.ID, Slug: slug}) // somebody may have asked for the name a moment ago
		return nil
	})
}

func (s *Service) with(ctx context.Context, slugOrID string, do func(*tenancy.Tenant) error) (*tenancy.Tenant, error) {
	t, err := s.Find(ctx, slugOrID)
	if err != nil {
		return nil, err
	}
	if err := do(t); err != nil {
		return nil, err
	}
	s.Registry.Forget(*t)
	return s.Find(ctx, t.ID.String())
}

// Event is something that happened to a tenant. Nobody changes it afterwards.
type Event struct {
	ID         uuid.UUID      `json:"id" gorm:"primaryKey"`
	TenantID   uuid.UUID      `json:"-"`
	Action     string         `json:"action" doc:"create, activate, suspend, resume, read-only, maintenance, archive, unarchive, drop, undrop, rename, abandon, dropped, …"`
	FromStatus tenancy.Status `json:"from"`
	ToStatus   tenancy.Status `json:"to"`
	Detail     string         `json:"detail" doc:"What else changed, such as the old and the new name."`
	Reason     string         `json:"reason"`
	ByWhom     string         `json:"by" doc:"A user's id, or what else did it."`
	At         time.Time      `json:"at"`
}

// TableName is for GORM.
func (Event) TableName() string { return "tenant_events" }

var byTime = keyset.Order[Event]{
	Default: "-at",
	By:      map[string]keyset.Sort[Event]{"at": {Column: "at", Value: func(e *Event) any { return e.At }}},
	ID:      func(e *Event) uuid.UUID { return e.ID },
}

// Events returns a page of what happened to the tenant, the newest first unless sort is "at", and the cursor of the next one.
func (s *Service) Events(ctx context.Context, tenant uuid.UUID, limit int, cursor, sort string) ([]Event, string, error) {
	return byTime.Page(ctx, s.DB.Gorm(ctx).Model(&Event{}).Where("tenant_id = ?", tenant), limit, cursor, sort)
}

// record adds to the tenant's history, in the transaction ctx carries.
func (s *Service) record(ctx context.Context, tenant uuid.UUID, action string, from, to tenancy.Status, by string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	e := Event{ID: id, TenantID: tenant, Action: action, FromStatus: from, ToStatus: to, ByWhom: by, At: s.Clock().UTC()}
	if err := s.DB.Gorm(ctx).Create(&e).Error; err != nil {
		return fmt.Errorf("record that tenant %s is %s: %w", tenant, to, err)
	}
	return nil
}

// Healed is what Heal has put right.
type Healed struct {
	Tenants   []string `json:"healed"`    // slugs of those of which registry and cluster did not say the same
	Transfers int      `json:"transfers"` // restores and moves that were cut off
}

// Heal puts right whatever a crash has left: first restores and moves that were cut off, whose tenants are between two places and
// may be shut; then tenants of which the registry and the cluster do not say the same. It may be repeated, and run by several
// at once.
func (s *Service) Heal(ctx context.Context) (h Healed, err error) {
	h.Tenants = []string{}
	h.Transfers, err = s.Transfers.Heal(ctx)
	tenants, wrong := s.Fleet.Heal(ctx)
	h.Tenants = append(h.Tenants, tenants...)
	return h, errors.Join(err, wrong)
}

// Reaped is what Reap did away with.
type Reaped struct {
	Abandoned int `json:"abandoned"` // tenants whose onboarding had failed
	Tenants   int `json:"tenants"`   // whose time of grace was over
	Schemas   int `json:"schemas"`   // that were nobody's
}

// Reap gives up what failed to be made, drops the tenants whose time of grace is over, and the schemas that are nobody's. It may be
// repeated, and run by several at once; progress may be nil.
func (s *Service) Reap(ctx context.Context, progress fleet.Dropped) (r Reaped, err error) {
	var failed []uuid.UUID
	err = s.DB.Gorm(ctx).Raw(`select t.id from tenants t join onboardings o on o.tenant_id = t.id
		where o.status = 'failed' and t.status in ('requested', 'creating', 'ready')`).Scan(&failed).Error
	if err != nil {
		return r, fmt.Errorf("find failed onboardings: %w", err)
	}
	for _, id := range failed {
		if wrong := s.abandon(ctx, id); wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		r.Abandoned++
	}
	var wrong error
	r.Tenants, wrong = s.Fleet.Purge(ctx, progress)
	err = errors.Join(err, wrong)
	r.Schemas, wrong = s.Fleet.Sweep(ctx)
	return r, errors.Join(err, wrong)
}
