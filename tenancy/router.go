package tenancy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

var (
	_ gorm.ConnPool   = (*router)(nil)
	_ gorm.TxBeginner = (*router)(nil)
)

// router is the connection pool GORM is given: it sends each call to the group of the tenant in its context.
type router struct {
	cluster string
	groups  []*sql.DB
	refused *sql.DB // answers a call that has no pool; see QueryRowContext
}

func newRouter(cfg Config) (*router, error) {
	r := &router{cluster: cfg.Cluster}
	known := newDescriptions()
	for group := range cfg.Groups {
		config, err := cfg.Connect(group)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("configure group %d of cluster %q: %w", group, cfg.Cluster, err), r.close())
		}
		pool := sql.OpenDB(newConnector(config, cfg, known))
		pool.SetMaxOpenConns(cfg.ConnsPerGroup)
		pool.SetMaxIdleConns(cfg.ConnsPerGroup)
		r.groups = append(r.groups, pool)
	}
	r.refused = sql.OpenDB(refuser{r})
	return r, nil
}

// pool returns the connections that serve the tenant of ctx.
func (r *router) pool(ctx context.Context) (*sql.DB, error) {
	scope, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	if scope.cluster != r.cluster || scope.group < 0 || scope.group >= len(r.groups) {
		return nil, fmt.Errorf("%w: tenant %s is in group %d of cluster %q, not among the %d groups of %q",
			ErrMisplaced, scope.tenant, scope.group, scope.cluster, len(r.groups), r.cluster)
	}
	return r.groups[scope.group], nil
}

func (r *router) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	pool, err := r.pool(ctx)
	if err != nil {
		return nil, err
	}
	return pool.BeginTx(ctx, opts)
}

func (r *router) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	pool, err := r.pool(ctx)
	if err != nil {
		return nil, err
	}
	return pool.PrepareContext(ctx, query)
}

func (r *router) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	pool, err := r.pool(ctx)
	if err != nil {
		return nil, err
	}
	return pool.ExecContext(ctx, query, args...)
}

func (r *router) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	pool, err := r.pool(ctx)
	if err != nil {
		return nil, err
	}
	return pool.QueryContext(ctx, query, args...)
}

func (r *router) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	pool, err := r.pool(ctx)
	if err != nil {
		pool = r.refused // only database/sql can make a *sql.Row that holds an error
	}
	return pool.QueryRowContext(ctx, query, args...)
}

func (r *router) close() error {
	var errs []error
	for _, pool := range r.groups {
		errs = append(errs, pool.Close())
	}
	if r.refused != nil {
		errs = append(errs, r.refused.Close())
	}
	return errors.Join(errs...)
}

// refuser connects nowhere: asked to, it says why there is no pool for ctx.
type refuser struct{ router *router }

func (r refuser) Connect(ctx context.Context) (driver.Conn, error) {
	if _, err := r.router.pool(ctx); err != nil {
		return nil, err
	}
	return nil, ErrMisplaced
}

func (r refuser) Driver() driver.Driver { return noDriver{} }
