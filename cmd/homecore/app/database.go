package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
	"garment.id/homecore/modules/central/activity"
	"garment.id/homecore/modules/central/identity"
	"garment.id/homecore/modules/central/tenants"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/jobs"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
	"garment.id/homecore/tenancy/transfer"
)

// rolePassword derives the password of a login role from the secret: none is stored anywhere.
func rolePassword(secret crypto.Key) func(role string) string {
	mac := secret.Authenticator("database roles")
	return func(role string) string { return base64.RawURLEncoding.EncodeToString(mac.Sum([]byte(role))) }
}

// OpenOwner connects as the role that owns the database: for migrations and provisioning, never for requests.
func OpenOwner(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("configuration: %sDATABASE_URL: %w", Prefix, hideURL(err))
	}
	c.MaxConns = 8
	c.MaxConnIdleTime = time.Minute
	// Always: a connection that a restarted server has closed is noticed before what it should do is lost.
	c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	// Batches of DDL are sent unprepared: a statement cannot be prepared before the one that makes its table has run.
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.ConnConfig.RuntimeParams["application_name"] = "homecore owner"
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the owner's pool: %w", err)
	}
	return pool, nil
}

// hideURL keeps a password out of an error about a URL.
func hideURL(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // only the outermost prints the URL
		return u.Err
	}
	return err
}

// loginAs is the configuration of a connection to the same server as another role.
func loginAs(databaseURL, role, password, application string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("configuration: %sDATABASE_URL: %w", Prefix, hideURL(err))
	}
	c.ConnConfig.User, c.ConnConfig.Password = role, password
	c.ConnConfig.RuntimeParams["application_name"] = application
	c.ConnConfig.ConnectTimeout = 5 * time.Second
	return c, nil
}

func openCentral(ctx context.Context, c Config, f *fleet.Fleet, log *slog.Logger) (*database.DB, error) {
	p, err := loginAs(c.DatabaseURL, f.CentralRole(), rolePassword(c.Secret)(f.CentralRole()), "homecore central")
	if err != nil {
		return nil, err
	}
	p.MaxConns = c.CentralConns
	p.MaxConnIdleTime = 5 * time.Minute
	return database.Open(ctx, p, log)
}

// openTenants is the tenants' handle, on every cluster. It connects to none of them yet.
func openTenants(c Config, f *fleet.Fleet, log *slog.Logger, dial func(ctx context.Context, network, address string) (net.Conn, error), registry *tenancy.Registry, tracer tenancy.Tracer) (*tenancy.DB, error) {
	password := rolePassword(c.Secret)
	config := tenancy.Config{Renew: registry.Renew, Tracer: tracer, SlowQuery: time.Second, Logger: log}
	for _, cluster := range f.Clusters() {
		config.Clusters = append(config.Clusters, tenancy.Cluster{
			Name: cluster.Name, Groups: cluster.Groups, Conns: c.TenantConnsPerGroup, Shared: cluster.Kind == fleet.Citus,
			Connect: func(group int) (*pgx.ConnConfig, error) {
				role := cluster.GroupRole(group)
				p, err := loginAs(cluster.URL(), role, password(role), "homecore tenants")
				if err != nil {
					return nil, err
				}
				if dial != nil {
					p.ConnConfig.DialFunc = dial
				}
				return p.ConnConfig, nil
			},
		})
	}
	return tenancy.Open(config)
}

// Progress is told what a migration has done, a line each.
type Progress func(line string)

// MigrateCentral brings schema central and the job tables up to this binary.
func MigrateCentral(ctx context.Context, owner *pgxpool.Pool, log *slog.Logger, report Progress) error {
	set, err := migrations.Load(migrations.Central)
	if err != nil {
		return err
	}
	if err := database.Migrate(ctx, owner, "central", set, func(m migrations.Migration) { report("central  " + m.Name) }); err != nil {
		return err
	}
	return jobs.Migrate(ctx, owner, log)
}

