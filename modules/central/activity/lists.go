package activity

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/keyset"
)

// listInput is what the four lists take. The types are identity's, and its throttles' with _failed.
type listInput struct {
	Limit    int       `query:"limit" minimum:"1" maximum:"100" default:"25" doc:"The most rows of a page."`
	Cursor   string    `query:"cursor" maxLength:"1024" doc:"next_cursor of the page before."`
	Sort     string    `query:"sort" maxLength:"64" doc:"at or score; a leading - sorts downwards."`
	Lang     string    `query:"lang" doc:"Language of texts: id or en."`
	Type     string    `query:"filter[type]" enum:"access_denied,account_disabled,account_reclaimed,challenge_failed,credential_stuffing,device_forgotten,device_remembered,email_verified,forgot_failed,google_failed,google_linked,google_unlinked,impersonation_started,invitation_accepted,invitation_failed,invitation_revoked,invited,login,login_failed,logout,not_me_reported,onboarding_failed,passkey_added,passkey_failed,passkey_removed,password_changed,password_confirm_failed,password_failed,password_reset,password_reset_forced,password_reset_requested,platform_role_granted,platform_role_revoked,profile_updated,recovery_code_used,recovery_codes_renewed,refresh_reused,refreshed,register_failed,registered,resend_failed,reset_failed,session_ended,sessions_ended_by_operator,signing_key_revoked,signing_key_rotated,step_up,tenant_selected,two_factor_challenged,two_factor_disabled,two_factor_enabled,two_factor_failed,verification_requested" doc:"What happened."`
	User     uuid.UUID `query:"filter[user]" doc:"Whose account."`
	IP       string    `query:"filter[ip]" maxLength:"64" doc:"An address, or a network such as 10.0.0.0/8."`
	From     time.Time `query:"filter[from]" doc:"Not before this time."`
	To       time.Time `query:"filter[to]" doc:"Before this time."`
	MinScore int       `query:"filter[min_score]" minimum:"0" maximum:"100"`
}

// order is a function's result, since tables of functions are no constants.
func order(byDefault string) keyset.Order[row] {
	return keyset.Order[row]{
		Default: byDefault, ID: func(r *row) uuid.UUID { return r.ID },
		By: map[string]keyset.Sort[row]{
			"at":    {Column: "at", Value: func(r *row) any { return r.At }},
			"score": {Column: "score", Value: func(r *row) any { return r.Score }},
		},
	}
}

const newest, worst = "-at", "-score"

func (s *Service) handleActivities(ctx context.Context, in *listInput) (*api.Page[Activity], error) {
	return s.ofPeople(ctx, in, newest, nil)
}

func (s *Service) handleSuspicious(ctx context.Context, in *listInput) (*api.Page[Activity], error) {
	return s.ofPeople(ctx, in, worst, func(q *gorm.DB) *gorm.DB { return q.Where("score > 0") })
}

// notable leaves out what happens every day: everything else touches an account's security.
const notable = `not (type in ('login', 'logout', 'refreshed', 'tenant_selected') or type = 'session_ended' and reason = 'logout')
	or outcome = 'failure' or score > 0`

func (s *Service) handleSecurity(ctx context.Context, in *listInput) (*api.Page[Activity], error) {
	p := api.MustPrincipal(ctx)
	if in.User != uuid.Nil && in.User != p.UserID {
		return nil, fault.AccessDenied
	}
	in.User = p.UserID
	return s.list(ctx, in, newest, s.DB.Gorm(ctx).Where(notable), uuid.Nil)
}

// ofPeople lists everybody's for who may read that on the platform, and the caller's own for everybody else.
func (s *Service) ofPeople(ctx context.Context, in *listInput, sort string, narrow func(*gorm.DB) *gorm.DB) (*api.Page[Activity], error) {
	p := api.MustPrincipal(ctx)
	all, err := s.readsAll(ctx, p)
	if err != nil {
		return nil, err
	}
	if !all {
		if in.User != uuid.Nil && in.User != p.UserID {
			return nil, fault.AccessDenied
		}
		in.User = p.UserID
	}
	q := s.DB.Gorm(ctx)
	if narrow != nil {
		q = narrow(q)
	}
	return s.list(ctx, in, sort, q, uuid.Nil)
}

// readsAll reports whether p may read everybody's. A tenant's token never may: it is for the tenant's business.
func (s *Service) readsAll(ctx context.Context, p api.Principal) (bool, error) {
	if !p.Central() {
		return false, nil
	}
	err := s.Permits(ctx, p, "activities.read")
	if refusal, refused := fault.From(err); refused && refusal.Is(fault.AccessDenied) {
		return false, nil
	}
	return err == nil, err
}

