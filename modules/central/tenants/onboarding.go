package tenants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/text/currency"
	"golang.org/x/text/language"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
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
	Country  string `json:"country,omitempty" minLength:"1" default:"ID" doc:"ISO 3166-1 alpha-2."`
	Currency string `json:"currency,omitempty" minLength:"1" default:"IDR" doc:"ISO 4217."`
	Timezone string `json:"timezone,omitempty" minLength:"1" default:"Asia/Jakarta" doc:"IANA time zone."`
	Locale   string `json:"locale,omitempty" minLength:"1" default:"id" doc:"id or en."`
}

// check refuses what cannot be with fault.ValidationFailed, which names every such field. The schema leaves most of the last four to it: what it
// refuses by itself never comes here, and would be all that a form with several wrong fields is told.
func (d Draft) check() error {
	refusal := fault.ValidationFailed
	if reserved(d.Slug) {
		refusal = refusal.WithField("slug", slugReserved.ID, slugReserved.EN)
	}
	if !validName(d.Name) {
		refusal = refusal.WithField("name", nameInvalid.ID, nameInvalid.EN)
	}
	if region, err := language.ParseRegion(d.Country); err != nil || !region.IsCountry() || region.String() != d.Country {
		refusal = refusal.WithField("country", "Negara tidak dikenal.", "This country is not known.")
	}
	if unit, err := currency.ParseISO(d.Currency); err != nil || unit.String() != d.Currency {
		refusal = refusal.WithField("currency", "Mata uang tidak dikenal.", "This currency is not known.")
	}
	// "" and "Local" are known too, and are the server's own.
	if _, err := time.LoadLocation(d.Timezone); err != nil || d.Timezone == "" || d.Timezone == "Local" {
		refusal = refusal.WithField("timezone", "Zona waktu tidak dikenal.", "This time zone is not known.")
	}
	if d.Locale != string(locale.ID) && d.Locale != string(locale.EN) {
		refusal = refusal.WithField("locale", "Isi id atau en.", "Give id or en.")
	}
	if len(refusal.Fields()) > 0 {
		return refusal
	}
	return nil
}

