package transfer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy"
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

// retire shuts a schema and takes it from its tenant. It may be repeated.
func retire(ctx context.Context, tx pgx.Tx, c *fleet.Cluster, tenant uuid.UUID, schema string) error {
	var state string
	err := tx.QueryRow(ctx, "select state from tenancy.schemas where schema_name = $1 for update", schema).Scan(&state)
	if err != nil {
		return fmt.Errorf("retire schema %s: %w", schema, err)
	}
	if state == "dropping" {
		return nil
	}
	if state == "current" {
		if _, err := c.Turn(ctx, tx, tenant, tenancy.Maintenance); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "update tenancy.schemas set state = 'retired' where schema_name = $1", schema)
	return err
}

// promote makes a schema the tenant's, open as the status wants it, and returns the role to enter it as. It may be repeated.
func promote(ctx context.Context, tx pgx.Tx, c *fleet.Cluster, tenant uuid.UUID, schema string, status tenancy.Status) (role string, err error) {
	tag, err := tx.Exec(ctx, "update tenancy.schemas set state = 'current' where schema_name = $1 and tenant_id = $2 and state <> 'dropping'", schema, tenant)
	if err := once(tag.RowsAffected(), err); err != nil {
		return "", fmt.Errorf("promote schema %s: %w", schema, err)
	}
	return c.Turn(ctx, tx, tenant, status)
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
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		var done bool
		if done, err = c.DropPlace(ctx, p); err == nil && !done {
			err = errors.New("another process is working on it")
		}
	}
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	return nil
}
