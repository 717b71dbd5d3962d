package migrate

import (
	"context"
	"fmt"

	"garment.id/homecore/tenancy/fleet"
)

// Schema brings one schema of a cluster up to the set, whatever it is for.
func (r *Runner) Schema(ctx context.Context, c *fleet.Cluster, schema string) error {
	if err := r.one(ctx, Behind{cluster: c, schema: schema}); err != nil {
		return fmt.Errorf("schema %s: %w", schema, err)
	}
	return nil
}
