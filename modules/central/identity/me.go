package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"garment.id/homecore/platform/api"
)

// Me is the signed-in user, what they may do, and by which session they are here.
type Me struct {
	User                User         `json:"user"`
	Session             MeSession    `json:"session"`
	PlatformRoles       []string     `json:"platform_roles"`
	PlatformPermissions []string     `json:"platform_permissions"`
	Tenants             []TenantView `json:"tenants"`
	Tenant              *TenantView  `json:"tenant,omitempty" doc:"On a tenant's token: that tenant."`
	Permissions         *[]string    `json:"permissions,omitempty" doc:"On a tenant's token: what the user may do there."`
}

// MeSession is the session the token belongs to.
type MeSession struct {
	ID       uuid.UUID `json:"id"`
	AuthTime time.Time `json:"auth_time"`
	AMR      []string  `json:"amr"`
}

func (s *Service) handleMe(ctx context.Context, _ *struct{}) (*api.Data[Me], error) {
	me, err := s.me(ctx, api.MustPrincipal(ctx))
	if err != nil {
		return nil, err
	}
	return api.OK(me), nil
}

// me answers from memory (known.go): it reads no database unless the account is new to this process or has changed. On a tenant's
// token it reads the permissions there, at most twice a second.
func (s *Service) me(ctx context.Context, p api.Principal) (Me, error) {
	of, err := s.known.get(ctx, p.UserID)
	if err != nil {
		return Me{}, fmt.Errorf("read account %s: %w", p.UserID, err)
	}
	me := Me{
		User: s.viewAccount(of.user, of.memberships), Session: MeSession{ID: p.SessionID, AuthTime: p.AuthTime, AMR: p.AMR},
		PlatformRoles: of.roles, PlatformPermissions: of.permissions, Tenants: viewTenants(of.memberships),
	}
	if p.Central() {
		return me, nil
	}
	m := of.membership(p.TenantID)
	if m == nil { // a member no more, on a token that does not know it yet
		return Me{}, api.ContextMismatch
	}
	tenant := viewTenant(*m)
	me.Tenant = &tenant
	permissions, err := s.permissionsOfLate(ctx, p)
	if err != nil {
		return Me{}, err
	}
	me.Permissions = &permissions
	return me, nil
}

// permitted is whose permissions are remembered for a moment.
type permitted struct {
	place
	version int64
}

func newPermitted() *otter.Cache[permitted, []string] {
	return otter.Must(&otter.Options[permitted, []string]{
		MaximumSize: maxKnown, ExpiryCalculator: otter.ExpiryWriting[permitted, []string](knownUnheard),
	})
}

// permissionsOfLate returns what the member may do in the token's tenant, as of half a second ago at most.
func (s *Service) permissionsOfLate(ctx context.Context, p api.Principal) ([]string, error) {
	key := permitted{place{p.TenantID, p.UserID}, p.MembershipVersion}
	if found, ok := s.permitted.GetIfPresent(key); ok {
		return found, nil
	}
	found, err := s.permissionsIn(ctx, p.TenantID, p.UserID)
	if err == nil {
		s.permitted.Set(key, found)
	}
	return found, err
}

func (s *Service) permissionsIn(ctx context.Context, tenantID, userID uuid.UUID) ([]string, error) {
	permissions, err := s.Permissions(ctx, tenantID, userID)
	if err != nil {
		return nil, fmt.Errorf("read the permissions of %s in tenant %s: %w", userID, tenantID, err)
	}
	if permissions == nil {
		permissions = []string{}
	}
	return permissions, nil
}
