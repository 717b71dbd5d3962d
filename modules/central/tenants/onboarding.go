package tenants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
)

// Steps of an onboarding, in order. Each may run twice.
const (
	stepSchema   = "schema"   // the tenant's role, schema and tables
	stepContents = "contents" // its roles, its owner, its copies of the master data
	stepActivate = "activate" // from here on it may be entered
)

// Step is one step and how far it is: pending, running, done or failed.
type Step struct {
	Name   string `json:"name"`
	Status string `json:"status" enum:"pending,running,done,failed"`
}

// Onboarding is the making of one tenant.
type Onboarding struct {
	ID        uuid.UUID `gorm:"primaryKey"`
	TenantID  uuid.UUID
	UserID    uuid.UUID
	Status    string // pending, running, active, failed
	Steps     []Step `gorm:"serializer:json"`
	Failure   *string
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (o *Onboarding) step(name, status string) {
	for i := range o.Steps {
		if o.Steps[i].Name == name {
			o.Steps[i].Status = status
		}
	}
}

// Draft is what a new tenant is made of. Empty fields get the defaults of Indonesia.
type Draft struct {
	Name     string `json:"name" pattern:"\\S" minLength:"2" maxLength:"120" example:"Konveksi Rapi Jahit"`
	Slug     string `json:"slug" minLength:"3" maxLength:"40" pattern:"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" example:"rapi-jahit" doc:"The workspace's name in its address. It cannot be changed by accident: choose well."`
	Plan     string `json:"plan,omitempty" maxLength:"60" pattern:"^[a-z0-9][a-z0-9_-]*$"`
	Country  string `json:"country,omitempty" pattern:"^[A-Z]{2}$" default:"ID" doc:"ISO 3166-1 alpha-2."`
	Currency string `json:"currency,omitempty" pattern:"^[A-Z]{3}$" default:"IDR" doc:"ISO 4217."`
	Timezone string `json:"timezone,omitempty" maxLength:"60" default:"Asia/Jakarta" doc:"IANA time zone."`
	Locale   string `json:"locale,omitempty" enum:"id,en" default:"id"`
}

// Onboard claims the slug, makes the user the owner of a new tenant and asks for its schema, all or nothing. It returns
// before the schema stands. It refuses with SlugTaken, SlugReserved, TimezoneUnknown, and a user whose address is not verified.
func (s *Service) Onboard(ctx context.Context, user uuid.UUID, d Draft) (*Onboarding, error) {
	if err := s.RequireVerified(ctx, user); err != nil {
		return nil, err
	}
	if reserved(d.Slug) {
		return nil, SlugReserved
	}
	if _, err := time.LoadLocation(d.Timezone); err != nil || d.Timezone == "Local" {
		return nil, TimezoneUnknown
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	now := s.Clock().UTC()
	tenant := &tenancy.Tenant{
		ID: id, Slug: d.Slug, Name: d.Name, Status: tenancy.Requested, StatusChangedAt: now, Cluster: tenancy.DefaultCluster,
		Country: d.Country, Currency: d.Currency, Timezone: d.Timezone, Locale: d.Locale, CreatedAt: now, UpdatedAt: now,
	}
	if d.Plan != "" {
		tenant.Plan = &d.Plan
	}
	if id, err = uuid.NewV7(); err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	o := &Onboarding{
		ID: id, TenantID: tenant.ID, UserID: user, Status: "pending", CreatedAt: now, UpdatedAt: now,
		Steps: []Step{{stepSchema, "pending"}, {stepContents, "pending"}, {stepActivate, "pending"}},
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.DB.Gorm(ctx).Create(tenant).Error; database.Constraint(err) == "tenants_slug_key" {
			return SlugTaken.WithCause(err)
		} else if err != nil {
			return fmt.Errorf("register tenant %s: %w", d.Slug, err)
		}
		if err := s.Directory.add(ctx, tenant.ID, user, "owner", now); err != nil {
			return fmt.Errorf("make the owner of tenant %s: %w", d.Slug, err)
		}
		if err := s.DB.Gorm(ctx).Create(o).Error; err != nil {
			return fmt.Errorf("begin the onboarding of tenant %s: %w", d.Slug, err)
		}
		return s.Queue.Insert(ctx, provision{OnboardingID: o.ID}, nil)
	})
	if err != nil {
		return nil, err
	}
	s.Registry.Forget(*tenant) // somebody may have asked for the name a moment ago
	return o, nil
}

// Show returns an onboarding of the user's, with its tenant: fault.ResourceNotFound for anybody else's.
func (s *Service) Show(ctx context.Context, user, id uuid.UUID) (*Onboarding, *tenancy.Tenant, error) {
	o, err := gorm.G[Onboarding](s.DB.Gorm(ctx)).Where("id = ? and user_id = ?", id, user).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil, fault.ResourceNotFound
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read onboarding %s: %w", id, err)
	}
	t, err := gorm.G[tenancy.Tenant](s.DB.Gorm(ctx)).Where("id = ?", o.TenantID).Take(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the tenant of onboarding %s: %w", id, err)
	}
	return &o, &t, nil
}