// Install makes what clusters need, or brings it up to date. It comes after every central migration.
func Install(ctx context.Context, c Config, owner *pgxpool.Pool) (*fleet.Fleet, error) {
	config, err := fleetConfig(c, owner)
	if err != nil {
		return nil, err
	}
	return fleet.Install(ctx, config, fleet.Cluster{Kind: fleet.Kind(c.ClusterKind), Groups: c.TenantGroups}, rolePassword(c.Secret))
}

// LoadFleet reads which clusters there are.
func LoadFleet(ctx context.Context, c Config, owner *pgxpool.Pool) (*fleet.Fleet, error) {
	config, err := fleetConfig(c, owner)
	if err != nil {
		return nil, err
	}
	return fleet.Load(ctx, config)
}

// AddCluster prepares another database for tenants and registers it, or brings it up to date. Its address is configuration:
// cluster.URLRef is the variable. Processes that run already serve it once they have been restarted.
func AddCluster(ctx context.Context, c Config, f *fleet.Fleet, owner *pgxpool.Pool, cluster fleet.Cluster) error {
	config, err := fleetConfig(c, owner)
	if err != nil {
		return err
	}
	return f.AddCluster(ctx, config, cluster, rolePassword(c.Secret))
}

func fleetConfig(c Config, owner *pgxpool.Pool) (fleet.Config, error) {
	set, err := migrations.Load(migrations.Tenant)
	return fleet.Config{
		Owner: owner, URL: c.DatabaseURL, Open: OpenOwner, Set: set, Pool: c.TenantPool,
		Refer: func(ref string) string { return c.ClusterURLs[ref] },
	}, err
}

// Status is how far the migrations are.
type Status struct {
	Central struct {
		Applied   int `json:"applied"`
		Available int `json:"available"`
	} `json:"central"`
	Tenant int              `json:"tenant_available"` // the newest migration a tenant can be at
	Behind []migrate.Behind `json:"tenants_behind"`
}

// MigrationStatus reads how far the migrations are. A database that has never been migrated is at 0.
func MigrationStatus(ctx context.Context, c Config, owner *pgxpool.Pool) (Status, error) {
	s := Status{Behind: []migrate.Behind{}}
	central, err := migrations.Load(migrations.Central)
	if err != nil {
		return s, err
	}
	tenant, err := migrations.Load(migrations.Tenant)
	if err != nil {
		return s, err
	}
	s.Central.Available, s.Tenant = migrations.Newest(central), len(tenant)
	var there bool
	if err := owner.QueryRow(ctx, "select to_regclass('central.schema_migrations') is not null").Scan(&there); err != nil {
		return s, fmt.Errorf("reach the database: %w", err)
	}
	if !there {
		return s, nil
	}
	// What is known of tenants is read the way the newest schema keeps it.
	if s.Central.Applied, err = database.Version(ctx, owner, "central"); err != nil || s.Central.Applied < s.Central.Available {
		return s, err
	}
	f, err := LoadFleet(ctx, c, owner)
	if err != nil {
		return s, err
	}
	defer f.Close()
	behind, err := migrate.New(f).Behind(ctx, "")
	if len(behind) > 0 {
		s.Behind = behind
	}
	return s, err
}

// consoleLog is the security log for who works at the command line. What it records there names no address that was tried, and fires no
// signal: it needs neither the server's key nor the queue.
func consoleLog(db *database.DB) identity.Activity {
	return recorder{&activity.Service{Deps: activity.Deps{DB: db, Clock: time.Now}}}
}

// Operators returns the platform's operators' side of the identity module, on the owner's connection: granting a role needs
// the database and nothing else of the configuration.
func Operators(ctx context.Context, databaseURL string, log *slog.Logger) (_ *identity.Service, done func(), err error) {
	c, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %sDATABASE_URL: %w", Prefix, hideURL(err))
	}
	c.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
	db, err := database.Open(ctx, c, log)
	if err != nil {
		return nil, nil, err
	}
	return &identity.Service{Deps: identity.Deps{DB: db, Activity: consoleLog(db), Clock: time.Now, Log: log}}, db.Close, nil
}

