package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// registry tells central.tenants how far schemas of other clusters are: at once, and as many with one statement as have come
// together while the one before ran. What it cannot tell, heal does.
type registry struct {
	main *pgxpool.Pool
	wait sync.WaitGroup

	mu      sync.Mutex
	untold  versions
	telling bool
}

// versions are columns of what schemas are at.
type versions struct {
	tenants, schemas []string
	versions         []int32
}

func (v *versions) add(tenant uuid.UUID, schema string, version int) {
	v.tenants, v.schemas, v.versions = append(v.tenants, tenant.String()), append(v.schemas, schema), append(v.versions, int32(version))
}

const tell = `update central.tenants t set schema_version = v.version
	from unnest($1::uuid[], $2::text[], $3::integer[]) v (id, schema_name, version)
	where t.id = v.id and t.schema_name = v.schema_name and t.schema_version < v.version`

func (r *registry) tell(s *schema) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold.add(s.ID, s.Schema, s.Version)
	if r.telling {
		return
	}
	r.telling = true
	r.wait.Go(func() {
		// Not the run's context: what is migrated is so, even if the run is cut off.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for {
			r.mu.Lock()
			v := r.untold
			r.untold, r.telling = versions{}, len(v.tenants) > 0
			r.mu.Unlock()
			if len(v.tenants) == 0 {
				return
			}
			_, _ = r.main.Exec(ctx, tell, v.tenants, v.schemas, v.versions)
		}
	})
}

// heal brings the registry's copies of versions up to what the clusters say, where a crash came between the two.
func (r *Runner) heal(ctx context.Context) error {
	main := r.fleet.Main().Owner()
	rows, err := main.Query(ctx, `select id, cluster, schema_name from central.tenants
		where schema_version < $1 and schema_name <> '' and status <> 'dropped'`, len(r.set))
	if err != nil {
		return fmt.Errorf("compare the registry with the clusters: %w", err)
	}
	behind := map[string]*versions{}
	var id uuid.UUID
	var cluster, schema string
	_, err = pgx.ForEachRow(rows, []any{&id, &cluster, &schema}, func() error {
		if behind[cluster] == nil {
			behind[cluster] = &versions{}
		}
		behind[cluster].add(id, schema, 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare the registry with the clusters: %w", err)
	}
	for name, v := range behind {
		err = errors.Join(err, r.healFrom(ctx, name, v))
	}
	return err
}

func (r *Runner) healFrom(ctx context.Context, cluster string, behind *versions) error {
	c, err := r.fleet.Cluster(cluster)
	if err != nil {
		return err
	}
	rows, err := c.Owner().Query(ctx, `select tenant_id, schema_name, version from tenancy.schemas
		where schema_name = any($1::text[]) and tenant_id is not null`, behind.schemas)
	if err != nil {
		return fmt.Errorf("compare the registry with cluster %s: %w", cluster, err)
	}
	var found versions
	var id uuid.UUID
	var schema string
	var version int
	if _, err = pgx.ForEachRow(rows, []any{&id, &schema, &version}, func() error { found.add(id, schema, version); return nil }); err != nil {
		return fmt.Errorf("compare the registry with cluster %s: %w", cluster, err)
	}
	if _, err := r.fleet.Main().Owner().Exec(ctx, tell, found.tenants, found.schemas, found.versions); err != nil {
		return fmt.Errorf("tell the registry what cluster %s is at: %w", cluster, err)
	}
	return nil
}