// Available says whether the slug could be had now, and if not, why.
func (s *Service) Available(ctx context.Context, slug string) (reason string, err error) {
	if reserved(slug) {
		return "reserved", nil
	}
	var n int64
	if err := s.DB.Gorm(ctx).Model(&tenancy.Tenant{}).Where("slug = ?", slug).Count(&n).Error; err != nil {
		return "", fmt.Errorf("look for slug %s: %w", slug, err)
	}
	if n > 0 {
		return "taken", nil
	}
	return "", nil
}

// advance takes an onboarding to its end, from wherever it stands. Only one process works on it at a time: the second to
// come leaves it to the first.
func (s *Service) advance(ctx context.Context, id uuid.UUID) error {
	return s.DB.Tx(ctx, func(locked context.Context) error {
		var mine bool
		if err := s.DB.Gorm(locked).Raw("select pg_try_advisory_xact_lock(hashtextextended(?, 0))", "onboarding "+id.String()).Scan(&mine).Error; err != nil {
			return fmt.Errorf("lock onboarding %s: %w", id, err)
		}
		if !mine {
			return nil
		}
		// ctx, not locked: each step is a transaction of its own, seen by who asks how far it is.
		o, err := gorm.G[Onboarding](s.DB.Gorm(ctx)).Where("id = ?", id).Take(ctx)
		if err != nil {
			return fmt.Errorf("read onboarding %s: %w", id, err)
		}
		if o.Status == "active" || o.Status == "failed" {
			return nil
		}
		return s.run(ctx, &o)
	})
}

func (s *Service) run(ctx context.Context, o *Onboarding) error {
	for _, step := range []struct {
		name string
		do   func(ctx context.Context, o *Onboarding) error
	}{
		{stepSchema, func(ctx context.Context, o *Onboarding) error { return s.Build(ctx, o.TenantID) }},
		{stepContents, s.fill},
		{stepActivate, s.activate},
	} {
		o.Status = "running"
		o.step(step.name, "running")
		if err := s.save(ctx, o); err != nil {
			return err
		}
		if err := step.do(ctx, o); err != nil {
			return fmt.Errorf("onboarding %s, step %s: %w", o.ID, step.name, err)
		}
		o.step(step.name, "done")
	}
	return nil
}

func (s *Service) fill(ctx context.Context, o *Onboarding) error {
	ctx, err := s.Registry.EnterNew(ctx, o.TenantID)
	if err != nil {
		return err
	}
	return s.Seed(ctx, o.UserID)
}

func (s *Service) activate(ctx context.Context, o *Onboarding) error {
	o.step(stepActivate, "done")
	o.Status = "active"
	var t tenancy.Tenant
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		// Only from a state before: an operator may have suspended it meanwhile.
		err := s.DB.Gorm(ctx).Model(&t).Where("id = ? and status in ('requested', 'creating', 'ready')", o.TenantID).
			Updates(map[string]any{"status": tenancy.Active, "updated_at": s.Clock().UTC()}).Error
		if err != nil {
			return fmt.Errorf("activate tenant %s: %w", o.TenantID, err)
		}
		return s.save(ctx, o)
	})
	if err != nil {
		return err
	}
	if t, err = gorm.G[tenancy.Tenant](s.DB.Gorm(ctx)).Where("id = ?", o.TenantID).Take(ctx); err != nil {
		return fmt.Errorf("read tenant %s: %w", o.TenantID, err)
	}
	s.Registry.Forget(t)
	s.Log.InfoContext(ctx, "tenant active", "tenant", t.Slug)
	return nil
}

func (s *Service) save(ctx context.Context, o *Onboarding) error {
	o.UpdatedAt = s.Clock().UTC()
	if err := s.DB.Gorm(ctx).Model(o).Select("status", "steps", "failure", "updated_at").Updates(o).Error; err != nil {
		return fmt.Errorf("save onboarding %s: %w", o.ID, err)
	}
	return nil
}

// fail records that an onboarding will not be tried again.
func (s *Service) fail(ctx context.Context, id uuid.UUID, cause error) error {
	o, err := gorm.G[Onboarding](s.DB.Gorm(ctx)).Where("id = ? and status <> 'active'", id).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read onboarding %s: %w", id, err)
	}
	for i := range o.Steps {
		if o.Steps[i].Status == "running" {
			o.Steps[i].Status = "failed"
		}
	}
	text := cause.Error()
	o.Status, o.Failure = "failed", &text
	s.Log.ErrorContext(ctx, "onboarding failed", slog.String("onboarding", id.String()), slog.String("cause", text))
	return s.save(ctx, &o)
}
