package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
)

// ErrFull is returned by Choose when no cluster takes another tenant.
var ErrFull = errors.New("no cluster takes new tenants: raise a capacity, or add a cluster")

// Choose returns the name of the cluster for the next new tenant: the main one while it takes any, then the one with most
// room. Several who ask at once may get the last place together: a capacity is a plan, not a lock.
func (f *Fleet) Choose(ctx context.Context) (string, error) {
	rows, err := f.main.owner.Query(ctx, `select c.name from central.clusters c,
			lateral (select case when c.capacity is not null then
				c.capacity - (select count(*) from central.tenants t where t.cluster = c.name and t.status <> 'dropped') end as free) room
		where c.accepts_new and (free is null or free > 0)
		order by c.name = 'main' desc, free desc nulls first, c.name`)
	if err != nil {
		return "", fmt.Errorf("choose a cluster: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("choose a cluster: %w", err)
	}
	for _, name := range names {
		// One that was added after this process started is left to those who know it.
		if _, ok := f.clusters[name]; ok {
			return name, nil
		}
	}
	return "", ErrFull
}

// Turn brings the gate of the tenant's current schema to what the status lets through, in a transaction of this cluster, and returns
// the role to enter it as. It may be repeated.
func (c *Cluster) Turn(ctx context.Context, tx pgx.Tx, tenant uuid.UUID, s tenancy.Status) (role string, err error) {
	if role, err = c.turn(ctx, tx, tenant, modeOf(s), ""); err != nil {
		return "", fmt.Errorf("turn the gate of tenant %s on cluster %s: %w", tenant, c.Name, err)
	}
	return role, nil
}

// Current returns where the tenant's rows are on this cluster, as the cluster says; pgx.ErrNoRows where they are not on it.
func (c *Cluster) Current(ctx context.Context, tenant uuid.UUID) (Place, error) {
	return c.placeOf(ctx, tenant)
}

// Gate returns the statement that opens a place to its group, or shuts it. It may be repeated.
func (c *Cluster) Gate(p Place, open bool) string { return c.gate(p, open) }
