// Package app builds HomeCore: every object, top to bottom, in New. It is the map of who uses whom; the command line and
// the tests start the same thing.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/riverqueue/river"

	"garment.id/homecore/migrations"
	"garment.id/homecore/modules/central/activity"
	"garment.id/homecore/modules/central/identity"
	"garment.id/homecore/modules/central/masterdata"
	"garment.id/homecore/modules/central/tenants"
	"garment.id/homecore/modules/tenant/members"
	"garment.id/homecore/modules/tenant/taxonomies"
	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/jobs"
	"garment.id/homecore/platform/mail"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

// Options are what is not configuration.
type Options struct {
	Version string
	Log     *slog.Logger
	Clock   func() time.Time // default time.Now
	// Development keeps mail and shows it at /dev/mail where no mail server is configured.
	Development bool
	// Pages adds to what the base domain serves beside the API in development.
	Pages func(mux *http.ServeMux)
	// DialTenants connects to the tenants' database; tests count what goes over the wire. Default: as pgx does.
	DialTenants func(ctx context.Context, network, address string) (net.Conn, error)
}

// App is HomeCore, built and not yet running.
type App struct {
	Config     Config
	Router     *api.Router
	Runner     *jobs.Runner
	Metrics    *prometheus.Registry
	Activity   *activity.Service
	Identity   *identity.Service
	Tenants    *tenants.Service
	Domains    *tenants.Domains
	Masters    *masterdata.Service
	Taxonomies *taxonomies.Service
	Registry   *tenancy.Registry
	Fleet      *fleet.Fleet

	owner   *pgxpool.Pool
	central *database.DB
	tenants *tenancy.DB
	newest  int // migration of schema central that this binary has

	hush func() // ends the registry's listener
}

// New builds everything. The database must be there and migrated.
func New(ctx context.Context, c Config, o Options) (*App, error) {
	if !o.Development {
		// A configuration that is wrong is said before a database that is away.
		if _, err := c.mailServer(); err != nil {
			return nil, err
		}
	}
	owner, err := OpenOwner(ctx, c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	f, err := LoadFleet(ctx, c, owner)
	if err != nil {
		owner.Close()
		return nil, err
	}
	a, err := build(ctx, c, o, owner, f)
	if err != nil {
		return nil, err
	}
	if err := a.Identity.EnsureKeys(ctx); err != nil {
		a.Close()
		return nil, err
	}
	a.listen(ctx, o.Log)
	return a, nil
}

// listen hears of changes to tenants, and to who may do what, until the app is closed.
func (a *App) listen(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { a.Registry.Listen(ctx, log) })
	done.Go(func() { a.Identity.Listen(ctx, log) })
	a.hush = func() { cancel(); done.Wait() }
}

