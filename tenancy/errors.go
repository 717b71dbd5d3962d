package tenancy

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"garment.id/homecore/platform/fault"
)

var (
	// ErrNoTenant is returned, before any I/O, when the context carries no Scope. It never means "the shared schema".
	ErrNoTenant = errors.New("tenancy: the context carries no tenant")

	// ErrTenantMismatch is returned, before any I/O, when a transaction begun as one tenant is used as another.
	ErrTenantMismatch = errors.New("tenancy: the transaction belongs to another tenant")

	// ErrMisplaced is returned, before any I/O, when a Scope names a cluster or group that this DB does not serve.
	ErrMisplaced = errors.New("tenancy: the tenant is served elsewhere")

	// ErrRolledBack is returned by a commit that the server answered with a rollback, because a statement of the
	// transaction had failed.
	ErrRolledBack = errors.New("tenancy: the transaction had failed and was rolled back")

	// ErrBusy is returned when a transaction is asked for a statement while rows of an earlier one are still open.
	ErrBusy = errors.New("tenancy: rows of an earlier statement are still open on this connection")

	// ErrExhausted is returned when every connection of the tenant's group stayed busy for as long as Config.Wait allows.
	ErrExhausted = fault.ServiceUnavailable.WithRetryAfter(time.Second).WithCause(errors.New("tenancy: every connection of the tenant's group is busy"))

	errUnexpected = errors.New("tenancy: the server answered less than it was asked")

	errEnded = errors.New("tenancy: a statement ended or opened a transaction behind the driver's back")
	errLost  = fmt.Errorf("tenancy: the connection was lost in the middle of a transaction: %w", io.ErrUnexpectedEOF)
)

// EntryError says that the database refused to enter the tenant, usually because the membership in its role was
// revoked (42501) or the role is gone (22023). None of the tenant's statements ran.
type EntryError struct {
	Tenant uuid.UUID
	Err    *pgconn.PgError

	why error // what the registry says of it
}

// Error names the tenant and gives PostgreSQL's reason.
func (e *EntryError) Error() string { return fmt.Sprintf("enter tenant %s: %v", e.Tenant, e.Err) }

// Unwrap returns how it is said to clients: what the registry said when it was asked anew, else InMaintenance; and PostgreSQL's
// error with its SQLSTATE.
func (e *EntryError) Unwrap() []error {
	if e.why != nil {
		return []error{e.why, e.Err}
	}
	return []error{InMaintenance, e.Err}
}

// because returns the same refusal with the reason why.
func (e *EntryError) because(why error) error {
	return &EntryError{Tenant: e.Tenant, Err: e.Err, why: why}
}

// refusal tells a refused entry from a server that is going away, which says nothing about the tenant.
func refusal(s Scope, err error) error {
	// Classes 42 and 3F: no such role, no membership, no schema; 22: not a role's name, and what enter raises on Citus.
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && (isClass(pgErr, "42") || isClass(pgErr, "22") || isClass(pgErr, "3F")) {
		return &EntryError{Tenant: s.tenant, Err: pgErr}
	}
	return err
}

func isClass(err *pgconn.PgError, class string) bool { return strings.HasPrefix(err.Code, class) }
