package transfer

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/fleet"
)

// placeOf reads a schema's row of the cluster; pgx.ErrNoRows where there is none.
func placeOf(ctx context.Context, c *fleet.Cluster, schema string) (fleet.Place, error) {
	return scanPlace(ctx, c.Owner(), c, schema, "")
}

// placeIn is placeOf, and locks the row until the end of the transaction.
func placeIn(ctx context.Context, tx pgx.Tx, c *fleet.Cluster, schema string) (fleet.Place, error) {
	return scanPlace(ctx, tx, c, schema, " for update")
}

func scanPlace(ctx context.Context, q querier, c *fleet.Cluster, schema, lock string) (fleet.Place, error) {
	p := fleet.Place{Cluster: c.Name}
	err := q.QueryRow(ctx, "select schema_name, role_name, login_group, version from tenancy.schemas where schema_name = $1"+lock, schema).
		Scan(&p.Schema, &p.Role, &p.Group, &p.Version)
	return p, err
}

// retire shuts a place and takes it from its tenant. It may be repeated.
func retire(ctx context.Context, tx pgx.Tx, c *fleet.Cluster, p fleet.Place) error {
	if _, err := tx.Exec(ctx, c.Gate(p, false)); err != nil {
		return fmt.Errorf("shut schema %s: %w", p.Schema, err)
	}
	_, err := tx.Exec(ctx, "update tenancy.schemas set state = 'retired', is_open = false where schema_name = $1", p.Schema)
	return err
}

// promote makes a place the tenant's. It may be repeated.
func promote(ctx context.Context, tx pgx.Tx, c *fleet.Cluster, p fleet.Place, open bool) error {
	tag, err := tx.Exec(ctx, "update tenancy.schemas set state = 'current', is_open = $2 where schema_name = $1 and state <> 'dropping'", p.Schema, open)
	if err := once(tag.RowsAffected(), err); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, c.Gate(p, open)); err != nil {
		return fmt.Errorf("open schema %s: %w", p.Schema, err)
	}
	return nil
}

// relations names tables and sequences of a schema, quoted and qualified.
func relations(ctx context.Context, tx pgx.Tx, schema, kinds string) (string, error) {
	rows, err := tx.Query(ctx, `select c.relname from pg_namespace n join pg_class c on c.relnamespace = n.oid
		where n.nspname = $1 and strpos($2, c.relkind::text) > 0 order by 1`, schema, kinds)
	if err != nil {
		return "", err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for i := range all {
		all[i] = quote(schema, all[i])
	}
	return strings.Join(all, ", "), err
}

// freeze takes the rights on its tables from the place's role, so that a transaction that entered before the gate was shut can
// neither write nor read any more.
func freeze(ctx context.Context, tx pgx.Tx, p fleet.Place) error {
	all, err := relations(ctx, tx, p.Schema, "rp")
	if err != nil || all == "" {
		return err
	}
	_, err = tx.Exec(ctx, "revoke select, insert, update, delete on "+all+" from "+quote(p.Role))
	return err
}

// thaw gives back what freeze took. It may be repeated.
func thaw(ctx context.Context, c *fleet.Cluster, schema string) error {
	return pgx.BeginFunc(ctx, c.Owner(), func(tx pgx.Tx) error {
		p, err := placeIn(ctx, tx, c, schema)
		if err != nil {
			return err
		}
		all, err := relations(ctx, tx, p.Schema, "rp")
		if err != nil || all == "" {
			return err
		}
		_, err = tx.Exec(ctx, "grant select, insert, update, delete on "+all+" to "+quote(p.Role))
		return err
	})
}

// drop drops a schema with its role and its rows of the ledger. It may be repeated.
func drop(ctx context.Context, c *fleet.Cluster, schema string) error {
	p, err := placeOf(ctx, c, schema)
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	err = pgx.BeginFunc(ctx, c.Owner(), func(tx pgx.Tx) error {
		statements := []string{
			"set local lock_timeout = '5s'", c.Gate(p, false), "drop schema if exists " + quote(p.Schema) + " cascade",
		}
		if c.Kind != fleet.Citus {
			statements = append(statements, "drop role if exists "+quote(p.Role)+", "+quote(p.Role+"_ro"))
		}
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "delete from tenancy.schemas where schema_name = $1", p.Schema)
		return err
	})
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	return nil
}
