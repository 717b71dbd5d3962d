package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy"
)

// Kind is what a cluster is made of.
type Kind string

const (
	// Postgres is one PostgreSQL server, or a primary with its standbys.
	Postgres Kind = "postgres"
	// Citus is a Citus coordinator that distributes schemas (citus.enable_schema_based_sharding). It runs DDL one statement at
	// a time, and enters its workers as the role that logged in: all tenants share one LOGIN role there, and the gate is that
	// role's right to use the tenant's schema.
	Citus Kind = "citus"
)

// Cluster is one place where tenants' schemas stand.
type Cluster struct {
	Name       string
	Kind       Kind
	URLRef     string // the environment variable with its address; empty for the main cluster
	Groups     int    // affinity groups, each with a login role
	Capacity   *int   // tenants it may hold; nil: no limit
	AcceptsNew bool   // new tenants may be placed here

	url    string
	prefix string // of its roles
	owner  *pgxpool.Pool
}

// Owner returns the connections of the role that owns the cluster's database.
func (c *Cluster) Owner() *pgxpool.Pool { return c.owner }

// URL returns the owner's address of the cluster's database, with its password.
func (c *Cluster) URL() string { return c.url }

// GroupRole returns the login role of an affinity group: no right on anything but membership in its tenants' roles.
func (c *Cluster) GroupRole(group int) string {
	if c.Kind == Citus {
		return c.prefix + "_tenants"
	}
	return fmt.Sprintf("%s_g%d", c.prefix, group)
}

// Config says what a Fleet works with.
type Config struct {
	Owner *pgxpool.Pool                                                // of the main cluster
	URL   string                                                       // of the main cluster, as the owner
	Refer func(ref string) string                                      // the address that another cluster's URLRef stands for
	Open  func(ctx context.Context, url string) (*pgxpool.Pool, error) // opens the owner's pool of another cluster
	Set   []migrations.Migration                                       // the tenants' migrations
	Pool  int                                                          // schemas kept warm on each cluster that accepts new tenants
}

// Fleet is all clusters of an installation. It is safe for concurrent use.
type Fleet struct {
	Installation
	set      []migrations.Migration
	pool     int
	main     *Cluster
	clusters map[string]*Cluster
}

// Load reads what Install wrote: the installation and its clusters. It connects to no cluster but the main one, so that one
// that is away keeps nobody from starting. It fails where migrate has never run.
func Load(ctx context.Context, config Config) (*Fleet, error) {
	inst, err := LoadInstallation(ctx, config.Owner)
	if err != nil {
		return nil, err
	}
	rows, err := config.Owner.Query(ctx, "select name, kind, coalesce(dsn_ref, ''), groups, capacity, accepts_new from central.clusters order by name")
	if err != nil {
		return nil, fmt.Errorf("read the clusters: %w", err)
	}
	clusters, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Cluster, error) {
		var c Cluster
		err := row.Scan(&c.Name, &c.Kind, &c.URLRef, &c.Groups, &c.Capacity, &c.AcceptsNew)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the clusters: %w", err)
	}
	return New(ctx, config, inst, clusters)
}

// New is Load for who knows the installation and its clusters already.
func New(ctx context.Context, config Config, inst Installation, clusters []Cluster) (*Fleet, error) {
	f := &Fleet{Installation: inst, set: config.Set, pool: config.Pool, clusters: map[string]*Cluster{}}
	for _, c := range clusters {
		c.prefix = inst.prefix(c.Name)
		if c.Name == tenancy.DefaultCluster {
			c.url, c.owner = config.URL, config.Owner
			f.main = &c
		} else {
			if c.url = config.Refer(c.URLRef); c.url == "" {
				f.Close()
				return nil, fmt.Errorf("configuration: %s: is required: it is the address of cluster %s", c.URLRef, c.Name)
			}
			var err error
			if c.owner, err = config.Open(ctx, c.url); err != nil {
				f.Close()
				return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
			}
		}
		f.clusters[c.Name] = &c
	}
	if f.main == nil {
		f.Close()
		return nil, fmt.Errorf("there is no cluster %s", tenancy.DefaultCluster)
	}
	return f, nil
}

// Close gives back the connections to every cluster but the main one, whose pool is the caller's.
func (f *Fleet) Close() {
	for _, c := range f.clusters {
		if c != f.main && c.owner != nil {
			c.owner.Close()
		}
	}
}

// Main returns the cluster that also holds schema central.
func (f *Fleet) Main() *Cluster { return f.main }

// Cluster returns the cluster of that name.
func (f *Fleet) Cluster(name string) (*Cluster, error) {
	c, ok := f.clusters[name]
	if !ok {
		return nil, fmt.Errorf("there is no cluster %s", name)
	}
	return c, nil
}

// Clusters returns all of them, by name.
func (f *Fleet) Clusters() []*Cluster {
	return slices.SortedFunc(maps.Values(f.clusters), func(a, b *Cluster) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
}

// Set returns the tenants' migrations, in order.
func (f *Fleet) Set() []migrations.Migration { return f.set }

// LoadInstallation reads the installation's id. It fails where migrate has never run.
func LoadInstallation(ctx context.Context, pool *pgxpool.Pool) (Installation, error) {
	var i Installation
	err := pool.QueryRow(ctx, "select id from central.installation").Scan(&i.ID)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return i, nil
	case errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000"): // no such table or schema
		return i, fmt.Errorf("read the installation (run homecore migrate up first): %w", err)
	default:
		return i, fmt.Errorf("read the installation: %w", err)
	}
}
