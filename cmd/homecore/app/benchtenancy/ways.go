package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/tenancy"
)

// way is one way of reaching a tenant's rows. All of them have the same number of connections.
type way struct {
	key, title string
	tenancy    bool // it reaches tenants' schemas; else it is a limit, not an alternative
	open       func(w *world, application string) (client, error)
}

// client does the same work in its way. It is used by many goroutines.
type client interface {
	read(ctx context.Context, t *tenant, table string, id uuid.UUID) error
	write(ctx context.Context, t *tenant, table string, id uuid.UUID) error
	transact(ctx context.Context, t *tenant, table string, id uuid.UUID) error // reads, writes, reads another table
	close()
}

const (
	ours       = "homecore"
	raw        = "raw"
	qualified  = "qualified"
	untenanted = "stdlib"
	withTenant = "withtenant"
)

var allWays = []way{
	{ours, "HomeCore: driver and GORM", true, openOurs},
	{raw, "raw pgx, one schema (the limit)", false, openRaw},
	{qualified, "raw pgx, qualified names", true, openQualified},
	{untenanted, "GORM on pgx's stdlib, one schema", false, openUntenanted},
	{"setreset", "GORM: SET, read, RESET", true, openSession("set search_path to %s", "reset search_path")},
	{"setlocal", "GORM: BEGIN, SET LOCAL, read, COMMIT", true, openLocal("set local search_path to %s", "")},
	{withTenant, "GORM: WithTenant's five statements", true, openLocal("set search_path to %s", "set search_path to public")},
}

func wayOf(key string) (way, error) {
	for _, v := range allWays {
		if v.key == key {
			return v, nil
		}
	}
	return way{}, fmt.Errorf("there is no way %q", key)
}

// connections is how many connections every way has. Ours may open one more in a group that a single tenant keeps busy.
func (w *world) connections() int { return w.options.groups * w.options.conns }

// mark lets the server's sessions be told from others'.
func (w *world) mark(c *pgx.ConnConfig, application string) {
	c.RuntimeParams["application_name"] = application
	if w.dial != nil {
		c.DialFunc = w.dial
	}
}

// gorms is a way that works with GORM: what differs is how it comes to a handle.
type gorms struct {
	single func(ctx context.Context, t *tenant, fn func(db *gorm.DB) error) error
	many   func(ctx context.Context, t *tenant, fn func(db *gorm.DB) error) error // in a transaction
	done   func()
}

func (g gorms) read(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	return g.single(ctx, t, func(db *gorm.DB) error { return take(db, table, id) })
}

func (g gorms) write(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	return g.single(ctx, t, func(db *gorm.DB) error { return update(db, table, id) })
}

func (g gorms) transact(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	return g.many(ctx, t, func(db *gorm.DB) error {
		if err := take(db, table, id); err != nil {
			return err
		}
		if err := update(db, table, id); err != nil {
			return err
		}
		return take(db, secondTable, id)
	})
}

func (g gorms) close() { g.done() }

func take(db *gorm.DB, table string, id uuid.UUID) error {
	if table != mainTable {
		db = db.Table(table)
	}
	var r row
	return db.Take(&r, "id = ?", id).Error
}

func update(db *gorm.DB, table string, id uuid.UUID) error {
	return db.Table(table).Where("id = ?", id).UpdateColumns(map[string]any{"quantity": gorm.Expr("quantity + 1")}).Error
}

// openOurs is the stack as it is: registry's contexts, the tenancy driver, GORM.
func openOurs(w *world, application string) (client, error) {
	db, err := w.openTenancy(application)
	if err != nil {
		return nil, err
	}
	return gorms{
		single: func(_ context.Context, t *tenant, fn func(*gorm.DB) error) error { return fn(db.Gorm(t.ctx)) },
		many: func(_ context.Context, t *tenant, fn func(*gorm.DB) error) error {
			return db.Tx(t.ctx, func(ctx context.Context) error { return fn(db.Gorm(ctx)) })
		},
		done: func() { _ = db.Close() },
	}, nil
}

func (w *world) openTenancy(application string) (*tenancy.DB, error) {
	main := w.fleet.Main()
	return tenancy.Open(tenancy.Config{
		Clusters: []tenancy.Cluster{{
			Name: main.Name, Groups: main.Groups, Conns: w.options.conns,
			Connect: func(group int) (*pgx.ConnConfig, error) {
				c, err := pgx.ParseConfig(w.url)
				if err != nil {
					return nil, err
				}
				c.User = main.GroupRole(group)
				c.Password = w.password(c.User)
				w.mark(c, application)
				return c, nil
			},
		}},
		Renew: w.registry.Renew, Statements: w.options.statements, Tenants: w.options.recycle, SlowQuery: time.Second, Logger: quiet(),
	})
}