// Onboard claims the slug, makes the user the owner of a new tenant and asks for its schema, all or nothing. It returns
// before the schema stands. It refuses with SlugTaken, what check does, a user whose address is not verified, and one
// who makes too many.
func (s *Service) Onboard(ctx context.Context, user uuid.UUID, d Draft) (*Onboarding, error) {
	if err := s.RequireVerified(ctx, user); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id: %w", err)
	}
	cluster, err := s.Fleet.Choose(ctx)
	if errors.Is(err, fleet.ErrFull) {
		return nil, fault.ServiceUnavailable.WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	now := s.Clock().UTC()
	tenant := &tenancy.Tenant{
		ID: id, Slug: d.Slug, Name: strings.TrimSpace(d.Name), Status: tenancy.Requested, StatusChangedAt: now, Version: 1, Cluster: cluster,
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
		if err := s.Admit(ctx, user); err != nil {
			return err
		}
		if err := s.claimLookalikes(ctx, d.Slug); err != nil {
			return err
		}
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
		if err := s.record(ctx, tenant.ID, "create", "", tenancy.Requested, user.String()); err != nil {
			return err
		}
		// Later: mostly whoever asked has done it all by then, and the job finds nothing to do.
		opts := provision{}.InsertOpts()
		opts.ScheduledAt = time.Now().Add(waitForActive)
		return s.Queue.Insert(ctx, provision{OnboardingID: o.ID}, &opts)
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
	alike, err := s.lookalike(ctx, slug, uuid.Nil)
	if alike {
		return "taken", err
	}
	return "", err
}

// Provision takes an onboarding to its end, as the job would that was inserted with it: who asked need not wait for that one. It
// does nothing where others are doing as much already for too long, or another process is at it.
func (s *Service) Provision(ctx context.Context, id uuid.UUID) error {
	full := time.NewTimer(waitForActive)
	defer full.Stop()
	select {
	case s.inline <- struct{}{}:
		defer func() { <-s.inline }()
		return s.advance(ctx, id)
	case <-full.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Hasten asks for an onboarding's job at once, for who cannot do what it does.
func (s *Service) Hasten(ctx context.Context, id uuid.UUID) error {
	return s.Queue.Insert(ctx, provision{OnboardingID: id}, nil)
}

// advance takes an onboarding to its end, from wherever it stands. Only one process works on it at a time: the second to
// come leaves it to the first. The lock lasts as long as the transaction that activates the tenant, which is open from the
// beginning; what the steps before do is committed on its own, and found again by who comes after a crash.
func (s *Service) advance(ctx context.Context, id uuid.UUID) error {
	var o Onboarding
	var slug string
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		var mine bool
		if err := s.DB.Gorm(ctx).Raw("select pg_try_advisory_xact_lock(hashtextextended(?, 0))", "onboarding "+id.String()).Scan(&mine).Error; err != nil {
			return fmt.Errorf("lock onboarding %s: %w", id, err)
		}
		if !mine {
			return nil
		}
		var err error
		if o, err = gorm.G[Onboarding](s.DB.Gorm(ctx)).Where("id = ?", id).Take(ctx); err != nil {
			return fmt.Errorf("read onboarding %s: %w", id, err)
		}
		if o.Status == "active" || o.Status == "failed" {
			return nil
		}
		slug, err = s.run(ctx, &o)
		return err
	})
	if err != nil && o.Status == "running" {
		// What was done is said where it went wrong; otherwise all is done at once.
		return errors.Join(err, s.save(context.WithoutCancel(ctx), &o))
	}
	if err == nil && slug != "" {
		s.Registry.Forget(tenancy.Tenant{ID: o.TenantID, Slug: slug})
		s.Log.InfoContext(ctx, "tenant active", "tenant", slug)
	}
	return err
}

func (s *Service) run(ctx context.Context, o *Onboarding) (slug string, err error) {
	for _, step := range []struct {
		name string
		do   func(ctx context.Context, o *Onboarding) error
	}{
		{stepSchema, func(ctx context.Context, o *Onboarding) error { return s.Fleet.Build(ctx, o.TenantID) }},
		{stepContents, s.fill},
		{stepActivate, func(ctx context.Context, o *Onboarding) error { slug, err = s.activate(ctx, o); return err }},
	} {
		o.Status = "running"
		o.step(step.name, "running")
		if err := step.do(ctx, o); err != nil {
			return "", fmt.Errorf("onboarding %s, step %s: %w", o.ID, step.name, err)
		}
		o.step(step.name, "done")
	}
	o.Status = "active"
	return slug, s.save(ctx, o)
}

func (s *Service) fill(ctx context.Context, o *Onboarding) error {
	ctx, err := s.Registry.EnterNew(ctx, o.TenantID)
	if err != nil {
		return err
	}
	return s.Seed(ctx, o.UserID)
}

// activate lets people in. Only from a state before: an operator may have suspended it meanwhile.
func (s *Service) activate(ctx context.Context, o *Onboarding) (slug string, err error) {
	before := s.DB.Gorm(ctx).Raw(`update tenants t set status = 'active', status_changed_at = ?, updated_at = ?, version = version + 1
		from (select id, status from tenants where id = ? and status in ('requested', 'creating', 'ready') for update) old
		where t.id = old.id returning t.slug`, s.Clock().UTC(), s.Clock().UTC(), o.TenantID)
	if err := before.Scan(&slug).Error; err != nil {
		return "", fmt.Errorf("activate tenant %s: %w", o.TenantID, err)
	}
	if slug == "" {
		return "", nil
	}
	return slug, s.record(ctx, o.TenantID, "activate", tenancy.Requested, tenancy.Active, o.UserID.String())
}

func (s *Service) save(ctx context.Context, o *Onboarding) error {
	o.UpdatedAt = s.Clock().UTC()
	if err := s.DB.Gorm(ctx).Model(o).Select("status", "steps", "failure", "updated_at").Updates(o).Error; err != nil {
		return fmt.Errorf("save onboarding %s: %w", o.ID, err)
	}
	return nil
}

// fail records that an onboarding will not be tried again, and frees its name. What was made of it is dropped by a job.
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
	if err := s.save(ctx, &o); err != nil {
		return err
	}
	return s.abandon(ctx, o.TenantID)
}

func (s *Service) abandon(ctx context.Context, tenant uuid.UUID) error {
	t, err := gorm.G[tenancy.Tenant](s.DB.Gorm(ctx)).Where("id = ?", tenant).Take(ctx)
	if err != nil {
		return fmt.Errorf("read tenant %s: %w", tenant, err)
	}
	if err := s.Fleet.Abandon(ctx, tenant, fleet.Order{By: "onboarding", Reason: "its onboarding failed"}); err != nil {
		return err
	}
	s.Registry.Forget(t)
	return nil
}
