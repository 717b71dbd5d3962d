package database

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// ErrNoRow says that what was asked for is not there.
var ErrNoRow = errors.New("database: no such row")

// Ask reads one row, in one round trip and without GORM: for what every request of a kind asks, where GORM's share of the time would
// show. It runs outside the transaction that ctx may carry, and commits by itself. Where there is no row it returns ErrNoRow.
func (db *DB) Ask(ctx context.Context, query string, args []any, into ...any) error {
	err := db.pool.QueryRow(ctx, query, args...).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNoRow
	}
	return err
}
