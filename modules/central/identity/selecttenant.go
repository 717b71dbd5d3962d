package identity

import (
	"context"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type selectTenantInput struct {
	Body struct {
		Tenant string `json:"tenant" minLength:"1" maxLength:"100" doc:"Slug or id."`
	}
}

// TenantTokens is the answer of selecting a tenant.
type TenantTokens struct {
	Tokens
	Tenant      SelectedTenant `json:"tenant"`
	Permissions []string       `json:"permissions"`
}

// SelectedTenant is the tenant that the tokens are for.
type SelectedTenant struct {
	ID     uuid.UUID `json:"id"`
	Slug   string    `json:"slug"`
	Name   string    `json:"name"`
	Status string    `json:"status"`
	APIURL string    `json:"api_url"`
}

func (s *Service) handleSelectTenant(ctx context.Context, in *selectTenantInput) (*api.Data[TenantTokens], error) {
	tokens, err := s.SelectTenant(ctx, api.MustPrincipal(ctx), in.Body.Tenant)
	if err != nil {
		return nil, err
	}
	return api.OK(tokens), nil
}

// SelectTenant returns tokens for a tenant on the caller's session; other tenants' go on beside them. No such tenant, one the user
// does not belong to and a suspended one are one answer, tenant.unknown.
func (s *Service) SelectTenant(ctx context.Context, p api.Principal, slugOrID string) (_ TenantTokens, err error) {
	of, member, err := s.Tenants.Find(ctx, p.UserID, slugOrID)
	defer func() {
		err = s.refused(ctx, err, Event{Type: eventTenantSelected, UserID: p.UserID, SessionID: p.SessionID, TenantID: of.TenantID})
	}()
	if err != nil {
		return TenantTokens{}, wrap(err, "select a tenant")
	}
	if !member || !of.open() {
		return TenantTokens{}, api.TenantUnknown
	}
	permissions, err := s.permissionsIn(ctx, of.TenantID, p.UserID)
	if err != nil {
		return TenantTokens{}, err
	}
	all, err := s.Tenants.Of(ctx, p.UserID)
	if err != nil {
		return TenantTokens{}, wrap(err, "select a tenant")
	}
	var (
		u  user
		in session
		c  chain
	)
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		live := false
		if in, live, err = s.lockSession(ctx, p.SessionID); err != nil {
			return err
		}
		if !live {
			return fault.Unauthorized
		}
		if err := s.DB.Gorm(ctx).Where("id = ?", in.UserID).Take(&u).Error; err != nil {
			return err
		}
		if err := of.letIn(u, in); err != nil {
			return err
		}
		if c, err = s.openChain(ctx, in, tenantAudience(of.TenantID)); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventTenantSelected, Outcome: outcomeSuccess, UserID: p.UserID, SessionID: p.SessionID, TenantID: of.TenantID})
	})
	if err != nil {
		return TenantTokens{}, wrap(err, "select a tenant")
	}
	tokens, err := s.issue(ctx, u, in, c, &of, all)
	if err != nil {
		return TenantTokens{}, err
	}
	return TenantTokens{
		Tokens:      tokens,
		Tenant:      SelectedTenant{ID: of.TenantID, Slug: of.Slug, Name: of.Name, Status: of.Status, APIURL: of.APIURL},
		Permissions: permissions,
	}, nil
}
