package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
)

// Align brings the gate of the tenant's schema to what the registry says of the tenant, and what the registry says of the schema
// to what is there. It may be repeated.
func (f *Fleet) Align(ctx context.Context, tenant uuid.UUID) error {
	err := pgx.BeginFunc(ctx, f.main.owner, func(tx pgx.Tx) error {
		t, err := lock(ctx, tx, tenant)
		if err != nil {
			return err
		}
		c, err := f.Cluster(t.cluster)
		if err != nil {
			return err
		}
		if c == f.main {
			return t.align(ctx, tx, c, tx)
		}
		return pgx.BeginFunc(ctx, c.owner, func(there pgx.Tx) error { return t.align(ctx, tx, c, there) })
	})
	if err != nil {
		return fmt.Errorf("align tenant %s: %w", tenant, err)
	}
	return nil
}

func (t registered) align(ctx context.Context, tx pgx.Tx, c *Cluster, there pgx.Tx) error {
	if t.status == tenancy.Dropped {
		return nil
	}
	s, err := c.standing(ctx, there, t.id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	role, err := c.turn(ctx, there, t.id, modeOf(t.status), t.role)
	if err != nil || t.schema == s.Schema && t.role == role && t.version == s.Version {
		return err
	}
	_, err = tx.Exec(ctx, `update central.tenants set schema_name = $2, role_name = $3, login_group = $4, schema_version = $5, updated_at = now()
		where id = $1`, t.id, s.Schema, role, s.Group, s.Version)
	return err
}

// Heal compares what the registry says of each tenant with what its cluster has, and puts right what differs: what a crash left
// between the two, or somebody at psql. It returns the slugs of those it put right. A cluster that is away does not keep the
// others from being healed. It knows nothing of restores and moves: what was cut off of those transfer.Porter.Heal puts right, which
// decides where the tenant is.
func (f *Fleet) Heal(ctx context.Context) (healed []string, err error) {
	for _, c := range f.Clusters() {
		unlike, wrong := f.unlike(ctx, c)
		err = errors.Join(err, wrong)
		for _, t := range unlike {
			if wrong := f.Align(ctx, t.id); wrong != nil {
				err = errors.Join(err, wrong)
				continue
			}
			healed = append(healed, t.slug)
		}
	}
	return healed, err
}

// unlike returns the tenants of a cluster of which the registry and the cluster do not say the same.
func (f *Fleet) unlike(ctx context.Context, c *Cluster) (out []registered, err error) {
	rows, err := f.main.owner.Query(ctx, `select id, status, slug, schema_name, role_name, schema_version
		from central.tenants where cluster = $1 and status <> 'dropped'`, c.Name)
	if err != nil {
		return nil, fmt.Errorf("read the tenants of cluster %s: %w", c.Name, err)
	}
	known := map[uuid.UUID]registered{}
	var t registered
	if _, err := pgx.ForEachRow(rows, []any{&t.id, &t.status, &t.slug, &t.schema, &t.role, &t.version}, func() error { known[t.id] = t; return nil }); err != nil {
		return nil, fmt.Errorf("read the tenants of cluster %s: %w", c.Name, err)
	}
	rows, err = c.owner.Query(ctx, `select tenant_id, schema_name, role_name, version, is_open, is_read_only
		from tenancy.schemas where state = 'current'`)
	if err != nil {
		return nil, fmt.Errorf("read the schemas of cluster %s: %w", c.Name, err)
	}
	var id uuid.UUID
	var p Place
	var open, readOnly bool
	_, err = pgx.ForEachRow(rows, []any{&id, &p.Schema, &p.Role, &p.Version, &open, &readOnly}, func() error {
		t, ok := known[id]
		m := modeOf(t.status)
		if ok && (open != (m != shut) || readOnly != (m == readable) || t.schema != p.Schema || t.version != p.Version || t.role != c.roleFor(p, m)) {
			out = append(out, t)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the schemas of cluster %s: %w", c.Name, err)
	}
	return out, nil
}
