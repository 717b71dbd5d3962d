package identity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// platformRoles says what each role may do on the platform.
func platformRoles() map[string][]string {
	return map[string][]string{
		"owner": {"activities.read", "billing.audit", "billing.read", "billing.write", "masterdata.read", "masterdata.write",
			"tenants.read", "tenants.write", "users.impersonate", "users.read", "users.write"},
		"billing": {"billing.audit", "billing.read", "billing.write"},
		"support": {"activities.read", "masterdata.read", "tenants.read", "tenants.write", "users.impersonate", "users.read", "users.write"},
		"auditor": {"activities.read", "billing.audit", "billing.read", "masterdata.read", "tenants.read", "users.read"},
	}
}

// permissionsOf returns what holders of these roles may do, sorted.
func permissionsOf(roles []string) []string {
	of, permissions := platformRoles(), []string{}
	for _, role := range roles {
		permissions = append(permissions, of[role]...)
	}
	slices.Sort(permissions)
	return slices.Compact(permissions)
}

// Operator is an account with a role on the platform.
type Operator struct {
	UserID    uuid.UUID `json:"user_id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Role      string    `json:"role"`
	GrantedAt time.Time `json:"granted_at"`
	GrantedBy string    `json:"granted_by"`
}

// PlatformPermits returns nil if p holds a permission of the platform, else the fault access.denied; where operators need a second
// factor, auth.two_factor_setup_required for who has none and auth.two_factor_required for a session that was opened without.
// The roles are in memory: one taken away is gone within a second.
func (s *Service) PlatformPermits(ctx context.Context, p api.Principal, permission string) error {
	of, err := s.known.get(ctx, p.UserID)
	if err != nil {
		return fmt.Errorf("read the platform roles of %s: %w", p.UserID, err)
	}
	if !slices.Contains(of.permissions, permission) {
		return fault.AccessDenied
	}
	if !s.Config.OperatorsNeedTwoFactor {
		return nil
	}
	return s.requireTwoFactor(ctx, p)
}

// GrantRole gives the account of email a role on the platform: owner, billing, support or auditor. Granting it twice changes nothing.
// By says who grants it, for the list.
func (s *Service) GrantRole(ctx context.Context, email, role, by string) error {
	if _, ok := platformRoles()[role]; !ok {
		return roleUnknown
	}
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return err
	}
	if u == nil {
		return accountUnknown
	}
	defer s.AccountChanged(u.ID)
	row := platformRole{UserID: u.ID, Role: role, GrantedAt: s.now(), GrantedBy: by}
	return s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.DB.Gorm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
			return fmt.Errorf("grant role %s to %s: %w", role, u.ID, err)
		}
		if err := s.noteOperator(ctx, u.ID); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventRoleGranted, Outcome: outcomeSuccess, Reason: role, UserID: u.ID, Note: by})
	})
}

// noteOperator keeps what the account says of its roles in step with them, in the transaction ctx carries.
func (s *Service) noteOperator(ctx context.Context, userID uuid.UUID) error {
	err := s.DB.Gorm(ctx).Exec("update users set operator = exists (select from platform_roles where user_id = users.id) where id = ?", userID).Error
	if err != nil {
		return fmt.Errorf("note the roles of %s: %w", userID, err)
	}
	return nil
}

// AccountOf returns the id of the account of email, for who works at the command line.
func (s *Service) AccountOf(ctx context.Context, email string) (uuid.UUID, error) {
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return uuid.Nil, err
	}
	if u == nil {
		return uuid.Nil, accountUnknown
	}
	return u.ID, nil
}

// RevokeRole takes a role from the account of email, or with role "" all of them. It returns how many it took.
func (s *Service) RevokeRole(ctx context.Context, email, role string) (int, error) {
	if _, ok := platformRoles()[role]; !ok && role != "" {
		return 0, roleUnknown
	}
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return 0, err
	}
	if u == nil {
		return 0, accountUnknown
	}
	defer s.AccountChanged(u.ID)
	var (
		taken int64
		ended []uuid.UUID
	)
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		done := s.DB.Gorm(ctx).Where("user_id = ? and (? = '' or role = ?)", u.ID, role, role).Delete(&platformRole{})
		if done.Error != nil {
			return fmt.Errorf("revoke role %q of %s: %w", role, u.ID, done.Error)
		}
		taken = done.RowsAffected
		if ended, err = s.endImpersonations(ctx, u.ID); err != nil {
			return err
		}
		if err := s.noteOperator(ctx, u.ID); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventRoleRevoked, Outcome: outcomeSuccess, Reason: role, UserID: u.ID})
	})
	if err != nil {
		return 0, err
	}
	if s.ended != nil { // at the command line there is nobody to tell
		s.ended.add(ended...)
	}
	return int(taken), nil
}

// ListOperators returns who has which role on the platform, by e-mail address and role.
func (s *Service) ListOperators(ctx context.Context) ([]Operator, error) {
	operators := []Operator{}
	err := s.DB.Gorm(ctx).Raw(`
select r.user_id, u.name, u.email, r.role, r.granted_at, r.granted_by
from platform_roles r join users u on u.id = r.user_id order by u.email, r.role`).Scan(&operators).Error
	if err != nil {
		return nil, fmt.Errorf("list operators: %w", err)
	}
	return operators, nil
}
