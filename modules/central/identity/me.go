package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

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

func (s *Service) me(ctx context.Context, p api.Principal) (Me, error) {
	var u user
	if err := s.DB.Gorm(ctx).Where("id = ?", p.UserID).Take(&u).Error; err != nil {
		return Me{}, fmt.Errorf("read account %s: %w", p.UserID, err)
	}
	roles, err := s.rolesOf(ctx, p.UserID)
	if err != nil {
		return Me{}, err
	}
	all, err := s.Tenants.Of(ctx, p.UserID)
	if err != nil {
		return Me{}, fmt.Errorf("read the memberships of %s: %w", p.UserID, err)
	}
	me := Me{
		User: s.viewAccount(u, all), Session: MeSession{ID: p.SessionID, AuthTime: p.AuthTime, AMR: p.AMR},
		PlatformRoles: roles, PlatformPermissions: permissionsOf(roles), Tenants: viewTenants(all),
	}
	if p.Central() {
		return me, nil
	}
	for _, t := range me.Tenants {
		if t.ID == p.TenantID {
			me.Tenant = &t
		}
	}
	if me.Tenant == nil { // a member no more, on a token that does not know it yet
		return Me{}, api.ContextMismatch
	}
	permissions, err := s.permissionsIn(ctx, p.TenantID, p.UserID)
	if err != nil {
		return Me{}, err
	}
	me.Permissions = &permissions
	return me, nil
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