// Routes builds the same without asking the database anything, for who only wants to know what there is.
func Routes(c Config, o Options) (*api.Router, error) {
	owner, err := OpenOwner(context.Background(), c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	o.Development = true
	config, err := fleetConfig(c, owner)
	if err != nil {
		return nil, err
	}
	f, err := fleet.New(context.Background(), config, fleet.Installation{ID: "none"}, []fleet.Cluster{{Name: tenancy.DefaultCluster, Groups: 1}})
	if err != nil {
		return nil, err
	}
	a, err := build(context.Background(), c, o, owner, f)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.Router, nil
}

// build makes every object, top to bottom.
func build(ctx context.Context, c Config, o Options, owner *pgxpool.Pool, f *fleet.Fleet) (_ *App, err error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Log = slog.New(tenancy.LogHandler(o.Log.Handler()))
	a := &App{Config: c, Metrics: prometheus.NewRegistry(), owner: owner, Fleet: f}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	a.Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// Databases: the owner for DDL, schema central, the tenants.
	if a.central, err = openCentral(ctx, c, f, o.Log); err != nil {
		return nil, err
	}
	schema, err := migrations.Load(migrations.Central)
	if err != nil {
		return nil, err
	}
	a.newest = migrations.Newest(schema)
	a.Registry = tenancy.NewRegistry(a.central, c.BaseDomain, len(f.Set()))
	observed := tenancy.NewMetrics(func() []tenancy.Stats { return a.tenants.Stats() })
	if a.tenants, err = openTenants(c, f, o.Log, o.DialTenants, a.Registry, observed); err != nil {
		return nil, err
	}
	a.Metrics.MustRegister(observed)
	queue, err := jobs.NewQueue(a.central, o.Log)
	if err != nil {
		return nil, err
	}
	sender, mailbox, err := newMail(c, o, a.central)
	if err != nil {
		return nil, err
	}

	// Tenancy.
	directory := tenants.NewDirectory(a.central, c.Origin())

	// Modules of the tenants' schemas.
	memberships := members.New(members.Deps{DB: a.tenants, Enter: a.Registry.Enter, Clock: o.Clock})
	a.Taxonomies = taxonomies.New(taxonomies.Deps{DB: a.tenants, Clock: o.Clock})

	// Modules of schema central.
	a.Activity, err = activity.New(activity.Deps{
		Config: c.Activity, DB: a.central, Queue: queue, Key: c.Secret, Slugs: directory.Slugs, Members: directory.Members, MemberIDs: directory.MemberIDs,
		People: func(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]activity.Person, error) {
			found, err := a.Identity.People(ctx, ids)
			out := make(map[uuid.UUID]activity.Person, len(found))
			for id, p := range found {
				out[id] = activity.Person(p)
			}
			return out, err
		},
		Permits: func(ctx context.Context, p api.Principal, permission string) error {
			return a.Identity.PlatformPermits(ctx, p, permission)
		},
		Warn:   func(ctx context.Context, w activity.Warning) error { return a.Identity.Warn(ctx, identity.Warning(w)) },
		Forget: forgetActivities(owner),
		Clock:  o.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("configuration: %s%w", Prefix, err)
	}
	a.Identity, err = identity.New(identity.Deps{
		Config: c.Identity, DB: a.central, Queue: queue, Mail: sender, Brand: mail.Brand{Name: c.BrandName, URL: c.Origin()},
		Key: c.Secret, Issuer: c.Origin(), Tenants: places{directory}, Permissions: memberships.Permissions, Activity: recorder{a.Activity},
		// The tenant's schema first: who is in the directory alone would be let in and find nothing allowed.
		Join: func(ctx context.Context, tenant, user uuid.UUID, role string) error {
			role, err := memberships.Join(ctx, tenant, user, role)
			if err != nil {
				return err
			}
			return directory.Join(ctx, tenant, user, role)
		},
		Clock: o.Clock, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	a.Masters = masterdata.New(masterdata.Deps{DB: a.central, Clock: o.Clock})
	a.Tenants = tenants.New(tenants.Deps{
		DB: a.central, Queue: queue, Registry: a.Registry, Directory: directory, Fleet: f, Transfers: transfer.New(f, o.Log),
		ExportDir: c.ExportDir,
		// What a new tenant starts with, in one transaction of its schema.
		Seed: func(ctx context.Context, owner uuid.UUID) error {
			masters, err := a.Masters.Active(ctx)
			if err != nil {
				return err
			}
			return a.tenants.Tx(ctx, func(ctx context.Context) error {
				if err := memberships.Seed(ctx, owner); err != nil {
					return err
				}
				return a.Taxonomies.Seed(ctx, copies(masters))
			})
		},
		RequireVerified: a.Identity.RequireVerified, Admit: a.Identity.AdmitOnboarding, RequireTwoFactor: a.Identity.RequireTwoFactor, Clock: o.Clock, Log: o.Log,
	})

	a.Domains = tenants.NewDomains(tenants.DomainDeps{
		DB: a.central, Queue: queue, DNS: c.resolver(), Forget: a.Registry.ForgetName, BaseDomain: c.BaseDomain, Clock: o.Clock, Log: o.Log,
	})

	// The edge.
	proxies, err := c.proxies()
	if err != nil {
		return nil, err
	}
	a.Router = api.New(api.Config{
		BaseDomain: c.BaseDomain, Version: o.Version, Authenticate: a.Identity.Authenticate, Tenants: tenants.Edge{Registry: a.Registry},
		PlatformPermits: a.Identity.PlatformPermits,
		// The tenant's policy first: it may be younger than the token.
		TenantPermits: func(ctx context.Context, p api.Principal, permission string) error {
			if err := a.Identity.TenantLetsIn(ctx, p); err != nil {
				return err
			}
			return memberships.Permits(ctx, p, permission)
		},
		Refused:     a.Identity.Refused,
		Changed:     a.Identity.AccountChanged,
		Unavailable: database.Unavailable, Ready: a.ready, CORSOrigins: c.CORSOrigins, TrustedProxies: proxies,
		Pages: pages(o, mailbox, a.Identity), Logger: o.Log, Registry: a.Metrics, Clock: o.Clock,
	})
	a.Identity.Routes(a.Router)
	a.Activity.Routes(a.Router)
	a.Tenants.Routes(a.Router)
	a.Domains.Routes(a.Router)
	a.Masters.Routes(a.Router)
	a.Taxonomies.Routes(a.Router)

	// Jobs.
	workers := river.NewWorkers()
	a.Identity.Jobs(workers)
	a.Activity.Jobs(workers)
	a.Tenants.Jobs(workers)
	a.Domains.Jobs(workers)
	a.Runner, err = jobs.NewRunner(a.central, c.Jobs, workers, slices.Concat(a.Identity.Periodic(), a.Activity.Periodic(), a.Tenants.Periodic(), a.Domains.Periodic()), o.Log)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Close gives back every connection. The API and the jobs must have stopped.
func (a *App) Close() {
	if a.hush != nil {
		a.hush()
	}
	if a.Activity != nil {
		a.Activity.Close()
	}
	if a.tenants != nil {
		_ = a.tenants.Close()
	}
	if a.central != nil {
		a.central.Close()
	}
	a.Fleet.Close()
	a.owner.Close()
}

// ready says whether this process can serve: the database answers, and schema central is not older than the binary.
func (a *App) ready(ctx context.Context) error {
	version, err := database.Version(ctx, a.central.Pool(), "central")
	if err != nil {
		return err
	}
	if version < a.newest {
		return fmt.Errorf("schema central is at migration %d of %d: run homecore migrate up", version, a.newest)
	}
	return nil
}

// newMail chooses who sends: the configured mail server, or in development the kept mailbox.
func newMail(c Config, o Options, db *database.DB) (mail.Sender, *mail.Mailbox, error) {
	if c.SMTPURL.Reveal() == "" && o.Development {
		mailbox := mail.NewMailbox(db.SQL())
		return mailbox, mailbox, nil
	}
	sender, err := c.mailServer()
	return sender, nil, err
}

// mailServer sends through the configured server, and connects to nothing yet.
func (c Config) mailServer() (*mail.SMTP, error) {
	if c.SMTPURL.Reveal() == "" {
		return nil, fmt.Errorf("configuration: %sSMTP_URL: is required outside development", Prefix)
	}
	sender, err := mail.NewSMTP(mail.SMTPConfig{URL: c.SMTPURL.Reveal(), From: c.MailFrom})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return sender, nil
}

// recorder is the security log in identity's words.
type recorder struct{ *activity.Service }

func (r recorder) Record(ctx context.Context, e identity.Event) error {
	return r.Service.Record(ctx, activity.Event(e))
}

// places is the directory in identity's words.
type places struct{ *tenants.Directory }

func (p places) Of(ctx context.Context, user uuid.UUID) ([]identity.Membership, error) {
	found, err := p.Directory.Of(ctx, user)
	out := make([]identity.Membership, len(found))
	for i, m := range found {
		out[i] = identity.Membership(m)
	}
	return out, err
}

func (p places) Find(ctx context.Context, user uuid.UUID, slugOrID string) (identity.Membership, bool, error) {
	m, ok, err := p.Directory.Find(ctx, user, slugOrID)
	return identity.Membership(m), ok, err
}

// copies are master taxonomies in the words of a tenant's.
func copies(masters []masterdata.Taxonomy) []taxonomies.Copy {
	out := make([]taxonomies.Copy, len(masters))
	for i, m := range masters {
		out[i] = taxonomies.Copy{MasterID: m.ID, MasterParentID: m.ParentID, Draft: taxonomies.Draft{
			Kind: m.Kind, Code: m.Code, Name: m.Name, Description: m.Description, Position: m.Position, Attributes: m.Attributes,
		}}
	}
	return out
}