func (s *Service) handleTenant(ctx context.Context, in *listInput) (*api.Page[Activity], error) {
	tenantID := api.MustPrincipal(ctx).TenantID
	members := s.MemberIDs(ctx, tenantID)
	// Strangers who use the tenant's pages are not the tenant's affair: that one could register there would tell that they had no account.
	// Failed sign-ins are, and look the same whoever was meant.
	q := s.DB.Gorm(ctx).Where("tenant_id = ? and (user_id is null or type = ? or user_id in (?))", tenantID, typeLoginFailed, members)
	if in.User != uuid.Nil {
		q = q.Where("user_id in (?)", members)
	}
	return s.list(ctx, in, newest, q, tenantID)
}

func (s *Service) list(ctx context.Context, in *listInput, sort string, q *gorm.DB, tenantID uuid.UUID) (*api.Page[Activity], error) {
	q, err := in.narrow(q.Model(&row{}))
	if err != nil {
		return nil, err
	}
	rows, next, err := order(sort).Page(ctx, q, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	views, err := s.show(ctx, rows, tenantID)
	if err != nil {
		return nil, err
	}
	return api.List(views, next, in.Limit), nil
}

func (in *listInput) narrow(q *gorm.DB) (*gorm.DB, error) {
	if in.Type != "" {
		q = q.Where("type = ?", in.Type)
	}
	if in.User != uuid.Nil {
		q = q.Where("user_id = ?", in.User)
	}
	if in.IP != "" {
		network, err := parseNetwork(in.IP)
		if err != nil {
			return nil, ipInvalid
		}
		q = q.Where("ip <<= cast(? as inet)", network)
	}
	if !in.From.IsZero() {
		q = q.Where("at >= ?", in.From)
	}
	if !in.To.IsZero() {
		q = q.Where("at < ?", in.To)
	}
	if in.MinScore > 0 {
		q = q.Where("score >= ?", in.MinScore)
	}
	return q, nil
}

func parseNetwork(text string) (string, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked().String(), nil
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap().WithZone("").String(), err
}

// show puts names to the rows. In a tenant's list only its people have names and only operators act: who tries a name on its
// login page must not show the tenant which accounts there are.
func (s *Service) show(ctx context.Context, rows []row, tenantID uuid.UUID) ([]Activity, error) {
	var users, tenants []uuid.UUID
	for _, r := range rows {
		for _, id := range []*uuid.UUID{r.UserID, r.ActorID} {
			if id != nil {
				users = append(users, *id)
			}
		}
		if r.TenantID != nil {
			tenants = append(tenants, *r.TenantID)
		}
	}
	people, err := s.People(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("name the people of the log: %w", err)
	}
	slugs, err := s.Slugs(ctx, tenants)
	if err != nil {
		return nil, fmt.Errorf("name the tenants of the log: %w", err)
	}
	hidden := func(uuid.UUID) bool { return false }
	if tenantID != uuid.Nil {
		members, err := s.Members(ctx, tenantID, users)
		if err != nil {
			return nil, fmt.Errorf("tell the tenant's people: %w", err)
		}
		hidden = func(id uuid.UUID) bool { return !members[id] }
	}
	views := make([]Activity, len(rows))
	for i, r := range rows {
		v := Activity{
			ID: r.ID, Type: r.Type, Outcome: r.Outcome, Reason: r.Reason, Note: r.Note, Score: r.Score, Reasons: r.reasons(), SessionID: r.SessionID,
			UserAgent: r.UserAgent, Device: r.Device, Location: r.location(), RequestID: r.RequestID, At: r.At.UTC(),
		}
		if r.IP != nil {
			v.IP = *r.IP
		}
		if r.UserID != nil {
			switch p, known := people[*r.UserID]; {
			case hidden(*r.UserID):
				v.Reason, v.Score, v.Reasons = "", 0, []string{}
			case known:
				v.User = &UserView{ID: p.ID, Name: p.Name, Email: p.Email}
			}
		} else if tenantID != uuid.Nil && r.ActorID == nil {
			v.Reason, v.Score, v.Reasons = "", 0, []string{}
		}
		if r.ActorID != nil {
			if p, known := people[*r.ActorID]; known {
				v.Actor = &ActorView{ID: p.ID, Name: p.Name}
			}
		}
		if r.TenantID != nil {
			if slug, known := slugs[*r.TenantID]; known {
				v.Tenant = &InTenant{ID: *r.TenantID, Slug: slug}
			}
		}
		views[i] = v
	}
	return views, nil
}

func (r row) location() *Location {
	if r.Country == "" {
		return nil
	}
	return &Location{Country: r.Country, City: r.City}
}
