package tenants

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

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
