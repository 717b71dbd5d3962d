package tenancy

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// ErrNoTransaction is returned, before any I/O, by what only has a meaning inside Tx.
var ErrNoTransaction = errors.New("tenancy: only inside a transaction")

// hatch is how this package does on a tenant's connection what SQL may not: it travels as the only argument of an empty
// statement, and since nobody else can make one, nobody else can. database/sql holds the connection while it runs, and may
// run it again on another if it returns driver.ErrBadConn.
type hatch func(ctx context.Context, c *conn) (driver.Result, error)

// through runs h on the transaction of ctx, or else on any connection that serves its tenant.
func (db *DB) through(ctx context.Context, h hatch) (int64, error) {
	pool := gorm.ConnPool(db.router)
	if tx, ok := ctx.Value(txKey{db}).(openTx); ok {
		pool = tx.gorm.Statement.ConnPool
	}
	result, err := pool.ExecContext(ctx, "", h)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (db *DB) inTx(ctx context.Context) bool {
	_, ok := ctx.Value(txKey{db}).(openTx)
	return ok
}

// trusted runs SQL of this package's own, which is not refused.
func trusted(sql string, args ...string) hatch {
	return func(ctx context.Context, c *conn) (driver.Result, error) {
		scope, err := c.admit(ctx)
		if err != nil {
			return nil, err
		}
		named := make([]driver.NamedValue, len(args))
		for i, arg := range args {
			named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
		}
		r, err := c.runAs(ctx, scope, sql, named, true)
		if err != nil {
			return nil, err
		}
		if err := r.finish(); err != nil {
			return nil, err
		}
		return driver.RowsAffected(r.tag.RowsAffected()), nil
	}
}

// Lock waits until no other transaction of ctx's tenant holds the lock named key, and takes it until the transaction ends.
// Other tenants' locks of the same name are others. Outside Tx it is ErrNoTransaction. The wait ends like any statement, with
// ctx or at statement_timeout (57014) or lock_timeout (55P03), and PostgreSQL finds deadlocks (40P01).
//
// Two different names wait for each other with a probability of 2⁻⁶⁴: PostgreSQL's key is a number.
func (db *DB) Lock(ctx context.Context, key string) error {
	scope, err := Current(ctx)
	if err != nil {
		return err
	}
	if !db.inTx(ctx) {
		return fmt.Errorf("lock %q: %w", key, ErrNoTransaction)
	}
	_, err = db.through(ctx, trusted("select pg_catalog.pg_advisory_xact_lock($1::text::int8)", lockKey(scope, key)))
	return err
}

// lockKey mixes the tenant into an advisory lock's key: the keys are shared by all of a database.
func lockKey(s Scope, key string) string {
	h := sha256.New()
	h.Write(s.tenant[:])
	h.Write([]byte(key))
	return fmt.Sprint(int64(binary.BigEndian.Uint64(h.Sum(nil))))
}

// Notify sends payload, at most 8000 bytes, to those who Listen as the same tenant. Inside Tx they get it when that commits,
// and not if it does not; equal ones of one transaction arrive once. Outside it is sent at once, in one round trip.
func (db *DB) Notify(ctx context.Context, channel, payload string) error {
	scope, err := Current(ctx)
	if err != nil {
		return err
	}
	name, err := channelName(scope, channel)
	if err != nil {
		return err
	}
	_, err = db.through(ctx, trusted("select pg_catalog.pg_notify($1, $2)", name, payload))
	return err
}

// channelName carries the tenant, since a database's channels are shared by everyone in it and have no rights.
func channelName(s Scope, channel string) (string, error) {
	const longest = 63 - len("hc_") - 32 - len("_") // PostgreSQL's names have 63 bytes, and are cut without a word
	if channel == "" || len(channel) > longest {
		return "", fmt.Errorf("tenancy: channel %q: the name has 1 to %d bytes", channel, longest)
	}
	return "hc_" + hex.EncodeToString(s.tenant[:]) + "_" + channel, nil
}
