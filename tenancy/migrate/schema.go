package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/tenancy/fleet"
)

// Schema brings one schema of a cluster up to the set, whatever it is for. Who fills a shadow does this once it is filled: Run
// leaves shadows alone.
func (r *Runner) Schema(ctx context.Context, c *fleet.Cluster, name string) error {
	s := &schema{cluster: c, Behind: Behind{Slug: name, Cluster: c.Name, Schema: name}}
	var id *uuid.UUID
	var now time.Time
	if err := c.Owner().QueryRow(ctx, "select tenant_id, state, version, now() from tenancy.schemas where schema_name = $1", name).
		Scan(&id, &s.State, &s.Version, &now); err != nil {
		return fmt.Errorf("look at schema %s: %w", name, err)
	}
	if s.Version >= len(r.set) {
		return nil
	}
	if id != nil {
		s.ID = *id
	}
	x := r.begin(Options{}, nil)
	defer x.close()
	x.asOf[c.Name] = now
	err := x.oneWave(ctx, wave{name: "all", schemas: []*schema{s}, budget: 1})
	x.registry.wait.Wait()
	if err := errors.Join(err, s.err, ctx.Err()); err != nil {
		return fmt.Errorf("schema %s: %w", name, err)
	}
	return nil
}
