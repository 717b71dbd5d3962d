package members

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// Role is a named set of permissions.
type Role struct {
	ID          uuid.UUID `gorm:"primaryKey"`
	Key         string
	Name        string
	Description string
	Permissions grants `gorm:"serializer:json"`
	IsSystem    bool
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Member is a person's place in the tenant.
type Member struct {
	UserID    uuid.UUID `gorm:"primaryKey"`
	RoleID    uuid.UUID
	Status    string // invited, active, suspended
	JoinedAt  *time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Keys of the roles that every tenant has.
const (
	Owner    = "owner"
	Everyone = "member"
)

// Permissions is every permission a tenant's role may hold, sorted. A route that asks for another one does not exist: a test
// compares them.
var Permissions = []string{
	"activities.read",
	"security.write",
	"taxonomies.read",
	"taxonomies.write",
}

// grants is a list of permissions; "*" is all there are and will be.
type grants []string

func (g grants) include(permission string) bool {
	return slices.Contains(g, "*") || slices.Contains(g, permission)
}

// expanded lists the permissions one by one, sorted.
func (g grants) expanded() []string {
	out := []string{}
	for _, p := range Permissions {
		if g.include(p) {
			out = append(out, p)
		}
	}
	return out
}