// openStdlib is GORM on pgx's own driver, with the same settings as ours.
func openStdlib(w *world, application, path string) (*gorm.DB, func(), error) {
	c, err := pgx.ParseConfig(w.url)
	if err != nil {
		return nil, nil, err
	}
	w.mark(c, application)
	c.RuntimeParams["search_path"] = path
	pool := stdlib.OpenDB(*c)
	pool.SetMaxOpenConns(w.connections())
	pool.SetMaxIdleConns(w.connections())
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), database.Options(database.QueryLog{Log: quiet(), Slow: time.Second}))
	return db, func() { _ = pool.Close() }, err
}

func openUntenanted(w *world, application string) (client, error) {
	db, done, err := openStdlib(w, application, oneSchema)
	return gorms{
		single: func(ctx context.Context, _ *tenant, fn func(*gorm.DB) error) error { return fn(db.WithContext(ctx)) },
		many: func(ctx context.Context, _ *tenant, fn func(*gorm.DB) error) error {
			return db.WithContext(ctx).Transaction(fn)
		},
		done: done,
	}, err
}

// openSession sets the path of a connection, works, and takes it back. It stands for switching in a hook or a middleware.
func openSession(set, reset string) func(w *world, application string) (client, error) {
	return func(w *world, application string) (client, error) {
		db, done, err := openStdlib(w, application, "public")
		on := func(ctx context.Context, t *tenant, fn func(*gorm.DB) error) error {
			return db.WithContext(ctx).Connection(func(conn *gorm.DB) error {
				conn = conn.Session(&gorm.Session{NewDB: true, Context: ctx})
				if err := conn.Exec(fmt.Sprintf(set, t.schema)).Error; err != nil {
					return err
				}
				return errors.Join(fn(conn), conn.Exec(reset).Error)
			})
		}
		return gorms{
			single: on,
			many: func(ctx context.Context, t *tenant, fn func(*gorm.DB) error) error {
				return on(ctx, t, func(conn *gorm.DB) error { return conn.Transaction(fn) })
			},
			done: done,
		}, err
	}
}

// openLocal sets the path inside a transaction, and perhaps takes it back before the commit.
func openLocal(set, reset string) func(w *world, application string) (client, error) {
	return func(w *world, application string) (client, error) {
		db, done, err := openStdlib(w, application, "public")
		on := func(ctx context.Context, t *tenant, fn func(*gorm.DB) error) error {
			return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec(fmt.Sprintf(set, t.schema)).Error; err != nil {
					return err
				}
				if err := fn(tx); err != nil || reset == "" {
					return err
				}
				return tx.Exec(reset).Error
			})
		}
		return gorms{single: on, many: on, done: done}, err
	}
}

// raws is a way that works with pgx alone, and its cache of prepared statements.
type raws struct {
	pool   *pgxpool.Pool
	prefix func(t *tenant) string // of a table's name
}

func openRaw(w *world, application string) (client, error) {
	pool, err := openPool(w, application, oneSchema)
	return raws{pool, func(*tenant) string { return "" }}, err
}

func openQualified(w *world, application string) (client, error) {
	pool, err := openPool(w, application, "")
	return raws{pool, func(t *tenant) string { return t.schema + "." }}, err
}

func openPool(w *world, application, path string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(w.url)
	if err != nil {
		return nil, err
	}
	c.MaxConns = int32(w.connections())
	w.mark(c.ConnConfig, application)
	c.ConnConfig.RuntimeParams["search_path"] = path
	return pgxpool.NewWithConfig(context.Background(), c)
}

// queryer is a pool or a transaction.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func (r raws) read(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	return r.readOn(ctx, r.pool, t, table, id)
}

func (r raws) readOn(ctx context.Context, q queryer, t *tenant, table string, id uuid.UUID) error {
	var v row
	return q.QueryRow(ctx, "select "+columns+" from "+r.prefix(t)+table+" where id = $1", id).Scan(&v.ID, &v.Code, &v.Name, &v.ParentID,
		&v.Quantity, &v.Attributes, &v.IsActive, &v.Version, &v.CreatedAt, &v.UpdatedAt)
}

func (r raws) update(t *tenant, table string) string {
	return "update " + r.prefix(t) + table + " set quantity = quantity + 1 where id = $1"
}

func (r raws) write(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	_, err := r.pool.Exec(ctx, r.update(t, table), id)
	return err
}

func (r raws) transact(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if err := r.readOn(ctx, tx, t, table, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, r.update(t, table), id); err != nil {
			return err
		}
		return r.readOn(ctx, tx, t, secondTable, id)
	})
}

func (r raws) close() { r.pool.Close() }
