package database

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
)

// advisory lock of these migrations; any number that nothing else uses.
const migrateLock = 0x686f6d65 // "home"

// Migrate brings a shared schema, "central" for one, up to the given set and calls applied for each migration it ran. Any
// number of processes may call it at once: one works, the others wait and find nothing to do. Tenants' schemas have a runner
// of their own.
func Migrate(ctx context.Context, owner *pgxpool.Pool, schema string, set []migrations.Migration, applied func(migrations.Migration)) error {
	conn, err := owner.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", migrateLock); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	defer conn.Exec(context.WithoutCancel(ctx), "select pg_advisory_unlock($1)", migrateLock) //nolint:errcheck // ends with the session anyway
	name := pgx.Identifier{schema}.Sanitize()
	for _, statement := range []string{
		"create schema if not exists " + name,
		"create table if not exists " + name + ".schema_migrations (version integer primary key, name text not null, applied_at timestamptz not null default now())",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("migrate schema %s: %w", schema, err)
		}
	}
	rows, _ := conn.Query(ctx, "select version from "+name+".schema_migrations") // its error comes with the rows
	done, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	for _, m := range set {
		if slices.Contains(done, m.Version) {
			continue
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "set local search_path = "+name+", pg_temp"); err != nil {
				return err
			}
			for _, s := range m.Statements {
				if _, err := tx.Exec(ctx, s); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, "insert into schema_migrations (version, name) values ($1, $2)", m.Version, m.Name)
			return err
		})
		if err != nil {
			return fmt.Errorf("migration %s/%s: %w", schema, m.Name, err)
		}
		if applied != nil {
			applied(m)
		}
	}
	return nil
}

// Version returns the number of the newest migration of the schema that has been applied.
func Version(ctx context.Context, q interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}, schema string) (int, error) {
	var v int
	if err := q.QueryRow(ctx, "select coalesce(max(version), 0) from "+pgx.Identifier{schema, "schema_migrations"}.Sanitize()).Scan(&v); err != nil {
		return 0, fmt.Errorf("read the version of schema %s: %w", schema, err)
	}
	return v, nil
}
