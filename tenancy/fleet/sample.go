package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Sample makes a schema at the given version as Make does, shows it to look, and rolls everything back: nobody else ever sees
// it.
func (f *Fleet) Sample(ctx context.Context, c *Cluster, version int, look func(ctx context.Context, tx pgx.Tx, schema string) error) error {
	place := c.newPlace()
	statements := append([]string{fmt.Sprintf("insert into tenancy.schemas (schema_name, role_name, login_group, state, is_open, version) values (%s, %s, %d, %s, false, %d)",
		literal(place.Schema), literal(place.Role), place.Group, literal(string(warm)), version)}, f.baseline(c, place, version)...)
	if c.Kind != Citus {
		statements = []string{strings.Join(statements, ";\n")}
	}
	tx, err := c.owner.Begin(ctx)
	if err != nil {
		return fmt.Errorf("make a sample schema on cluster %s: %w", c.Name, err)
	}
	for _, s := range statements {
		if _, err = tx.Conn().PgConn().Exec(ctx, s).ReadAll(); err != nil {
			err = fmt.Errorf("make a sample schema on cluster %s: %w", c.Name, err)
			break
		}
	}
	if err == nil {
		err = look(ctx, tx, place.Schema)
	}
	return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
}
