package tenants

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
)

// SignInPolicy is what a tenant asks of its members' sign-ins.
type SignInPolicy struct {
	TwoFactorRequired          bool `json:"two_factor_required" doc:"Members need a second factor: without one no token for this tenant is issued, renewed or good."`
	RememberedDevicesForbidden bool `json:"remembered_devices_forbidden" doc:"Members are asked for their second factor at every sign-in."`
}

func (s *Service) handleShowPolicy(ctx context.Context, _ *struct{}) (*api.Data[SignInPolicy], error) {
	policy, err := s.SignInPolicy(ctx, api.MustPrincipal(ctx).TenantID)
	if err != nil {
		return nil, err
	}
	return api.OK(policy), nil
}

// SignInPolicy returns a tenant's.
func (s *Service) SignInPolicy(ctx context.Context, tenant uuid.UUID) (SignInPolicy, error) {
	var p SignInPolicy
	err := s.DB.Gorm(ctx).Raw("select two_factor_required, remembered_devices_forbidden from tenants where id = ?", tenant).Scan(&p).Error
	if err != nil {
		return p, fmt.Errorf("read the sign-in policy of %s: %w", tenant, err)
	}
	return p, nil
}

type policyInput struct {
	Body SignInPolicy
}

func (s *Service) handleUpdatePolicy(ctx context.Context, in *policyInput) (*api.Data[SignInPolicy], error) {
	if err := s.SetSignInPolicy(ctx, api.MustPrincipal(ctx), in.Body); err != nil {
		return nil, err
	}
	return api.OK(in.Body), nil
}

// SetSignInPolicy sets the policy of the tenant that p is in. Who asks others for a second factor has one and came by it, so that a
// tenant does not lock itself out; otherwise it returns identity's fault auth.two_factor_setup_required or auth.two_factor_required. Members'
// tokens of before are held to it within a second.
func (s *Service) SetSignInPolicy(ctx context.Context, p api.Principal, policy SignInPolicy) error {
	if policy.TwoFactorRequired || policy.RememberedDevicesForbidden {
		if err := s.RequireTwoFactor(ctx, p); err != nil {
			return err
		}
	}
	err := s.DB.Gorm(ctx).Exec("update tenants set two_factor_required = ?, remembered_devices_forbidden = ?, updated_at = ? where id = ?",
		policy.TwoFactorRequired, policy.RememberedDevicesForbidden, s.Clock().UTC(), p.TenantID).Error
	if err != nil {
		return fmt.Errorf("set the sign-in policy of %s: %w", p.TenantID, err)
	}
	return nil
}
