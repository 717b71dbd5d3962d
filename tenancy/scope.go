package tenancy

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Scope is permission to work as one tenant, and where that tenant lives. Only this package makes one: the registry
// issues it. Scopes are comparable: a transaction belongs to the Scope it was begun with and refuses any other.
type Scope struct {
	tenant   uuid.UUID
	slug     string
	schema   string
	role     string
	cluster  string
	group    int
	version  int64         // the migration the tenant is at; statements are remembered per version
	readOnly bool          // every transaction is read only
	timeout  time.Duration // statement_timeout; zero leaves the role's own

	path string // what search_path is set to, quoted once
}

// newScope completes s, so that entering the tenant formats nothing.
func newScope(s Scope) Scope {
	// pg_temp is named, and last: PostgreSQL would otherwise look there first, before the tenant's own tables.
	s.path = pgx.Identifier{s.schema}.Sanitize() + ", pg_temp"
	return s
}

// enterParams are the parameters of enterSQL.
func (s *Scope) enterParams(shared bool) [][]byte {
	params := [][]byte{[]byte(s.path), []byte("hc:" + s.slug), []byte(s.role)}
	if shared {
		params[2] = []byte(s.schema)
	}
	if s.timeout > 0 {
		// Rounded up: 0 would mean no limit at all.
		params = append(params, strconv.AppendInt(nil, int64((s.timeout+time.Millisecond-1)/time.Millisecond), 10))
	}
	return params
}

// Tenant returns the tenant's id.
func (s Scope) Tenant() uuid.UUID { return s.tenant }

// Slug returns the tenant's name in host names.
func (s Scope) Slug() string { return s.slug }

// Schema returns the schema that holds the tenant's tables.
func (s Scope) Schema() string { return s.schema }

// Role returns the database role that may use that schema and nothing else.
func (s Scope) Role() string { return s.role }

// Cluster returns the name of the cluster the tenant lives on.
func (s Scope) Cluster() string { return s.cluster }

// Group returns the affinity group of connections that serves the tenant, counted from 0.
func (s Scope) Group() int { return s.group }

// Version returns the migration the tenant was at when the Scope was issued.
func (s Scope) Version() int64 { return s.version }

// ReadOnly says whether writing is refused.
func (s Scope) ReadOnly() bool { return s.readOnly }

// StatementTimeout returns how long one statement may run; zero means the role's own limit.
func (s Scope) StatementTimeout() time.Duration { return s.timeout }

type scopeKey struct{}

// With returns a context that works as the tenant of s.
func With(ctx context.Context, s Scope) context.Context { return context.WithValue(ctx, scopeKey{}, s) }

// Current returns the Scope that ctx carries, or ErrNoTenant.
func Current(ctx context.Context) (Scope, error) {
	// The zero Scope is nobody's: everyone outside this package can write it.
	if s, ok := ctx.Value(scopeKey{}).(Scope); ok && s.path != "" {
		return s, nil
	}
	return Scope{}, ErrNoTenant
}
