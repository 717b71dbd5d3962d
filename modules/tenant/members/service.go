package members

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/tenancy"
)

// Permits says whether the principal, in the tenant ctx has entered, is an active member whose role holds the permission;
// an empty permission asks for membership alone. It refuses with fault.AccessDenied.
func (s *Service) Permits(ctx context.Context, p api.Principal, permission string) error {
	held, err := s.granted.Get(ctx, grantee{p.UserID, p.MembershipVersion}, func(ctx context.Context) (grants, error) { return s.load(ctx, p.UserID) })
	if errors.Is(err, tenancy.ErrNotCached) {
		return fault.AccessDenied
	}
	if err != nil {
		return fmt.Errorf("read the permissions: %w", err)
	}
	if permission != "" && !held.include(permission) {
		return fault.AccessDenied
	}
	return nil
}

// Permissions returns what the user may do in the tenant, sorted; nothing where they are no active member.
func (s *Service) Permissions(ctx context.Context, tenantID, userID uuid.UUID) ([]string, error) {
	ctx, err := s.Enter(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	held, err := s.load(ctx, userID)
	if errors.Is(err, tenancy.ErrNotCached) {
		return []string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the permissions: %w", err)
	}
	return held.expanded(), nil
}

// load reads from the tenant ctx has entered; tenancy.ErrNotCached where there is no active member.
func (s *Service) load(ctx context.Context, user uuid.UUID) (grants, error) {
	role, err := gorm.G[Role](s.DB.Gorm(ctx)).
		Where("id = (select role_id from members where user_id = ? and status = 'active')", user).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, tenancy.ErrNotCached
	}
	return role.Permissions, err
}

// Seed gives a new tenant its system roles and its owner, in the transaction ctx carries. It may be repeated.
func (s *Service) Seed(ctx context.Context, owner uuid.UUID) error {
	now := s.Clock().UTC()
	roles := []Role{
		{Key: Owner, Name: "Pemilik", Description: "Boleh melakukan segalanya.", Permissions: grants{"*"}},
		{Key: Everyone, Name: "Anggota", Description: "Boleh melihat data.", Permissions: grants{"taxonomies.read"}},
	}
	for i := range roles {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make an id: %w", err)
		}
		r := &roles[i]
		r.ID, r.IsSystem, r.Version, r.CreatedAt, r.UpdatedAt = id, true, 1, now, now
	}
	db := s.DB.Gorm(ctx)
	if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&roles).Error; err != nil {
		return fmt.Errorf("make the system roles: %w", err)
	}
	if err := s.add(ctx, owner, Owner); err != nil {
		return fmt.Errorf("make the owner a member: %w", err)
	}
	return nil
}

// Join makes the user an active member of the tenant with the role of that key, or with the least one where that is no more. One who is
// an active member already stays what they are. It may be repeated.
func (s *Service) Join(ctx context.Context, tenantID, user uuid.UUID, role string) (joined string, err error) {
	ctx, err = s.Enter(ctx, tenantID)
	if err != nil {
		return "", err
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		err := s.add(ctx, user, role)
		if errors.Is(err, gorm.ErrRecordNotFound) {
			err = s.add(ctx, user, Everyone)
		}
		if err != nil {
			return fmt.Errorf("make %s a member of tenant %s: %w", user, tenantID, err)
		}
		err = s.DB.Gorm(ctx).Exec("update members set status = 'active', joined_at = coalesce(joined_at, now()), updated_at = now() where user_id = ? and status = 'invited'", user).Error
		if err != nil {
			return fmt.Errorf("make %s a member of tenant %s: %w", user, tenantID, err)
		}
		return s.DB.Gorm(ctx).Raw("select r.key from members m join roles r on r.id = m.role_id where m.user_id = ?", user).Scan(&joined).Error
	})
	return joined, err
}

// add makes the user an active member with the role of that key; one who is a member already stays what they are.
func (s *Service) add(ctx context.Context, user uuid.UUID, role string) error {
	r, err := gorm.G[Role](s.DB.Gorm(ctx)).Where("key = ?", role).Take(ctx)
	if err != nil {
		return err
	}
	now := s.Clock().UTC()
	return s.DB.Gorm(ctx).Clauses(clause.OnConflict{DoNothing: true}).
		Create(&Member{UserID: user, RoleID: r.ID, Status: "active", JoinedAt: &now, CreatedAt: now, UpdatedAt: now}).Error
}
