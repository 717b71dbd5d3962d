package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// claim makes a warm schema the tenant's: a row changes, and its place is returned; pgx.ErrNoRows where none is warm. It is at least as new as
// this binary's migrations. On the main cluster the registry learns of it in the same statement.
func (f *Fleet) claim(ctx context.Context, c *Cluster, tenant uuid.UUID) (Place, error) {
	p := Place{Cluster: c.Name}
	query := `update tenancy.schemas set state = 'current', tenant_id = $1::uuid, claimed_at = now()
		where schema_name = (select schema_name from tenancy.schemas where state = 'warm' and version >= $2
			order by created_at limit 1 for update skip locked)
		returning schema_name, role_name, login_group, version`
	if c == f.main {
		query = `with claimed as (` + query + `), registered as (
				update central.tenants t set schema_name = c.schema_name, role_name = c.role_name, login_group = c.login_group,
					schema_version = c.version, updated_at = now()
				from claimed c where t.id = $1)
			select * from claimed`
	}
	err := c.owner.QueryRow(ctx, query, tenant, len(f.set)).Scan(&p.Schema, &p.Role, &p.Group, &p.Version)
	return p, err
}

// Refill makes warm schemas until each cluster that accepts new tenants has as many as it should, and returns how many it made. Of
// several at once, one does it. Warm ones of an older version do not count: they are of use again once they are migrated.
func (f *Fleet) Refill(ctx context.Context) (made int, err error) {
	for _, c := range f.Clusters() {
		if !c.AcceptsNew || f.pool == 0 {
			continue
		}
		n, wrong := f.refill(ctx, c)
		made += n
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("refill the warm schemas of cluster %s: %w", c.Name, wrong))
		}
	}
	return made, err
}

// refilling is the advisory lock of who refills.
const refilling = 0x77617266

func (f *Fleet) refill(ctx context.Context, c *Cluster) (made int, err error) {
	// Looked at without the lock first: mostly there is nothing to do.
	if missing, err := f.missing(ctx, c); err != nil || missing <= 0 {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, c.owner, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1::bigint)", refilling).Scan(&mine); err != nil || !mine {
			return err
		}
		for {
			missing, err := f.missing(ctx, c)
			if err != nil || missing <= 0 {
				return err
			}
			if _, err := f.Make(ctx, c, nil, string(warm), len(f.set), true); err != nil {
				return err
			}
			made++
		}
	})
	return made, err
}

func (f *Fleet) missing(ctx context.Context, c *Cluster) (int, error) {
	var there int
	err := c.owner.QueryRow(ctx, "select count(*) from tenancy.schemas where state = 'warm' and version >= $1", len(f.set)).Scan(&there)
	return f.pool - there, err
}
