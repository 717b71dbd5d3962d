package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

var (
	_ gorm.ConnPool         = (*router)(nil)
	_ gorm.ConnPoolBeginner = (*router)(nil)
)

// router is the connection pool GORM is given: it sends each call to the cluster and group of the tenant in its context, and
// once more if the tenant had gone elsewhere.
type router struct {
	clusters map[string][]*group
	renew    func(context.Context, Scope) (Scope, error)
	wait     time.Duration
	results  delivery
}

func newRouter(cfg Config) (*router, error) {
	r := &router{clusters: make(map[string][]*group), renew: cfg.Renew, wait: cfg.Wait}
	for _, cluster := range cfg.Clusters {
		known := newDescriptions()
		var groups []*group
		for i := range cluster.Groups {
			config, err := cluster.Connect(i)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("configure group %d of cluster %q: %w", i, cluster.Name, err), r.close())
			}
			g := newGroup(cluster.Conns, func(_ *group, l *lane) *sql.DB {
				return sql.OpenDB(newConnector(config, cfg, cluster, known, l))
			})
			g.known = known
			groups = append(groups, g)
		}
		r.clusters[cluster.Name] = groups
	}
	r.results = newDelivery()
	return r, nil
}

// lane returns a connection for the tenant of ctx. It is the caller's, until released.
func (r *router) lane(ctx context.Context) (*lane, error) {
	scope, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	g, err := r.group(scope)
	if err != nil {
		return nil, err
	}
	return g.acquire(ctx, scope.schema, r.wait)
}

func (r *router) group(s Scope) (*group, error) {
	groups, ok := r.clusters[s.cluster]
	if !ok || s.group < 0 || s.group >= len(groups) {
		return nil, fmt.Errorf("%w: tenant %s is in group %d of cluster %q", ErrMisplaced, s.tenant, s.group, s.cluster)
	}
	return groups[s.group], nil
}

// again decides what to do about err: where Postgres refused to enter the tenant, nothing was executed, so that the call may
// be made once more with the context that is returned; or it says better why not.
func (r *router) again(ctx context.Context, err error) (context.Context, error) {
	entry, ok := errors.AsType[*EntryError](err)
	if !ok || r.renew == nil {
		return nil, err
	}
	if _, renewed := ctx.Value(renewedKey{}).(bool); renewed {
		return nil, err
	}
	old, _ := Current(ctx)
	now, why := r.renew(ctx, old)
	if why != nil {
		return nil, entry.because(why)
	}
	if g, err := r.group(now); err == nil {
		g.moved.Add(1)
	}
	return context.WithValue(With(ctx, now), renewedKey{}, true), nil
}

// renewedKey marks a context whose Scope has just been read anew: a second refusal stands.
type renewedKey struct{}

// BeginTx begins a transaction. It holds a connection until it ends, but sends nothing before its first statement.
func (r *router) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	l, err := r.lane(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := l.db.BeginTx(ctx, opts)
	if err != nil {
		l.release()
		return nil, err
	}
	return tx, nil // the driver releases the lane when the connection comes back
}

// PrepareContext returns a statement for the tenant of ctx alone.
func (r *router) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	l, err := r.lane(ctx)
	if err != nil {
		return nil, err
	}
	defer l.release()
	return l.db.PrepareContext(ctx, query) //nolint:sqlclosecheck // the caller closes it
}

func (r *router) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := r.exec(ctx, query, args)
	if err != nil {
		if ctx, err = r.again(ctx, err); err == nil {
			return r.exec(ctx, query, args)
		}
	}
	return result, err
}

func (r *router) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	l, err := r.lane(ctx)
	if err != nil {
		return nil, err
	}
	defer l.release()
	return l.db.ExecContext(ctx, query, args...)
}

func (r *router) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	res, rows, err := r.ask(ctx, query, args)
	if res != nil {
		return r.results.rows(res)
	}
	return rows, err
}

// read makes a read together with others, if that is what it can do; else it returns the lane, and the context, to make it with.
func (r *router) read(ctx context.Context, query string, args []any) (*result, *lane, context.Context, error) {
	scope, err := Current(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	g, err := r.group(scope)
	if err != nil {
		return nil, nil, nil, err
	}
	if !travels(query) {
		l, err := g.acquire(ctx, scope.schema, r.wait)
		return nil, l, ctx, err
	}
	a := &ask{ctx: ctx, scope: scope, key: statementKey{schema: scope.schema, version: scope.version, sql: query}, args: args}
	l, sent, err := g.join(ctx, scope.schema, a, r.wait)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case l == nil:
	case sent || l.lead(a):
		res, err := l.answer(a)
		if !errors.Is(err, errAlone) {
			return res, nil, nil, err
		}
	default:
		if !g.quick(a.key) {
			l.linger()
		}
		return nil, l, ctx, nil
	}
	if l, err = g.acquire(ctx, scope.schema, r.wait); err != nil {
		a.ended.call(Outcome{Err: err, Retried: true})
		return nil, nil, nil, err
	}
	if a.ended != nil {
		ctx = context.WithValue(ctx, begunKey{}, a.ended)
	}
	return nil, l, ctx, nil
}

func (r *router) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row, err := r.queryRow(ctx, query, args)
	if err != nil {
		again, why := r.again(ctx, err)
		if why == nil {
			row, why = r.queryRow(again, query, args)
		}
		if row == nil {
			return r.results.refusal(why)
		}
	}
	return row
}

// queryRow returns no row where there was no lane to ask on, or where the tenant could not be entered.
func (r *router) queryRow(ctx context.Context, query string, args []any) (*sql.Row, error) {
	res, l, ctx, err := r.read(ctx, query, args)
	if err != nil {
		return nil, err
	}
	if res != nil {
		return r.results.row(res), nil
	}
	row := l.db.QueryRowContext(ctx, query, args...)
	if err := row.Err(); err != nil {
		l.release()
		if _, ok := errors.AsType[*EntryError](err); ok {
			return nil, err
		}
	}
	return row, nil
}

// all calls do for every lane.
func (r *router) all(do func(cluster string, group int, l *lane)) {
	for name, groups := range r.clusters {
		for i, g := range groups {
			for _, l := range g.lanes {
				do(name, i, l)
			}
		}
	}
}

func (r *router) close() error {
	var errs []error
	r.all(func(_ string, _ int, l *lane) { errs = append(errs, l.db.Close()) })
	if r.results.db != nil {
		errs = append(errs, r.results.db.Close())
	}
	return errors.Join(errs...)
}
