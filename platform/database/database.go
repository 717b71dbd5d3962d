// Package database is the handle on schema "central": GORM over a pgx pool, transactions that travel in the context,
// and the words in which Postgres says that it is away.
//
// Tenants' data is out of its reach: it logs in as a role that may use schema central and nothing else.
// The handle on a tenant's schema is tenancy.DB, which has the same two methods.
//
//	err := db.Tx(ctx, func(ctx context.Context) error {
//		return gorm.G[Account](db.Gorm(ctx)).Create(ctx, &account) // commits with whatever else joins ctx
//	})
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// DB is the handle on schema central. It is safe for concurrent use.
type DB struct {
	pool *pgxpool.Pool
	sql  *sql.DB
	gorm *gorm.DB
}

// Open makes the handle. It connects on first use, so that a process can start while Postgres is away.
func Open(ctx context.Context, config *pgxpool.Config, log *slog.Logger) (*DB, error) {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the central pool: %w", err)
	}
	db := &DB{pool: pool, sql: stdlib.OpenDBFromPool(pool)}
	db.gorm, err = gorm.Open(postgres.New(postgres.Config{Conn: db.sql}), Options(QueryLog{Log: log, Slow: time.Second}))
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the central handle: %w", err)
	}
	return db, nil
}

// Options are GORM's settings for every handle of HomeCore: columns are named, nothing is sent that was not asked for,
// and no value of a row reaches the log.
func Options(log QueryLog) *gorm.Config {
	return &gorm.Config{
		QueryFields:            true, // select *, prepared, would break at the next migration that adds a column
		SkipDefaultTransaction: true, // a single statement is its own transaction; a use case opens one with Tx
		TranslateError:         true,
		DisableAutomaticPing:   true,
		NowFunc:                func() time.Time { return time.Now().UTC() },
		Logger:                 log,
	}
}

type txKey struct{ db *DB }

type tx struct {
	gorm *gorm.DB
	conn *pgx.Conn
}

// Gorm returns the transaction ctx carries, or the handle itself.
func (db *DB) Gorm(ctx context.Context) *gorm.DB {
	if t, ok := ctx.Value(txKey{db}).(tx); ok {
		return t.gorm.WithContext(ctx)
	}
	return db.gorm.WithContext(ctx)
}

// Tx runs fn in a transaction: the one ctx carries, or a new one that commits when fn returns nil and rolls back when it
// returns an error or panics.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	if _, ok := ctx.Value(txKey{db}).(tx); ok {
		return fn(ctx)
	}
	conn, err := db.sql.Conn(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer conn.Close() //nolint:errcheck // only hands the connection back
	var raw *pgx.Conn
	if err := conn.Raw(func(c any) error { raw = c.(*stdlib.Conn).Conn(); return nil }); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	handle := db.gorm.WithContext(ctx)
	handle.Statement.ConnPool = conn
	return handle.Transaction(func(g *gorm.DB) error {
		return fn(context.WithValue(ctx, txKey{db}, tx{gorm: g, conn: raw}))
	})
}

// PgxTx returns the transaction ctx carries as pgx sees it, for a library that speaks pgx (the job queue); nil outside Tx.
// It cannot be committed or rolled back: that is for Tx to do.
func (db *DB) PgxTx(ctx context.Context) pgx.Tx {
	t, ok := ctx.Value(txKey{db}).(tx)
	if !ok {
		return nil
	}
	return joined{t.conn}
}

// Pool returns the pgx pool behind the handle, for the job queue.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// SQL returns the database/sql view of the same pool.
func (db *DB) SQL() *sql.DB { return db.sql }

// Ping asks Postgres for a sign of life.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Close waits for what is in use and closes the connections.
func (db *DB) Close() {
	_ = db.sql.Close()
	db.pool.Close()
}

// joined is a pgx.Tx on the connection that a database/sql transaction already holds.
type joined struct{ conn *pgx.Conn }

var errJoined = errors.New("database: the transaction belongs to DB.Tx")

func (j joined) Begin(ctx context.Context) (pgx.Tx, error) {
	if _, err := j.conn.Exec(ctx, "savepoint joined"); err != nil {
		return nil, err
	}
	return savepoint{j}, nil
}
func (j joined) Commit(context.Context) error   { return errJoined }
func (j joined) Rollback(context.Context) error { return errJoined }
func (j joined) Conn() *pgx.Conn                { return j.conn }
func (j joined) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
func (j joined) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return j.conn.CopyFrom(ctx, table, columns, rows)
}
func (j joined) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return j.conn.SendBatch(ctx, b)
}
func (j joined) Prepare(ctx context.Context, name, query string) (*pgconn.StatementDescription, error) {
	return j.conn.Prepare(ctx, name, query)
}
func (j joined) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	return j.conn.Exec(ctx, query, args...)
}
func (j joined) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return j.conn.Query(ctx, query, args...)
}
func (j joined) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return j.conn.QueryRow(ctx, query, args...)
}

type savepoint struct{ joined }

func (s savepoint) Commit(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "release savepoint joined")
	return err
}

func (s savepoint) Rollback(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, "rollback to savepoint joined")
	return err
}
