package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
)

// Config says how to reach one cluster of tenants.
type Config struct {
	Cluster       string                                   // its name, DefaultCluster unless given; scopes of other clusters are refused
	Groups        int                                      // affinity groups, each with its own login role
	ConnsPerGroup int                                      // connections in each group
	Connect       func(group int) (*pgx.ConnConfig, error) // how to log in as the group's role
	Pooler        bool                                     // behind a transaction pooler: nothing outlives a transaction, so nothing is prepared
	Statements    int                                      // prepared statements kept per connection, 512 unless given
	Refused       func(Scope)                              // told when the database refuses to enter a tenant: what is known of it is out of date
	SlowQuery     time.Duration                            // statements slower than this are logged, without their values; 0 logs none
	Logger        *slog.Logger                             // slog.Default unless given
}

// DB is the tenants' database. Whose rows it reaches is decided by the Scope in each call's context, and by nothing else.
type DB struct {
	router *router
	gorm   *gorm.DB
}

// Open prepares the pools of every group; it connects nowhere yet.
func Open(cfg Config) (*DB, error) {
	if cfg.Groups < 1 || cfg.ConnsPerGroup < 1 || cfg.Connect == nil || cfg.Statements < 0 {
		return nil, errors.New("tenancy: Config needs Groups, ConnsPerGroup and Connect")
	}
	if cfg.Cluster == "" {
		cfg.Cluster = DefaultCluster
	}
	if cfg.Statements == 0 {
		cfg.Statements = 512
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r, err := newRouter(cfg)
	if err != nil {
		return nil, err
	}
	handle, err := gorm.Open(postgres.New(postgres.Config{Conn: r}), database.Options(database.QueryLog{
		Log: cfg.Logger, Slow: cfg.SlowQuery,
		Attrs: func(ctx context.Context) slog.Attr {
			scope, _ := Current(ctx)
			return slog.String("tenant", scope.slug)
		},
	}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open gorm: %w", err), r.close())
	}
	return &DB{router: r, gorm: handle}, nil
}

// Close closes every connection, after the queries that are running.
func (db *DB) Close() error { return db.router.close() }

// Stats returns the state of the pools, one per group.
func (db *DB) Stats() []sql.DBStats {
	stats := make([]sql.DBStats, len(db.router.groups))
	for i, group := range db.router.groups {
		stats[i] = group.Stats()
	}
	return stats
}

// txKey is per DB, so that a transaction on one database is never joined by work on another.
type txKey struct{ db *DB }

type openTx struct {
	scope Scope
	gorm  *gorm.DB
}

// Gorm returns the transaction that ctx carries, opened by Tx on this DB, or else the plain handle.
func (db *DB) Gorm(ctx context.Context) *gorm.DB {
	if tx, ok := ctx.Value(txKey{db}).(openTx); ok {
		return tx.gorm.WithContext(ctx)
	}
	return db.gorm.WithContext(ctx)
}

// Tx runs fn in a transaction of ctx's tenant: it commits when fn returns nil, and rolls back when fn fails or panics.
// Inside another Tx on this DB it joins that one, whose outermost fn then decides. The context given to fn carries the
// transaction; it costs a round trip only when a statement is sent.
func (db *DB) Tx(ctx context.Context, fn func(ctx context.Context) error) error {
	scope, err := Current(ctx)
	if err != nil {
		return err
	}
	if tx, ok := ctx.Value(txKey{db}).(openTx); ok {
		if tx.scope != scope {
			return ErrTenantMismatch
		}
		return fn(ctx)
	}
	return db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return fn(context.WithValue(ctx, txKey{db}, openTx{scope: scope, gorm: tx}))
	})
}
