package tenants

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/tenancy"
)

// progress is how far an onboarding is.
type progress struct {
	Onboarding struct {
		ID     uuid.UUID `json:"id"`
		Status string    `json:"status" enum:"pending,running,active,failed"`
		Steps  []Step    `json:"steps"`
	} `json:"onboarding"`
	Tenant struct {
		ID     uuid.UUID `json:"id"`
		Slug   string    `json:"slug"`
		Status string    `json:"status"`
		APIURL string    `json:"api_url"`
	} `json:"tenant"`
}

func (s *Service) progress(ctx context.Context, user, id uuid.UUID) (*progress, error) {
	o, t, err := s.Show(ctx, user, id)
	if err != nil {
		return nil, err
	}
	p := &progress{}
	p.Onboarding.ID, p.Onboarding.Status, p.Onboarding.Steps = o.ID, o.Status, o.Steps
	slug, _, _ := strings.Cut(t.Slug, "~") // one that failed has given it back
	p.Tenant.ID, p.Tenant.Slug, p.Tenant.Status, p.Tenant.APIURL = t.ID, slug, string(t.Status), s.Directory.Origin(slug)
	return p, nil
}

// waitForActive is how long an answer waits for the workspace: mostly it is ready by then, and the client need not ask again.
const waitForActive = 2 * time.Second

// provisionLimit ends what a request began and nobody waits for any more.
const provisionLimit = 20 * time.Second

type onboardInput struct {
	api.Idempotency
	Body Draft
}

// handleOnboard is claimed once per Idempotency-Key; the making comes after that transaction, in the request itself. It goes on
// when the client hangs up.
func (s *Service) handleOnboard() func(context.Context, *onboardInput) (*api.Data[*progress], error) {
	claim := api.Once(s.once, func(ctx context.Context, in *onboardInput) (*api.Data[*progress], error) {
		user := api.MustPrincipal(ctx).UserID
		o, err := s.Onboard(ctx, user, in.Body)
		if err != nil {
			return nil, err
		}
		p, err := s.progress(ctx, user, o.ID)
		if err != nil {
			return nil, err
		}
		return api.Accepted(p), nil
	})
	return func(ctx context.Context, in *onboardInput) (*api.Data[*progress], error) {
		out, err := claim(ctx, in)
		if err != nil {
			return nil, err
		}
		id := out.Body.Data.Onboarding.ID
		worked := make(chan struct{})
		go func() {
			defer close(worked)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), provisionLimit)
			defer cancel()
			s.provisionNow(ctx, id)
		}()
		select {
		case <-worked:
		case <-time.After(waitForActive):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if out.Body.Data, err = s.progress(ctx, api.MustPrincipal(ctx).UserID, id); err != nil {
			return nil, err
		}
		return out, nil
	}
}

// provisionNow does what the job would. Where it fails it asks for that job to come at once, which has patience.
func (s *Service) provisionNow(ctx context.Context, id uuid.UUID) {
	err := s.Provision(ctx, id)
	if err == nil {
		return
	}
	s.Log.WarnContext(ctx, "onboarding attempt failed", "onboarding", id, "cause", err)
	if err := s.Hasten(context.WithoutCancel(ctx), id); err != nil {
		s.Log.WarnContext(ctx, "ask for the onboarding's job", "onboarding", id, "cause", err)
	}
}

type showOnboardingInput struct {
	Onboarding uuid.UUID `path:"onboarding"`
}

func (s *Service) handleShowOnboarding(ctx context.Context, in *showOnboardingInput) (*api.Data[*progress], error) {
	p, err := s.progress(ctx, api.MustPrincipal(ctx).UserID, in.Onboarding)
	if err != nil {
		return nil, err
	}
	return api.OK(p), nil
}

type availabilityInput struct {
	Slug string `query:"slug" required:"true" minLength:"3" maxLength:"40" pattern:"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"`
}

type availability struct {
	Slug      string `json:"slug"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty" enum:"taken,reserved" doc:"Why not."`
}

func (s *Service) handleAvailability(ctx context.Context, in *availabilityInput) (*api.Data[availability], error) {
	reason, err := s.Available(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	return api.OK(availability{Slug: in.Slug, Available: reason == "", Reason: reason}), nil
}

// Edge is what the HTTP edge asks of the registry, in its own words.
type Edge struct{ Registry *tenancy.Registry }

// Resolve finds the tenant a host names.
func (e Edge) Resolve(ctx context.Context, host string) (api.Tenant, error) {
	t, err := e.Registry.Resolve(ctx, host)
	return api.Tenant{ID: t.ID, Slug: t.Slug}, err
}

// Enter lets into the tenant.
func (e Edge) Enter(ctx context.Context, t api.Tenant) (context.Context, error) {
	return e.Registry.Enter(ctx, t.ID)
}
