// Package members is who works in a tenant and what each may do: the people, their roles, the roles' permissions. It decides
// the access rule of every tenant route.
package members

import (
	"context"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/tenancy"
)

// Deps is everything the module uses.
type Deps struct {
	DB *tenancy.DB
	// Enter returns a context that works in the tenant.
	Enter func(ctx context.Context, tenantID uuid.UUID) (context.Context, error)
	Clock func() time.Time
}

// Service is the module.
type Service struct {
	Deps
	granted *tenancy.Cache[grantee, grants]
}

// A role's permissions are remembered for a moment, so that a request is spared a round trip. This is also how long a right
// that was taken away may still be used; a change of the membership itself has a version of its own and is never remembered.
const rememberFor = 500 * time.Millisecond

// grantee is whose permissions are remembered, within the tenant.
type grantee struct {
	user       uuid.UUID
	membership int64 // version
}

// New makes the module.
func New(d Deps) *Service {
	return &Service{Deps: d, granted: tenancy.NewCache[grantee, grants](100_000, rememberFor)}
}
