// Package idempotency remembers what a mutation answered, in the transaction of the mutation itself: it has happened and is
// remembered, or neither. It implements api.IdempotencyStore for a schema that has the table idempotency_keys.
package idempotency

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
)

// Lifetime is how long an answer is remembered.
const Lifetime = 24 * time.Hour

// Database is what a store needs of a handle; both database.DB and tenancy.DB are one.
type Database interface {
	Gorm(ctx context.Context) *gorm.DB
	Tx(ctx context.Context, fn func(ctx context.Context) error) error
}

// Store keeps the answers in one database.
type Store struct{ db Database }

// New returns the store in db.
func New(db Database) *Store { return &Store{db} }

type row struct {
	Owner     string `gorm:"primaryKey"`
	Operation string `gorm:"primaryKey"`
	Key       string `gorm:"primaryKey"`
	Hash      []byte
	Result    []byte
	CreatedAt time.Time
}

func (row) TableName() string { return "idempotency_keys" }

// forget removes what is too old: this key, and a few others, so that the table stays small without a job that would have to
// visit every tenant. What another transaction is removing already is left to it.
const forget = `with old as (select owner, operation, key from idempotency_keys where created_at < ?
		order by (owner, operation, key) = (?, ?, ?) desc, created_at limit 50 for update skip locked)
	delete from idempotency_keys k using old where (k.owner, k.operation, k.key) = (old.owner, old.operation, old.key)`

// Once runs fn in a transaction and records what it returns; with a key that is recorded already it returns the recorded
// result, without running fn, or fault api.ErrKeyReused where the hash differs. Of two at the same time the second waits for the
// first: the primary key is the lock. What fn refuses is not recorded.
func (s *Store) Once(ctx context.Context, owner, operation, key string, hash []byte,
	fn func(ctx context.Context) ([]byte, error)) (result []byte, replayed bool, err error) {
	err = s.db.Tx(ctx, func(ctx context.Context) error {
		claim := row{Owner: owner, Operation: operation, Key: key, Hash: hash, Result: []byte{}, CreatedAt: time.Now().UTC()}
		db := s.db.Gorm(ctx)
		if err := db.Exec(forget, claim.CreatedAt.Add(-Lifetime), owner, operation, key).Error; err != nil {
			return fmt.Errorf("claim idempotency key: %w", err)
		}
		made := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&claim)
		if made.Error != nil {
			return fmt.Errorf("claim idempotency key: %w", made.Error)
		}
		if made.RowsAffected == 0 {
			var first row
			if err := db.Where("owner = ? and operation = ? and key = ?", owner, operation, key).Take(&first).Error; err != nil {
				return fmt.Errorf("read idempotency key: %w", err)
			}
			if !bytes.Equal(first.Hash, hash) {
				return api.ErrKeyReused
			}
			result, replayed = first.Result, true
			return nil
		}
		if result, err = fn(ctx); err != nil {
			return err
		}
		if err := db.Model(&row{}).Where("owner = ? and operation = ? and key = ?", owner, operation, key).
			Update("result", result).Error; err != nil {
			return fmt.Errorf("record idempotency key: %w", err)
		}
		return nil
	})
	return result, replayed, err
}
