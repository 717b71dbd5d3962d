package tenancy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
)

// Config says how to reach the tenants.
type Config struct {
	Clusters []Cluster

	// Renew reads a tenant anew after the database refused to enter it, and returns where it is now or why it may not be
	// entered: Registry.Renew. Without one a refusal is InMaintenance, and nothing is tried twice.
	Renew func(ctx context.Context, old Scope) (Scope, error)

	Wait       time.Duration // the longest a statement waits for a connection, 5 s unless given; then ErrExhausted
	Statements int           // prepared statements kept per connection, 1,024 unless given
	Tenants    int           // tenants a connection serves before it is replaced by a fresh one, 2,000 unless given
	SlowQuery  time.Duration // statements slower than this are logged, without their values; 0 logs none
	Tracer     Tracer        // told of every statement, if not nil
	Logger     *slog.Logger  // slog.Default unless given
}

// Cluster says how to reach one cluster of tenants.
type Cluster struct {
	Name    string                                   // DefaultCluster unless given; scopes of clusters that are not listed are refused
	Groups  int                                      // affinity groups, each with its own login role
	Conns   int                                      // connections to each group; one more is opened while a tenant keeps them busy
	Connect func(group int) (*pgx.ConnConfig, error) // how to log in as the group's role
	Pooler  bool                                     // behind a transaction pooler: nothing outlives a transaction, so nothing is prepared
	Shared  bool                                     // kind citus: all tenants share the login role, and entering one checks its right to the schema
}

// DB is the tenants' database. Whose rows it reaches is decided by the Scope in each call's context, and by nothing else.
type DB struct {
	router *router
	gorm   *gorm.DB
}

// Open prepares the pools of every group; it connects nowhere yet.
func Open(cfg Config) (*DB, error) {
	cfg.Clusters = slices.Clone(cfg.Clusters)
	for i := range cfg.Clusters {
		c := &cfg.Clusters[i]
		if c.Groups < 1 || c.Conns < 1 || c.Connect == nil {
			return nil, errors.New("tenancy: a Cluster needs Groups, Conns and Connect")
		}
		c.Name = cmp.Or(c.Name, DefaultCluster)
	}
	if cfg.Statements < 0 || cfg.Tenants < 0 || cfg.Wait < 0 {
		return nil, errors.New("tenancy: Config has a negative limit")
	}
	cfg.Statements = cmp.Or(cfg.Statements, 1024)
	cfg.Tenants = cmp.Or(cfg.Tenants, 2000)
	cfg.Wait = cmp.Or(cfg.Wait, 5*time.Second)
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
			return slog.GroupAttrs("", append(scope.logAttrs(), slog.String("cluster", scope.cluster))...)
		},
	}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open gorm: %w", err), r.close())
	}
	if err := handle.Callback().Query().Replace("gorm:query", r.find); err != nil {
		return nil, errors.Join(fmt.Errorf("open gorm: %w", err), r.close())
	}
	return &DB{router: r, gorm: handle}, nil
}

// Close closes every connection, after the queries that are running.
func (db *DB) Close() error { return db.router.close() }

// Stats is the state of one group's connections.
type Stats struct {
	Cluster string
	Group   int
	Open    int // connections
	InUse   int
	Waiting int // calls that wait for a connection

	// Since the start.
	Waits     int64         // calls that had to wait
	WaitTime  time.Duration // how long they waited in all
	Exhausted int64         // those that were told ErrExhausted
	Moved     int64         // calls made once more because their tenant had moved
}

// Stats returns the state of every group.
func (db *DB) Stats() []Stats {
	var all []Stats
	for name, groups := range db.router.clusters {
		for i, g := range groups {
			all = append(all, g.stats(name, i))
		}
	}
	return all
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
// transaction; it costs a round trip only when a statement is sent. fn is called a second time, with another Scope, if the
// database refused its first statement because the tenant had moved.
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
	err = db.begin(ctx, scope, fn)
	if err != nil {
		// Refused with its first statement, so nothing of it was executed.
		if again, why := db.router.again(ctx, err); why != nil {
			err = why
		} else if scope, err = Current(again); err == nil {
			err = db.begin(again, scope, fn)
		}
	}
	return err
}

func (db *DB) begin(ctx context.Context, scope Scope, fn func(ctx context.Context) error) error {
	return db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return fn(context.WithValue(ctx, txKey{db}, openTx{scope: scope, gorm: tx}))
	})
}