// Keys returns the operators' side of the signing keys, on the owner's connection.
func Keys(ctx context.Context, c Config, log *slog.Logger) (_ *identity.Keys, done func(), err error) {
	p, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %sDATABASE_URL: %w", Prefix, hideURL(err))
	}
	p.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
	db, err := database.Open(ctx, p, log)
	if err != nil {
		return nil, nil, err
	}
	return identity.NewKeys(db, c.Secret, c.Identity.AccessTTL, consoleLog(db), time.Now), db.Close, nil
}

// Domains returns the operators' side of tenants' own domains, on the owner's connection.
func Domains(ctx context.Context, c Config, log *slog.Logger) (_ *tenants.Domains, done func(), err error) {
	p, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %sDATABASE_URL: %w", Prefix, hideURL(err))
	}
	p.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
	db, err := database.Open(ctx, p, log)
	if err != nil {
		return nil, nil, err
	}
	return tenants.NewDomains(tenants.DomainDeps{
		DB: db, DNS: c.resolver(), Forget: func(string) {}, BaseDomain: c.BaseDomain, Clock: time.Now, Log: log,
	}), db.Close, nil
}

// TenantExists fails where no tenant has that slug.
func TenantExists(ctx context.Context, owner *pgxpool.Pool, slug string) error {
	var there bool
	if err := owner.QueryRow(ctx, "select exists (select from central.tenants where slug = $1 and status <> 'dropped')", slug).Scan(&there); err != nil {
		return fmt.Errorf("look for tenant %s: %w", slug, err)
	}
	if !there {
		return fmt.Errorf("there is no tenant %s", slug)
	}
	return nil
}

// Tenants returns the operators' side of the tenants module, on the owner's connections: a tenant's life is led with the databases
// and nothing else of the configuration.
func Tenants(ctx context.Context, c Config, log *slog.Logger) (_ *tenants.Service, done func(), err error) {
	owner, err := OpenOwner(ctx, c.DatabaseURL)
	if err != nil {
		return nil, nil, err
	}
	f, err := LoadFleet(ctx, c, owner)
	if err != nil {
		owner.Close()
		return nil, nil, err
	}
	closeFleet := func() { f.Close(); owner.Close() }
	p := owner.Config()
	p.ConnConfig.RuntimeParams["search_path"] = "central, pg_temp"
	p.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	db, err := database.Open(ctx, p, log)
	if err != nil {
		closeFleet()
		return nil, nil, err
	}
	queue, err := jobs.NewQueue(db, log)
	if err != nil {
		db.Close()
		closeFleet()
		return nil, nil, err
	}
	return tenants.New(tenants.Deps{
		DB: db, Queue: queue, Fleet: f, Transfers: transfer.New(f, log), Registry: nothingKnown{}, Directory: tenants.NewDirectory(db, c.Origin()), Clock: time.Now, Log: log,
		RequireVerified: nobodyAsks, Admit: nobodyAsks,
	}), func() { db.Close(); closeFleet() }, nil
}

// nobodyAsks is what who has the database need not be asked.
func nobodyAsks(context.Context, uuid.UUID) error { return nil }

// nothingKnown is the registry of a process that lets nobody in.
type nothingKnown struct{}

func (nothingKnown) Forget(tenancy.Tenant) {}

func (nothingKnown) EnterNew(context.Context, uuid.UUID) (context.Context, error) {
	return nil, tenancy.ErrNoTenant
}

// forgetActivities deletes old rows of the security log. Only the owner may: the role that requests are served with can add to the log.
func forgetActivities(owner *pgxpool.Pool) func(ctx context.Context, before time.Time, most int) (int64, error) {
	return func(ctx context.Context, before time.Time, most int) (int64, error) {
		done, err := owner.Exec(ctx, `delete from central.security_activities
			where id in (select id from central.security_activities where at < $1 order by at limit $2)`, before, most)
		return done.RowsAffected(), err
	}
}
