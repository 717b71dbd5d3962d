package tenants

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
)

// Membership is a user's place in a tenant, with what a client needs of the tenant to go there.
type Membership struct {
	TenantID uuid.UUID
	Slug     string
	Name     string
	Status   string // the tenant's
	Role     string // key of the role
	Version  int64
	APIURL   string `gorm:"-"`

	TwoFactorRequired          bool // members need a second factor
	RememberedDevicesForbidden bool // members are asked for it at every sign-in
}

// Directory answers who belongs where.
type Directory struct {
	db     *database.DB
	origin string // of the Core API, such as http://localhost:8080
}

// NewDirectory returns the directory; tenants' addresses are made from origin.
func NewDirectory(db *database.DB, origin string) *Directory {
	return &Directory{db: db, origin: origin}
}

// Origin returns where a tenant's API answers.
func (d *Directory) Origin(slug string) string {
	scheme, host, _ := strings.Cut(d.origin, "://")
	return scheme + "://" + slug + "." + host
}

// Of returns the tenants the user is an active member of, by name. Tenants that are archived or gone are left out.
func (d *Directory) Of(ctx context.Context, user uuid.UUID) ([]Membership, error) {
	return d.find(ctx, "m.user_id = ?", user)
}

// Find returns the user's active membership in the tenant named by slug or id; false where there is none.
func (d *Directory) Find(ctx context.Context, user uuid.UUID, slugOrID string) (Membership, bool, error) {
	where := "t.slug = ?"
	// Only an id as we write them: uuid.Parse knows other forms, which Postgres does not, and one of them could be a slug.
	if id, err := uuid.Parse(slugOrID); err == nil && strings.EqualFold(id.String(), slugOrID) {
		where = "t.id = ?"
	}
	found, err := d.find(ctx, "m.user_id = ? and "+where, user, slugOrID)
	if err != nil || len(found) == 0 {
		return Membership{}, false, err
	}
	return found[0], true, nil
}

func (d *Directory) find(ctx context.Context, where string, args ...any) ([]Membership, error) {
	out := []Membership{}
	err := d.db.Gorm(ctx).Table("memberships m").Joins("join tenants t on t.id = m.tenant_id").
		Select("t.id as tenant_id", "t.slug", "t.name", "t.status", "m.role", "m.version", "t.two_factor_required", "t.remembered_devices_forbidden").
		Where("m.status = 'active' and t.status not in ('archived', 'dropping', 'dropped')").
		Where(where, args...).Order("t.name, t.id").Find(&out).Error
	if err != nil {
		return nil, fmt.Errorf("read memberships: %w", err)
	}
	for i := range out {
		out[i].APIURL = d.Origin(out[i].Slug)
	}
	return out, nil
}

// add makes the user an active member, in the transaction ctx carries.
func (d *Directory) add(ctx context.Context, tenant, user uuid.UUID, role string, now time.Time) error {
	return d.db.Gorm(ctx).Table("memberships").Create(map[string]any{
		"tenant_id": tenant, "user_id": user, "role": role, "status": "active", "version": 1, "created_at": now, "updated_at": now,
	}).Error
}

// Join makes the user an active member of the tenant, with the role of that key; one who was invited becomes one, anybody else stays what
// they are. It may be repeated.
func (d *Directory) Join(ctx context.Context, tenant, user uuid.UUID, role string) error {
	err := d.db.Gorm(ctx).Exec(`
insert into memberships (tenant_id, user_id, role, status) values (?, ?, ?, 'active')
on conflict (tenant_id, user_id) do update set status = 'active', role = excluded.role, version = memberships.version + 1, updated_at = now()
	where memberships.status = 'invited'`, tenant, user, role).Error
	if err != nil {
		return fmt.Errorf("make %s a member of tenant %s: %w", user, tenant, err)
	}
	return nil
}

// Slugs returns the slugs of the tenants with these ids, whatever has become of them.
func (d *Directory) Slugs(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]string, error) {
	slugs := make(map[uuid.UUID]string, len(ids))
	if len(ids) == 0 {
		return slugs, nil
	}
	var rows []struct {
		ID   uuid.UUID
		Slug string
	}
	if err := d.db.Gorm(ctx).Table("tenants").Select("id", "slug").Where("id in ?", ids).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("name %d tenants: %w", len(ids), err)
	}
	for _, r := range rows {
		slugs[r.ID] = r.Slug
	}
	return slugs, nil
}

// MemberIDs is the query for the ids of the users who have a place in the tenant, whatever its state.
func (d *Directory) MemberIDs(ctx context.Context, tenantID uuid.UUID) *gorm.DB {
	return d.db.Gorm(ctx).Table("memberships").Select("user_id").Where("tenant_id = ?", tenantID)
}

// Members returns which of these users have a place in the tenant, whatever its state.
func (d *Directory) Members(ctx context.Context, tenantID uuid.UUID, users []uuid.UUID) (map[uuid.UUID]bool, error) {
	members := make(map[uuid.UUID]bool, len(users))
	if len(users) == 0 {
		return members, nil
	}
	var ids []uuid.UUID
	if err := d.db.Gorm(ctx).Table("memberships").Where("tenant_id = ? and user_id in ?", tenantID, users).Pluck("user_id", &ids).Error; err != nil {
		return nil, fmt.Errorf("tell which of %d users are of tenant %s: %w", len(users), tenantID, err)
	}
	for _, id := range ids {
		members[id] = true
	}
	return members, nil
}
