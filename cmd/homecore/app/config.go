package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"garment.id/homecore/modules/central/activity"
	"garment.id/homecore/modules/central/identity"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/jobs"
)

// Prefix of every variable.
const Prefix = "HOMECORE_"

// Config is the whole configuration: environment variables, nothing else. Each field's comment is its meaning; configs/ has
// them with examples, and a test compares the two.
type Config struct {
	DatabaseURL         string        `env:"DATABASE_URL,notEmpty"`                                   // The Postgres to use, as the role that owns the database and may create roles; no superuser.
	Secret              crypto.Key    `env:"SECRET,notEmpty"`                                         // 32 random bytes in base64: all other keys and the database roles' passwords are derived from it.
	BaseDomain          string        `env:"BASE_DOMAIN,notEmpty"`                                    // Host of the Core API, with the port if it is not the scheme's; tenants live on its subdomains.
	Scheme              string        `env:"SCHEME" envDefault:"https"`                               // http or https, as clients see it.
	Listen              string        `env:"LISTEN" envDefault:":8080"`                               // Where the API listens.
	MetricsListen       string        `env:"METRICS_LISTEN" envDefault:"127.0.0.1:9464"`              // Where /metrics listens, apart from the API; off turns it off.
	CORSOrigins         []string      `env:"CORS_ORIGINS"`                                            // Origins of the frontends, separated by commas; https://*.example.com stands for any one label.
	TrustedProxies      []string      `env:"TRUSTED_PROXIES"`                                         // Networks of the proxies whose X-Forwarded-For is believed, separated by commas.
	DNSServer           string        `env:"DNS_SERVER"`                                              // DNS server that is asked for proofs of tenants' own domains, host:port; empty: the system's.
	SMTPURL             crypto.Secret `env:"SMTP_URL"`                                                // Mail server, smtp://user:password@host:587 or smtps://…:465. Without one, dev keeps mail at /dev/mail, and serve refuses to start.
	MailFrom            string        `env:"MAIL_FROM" envDefault:"Garment.id <no-reply@garment.id>"` // Whom mail comes from.
	BrandName           string        `env:"BRAND_NAME" envDefault:"Garment.id"`                      // The product's name in mails.
	Log                 string        `env:"LOG" envDefault:"json"`                                   // text or json.
	LogLevel            string        `env:"LOG_LEVEL" envDefault:"info"`                             // debug, info, warn or error.
	ShutdownGrace       time.Duration `env:"SHUTDOWN_GRACE" envDefault:"20s"`                         // How long requests and jobs may finish after a stop is asked for.
	CentralConns        int32         `env:"CENTRAL_CONNS" envDefault:"10"`                           // Connections to schema central in this process.
	ClusterKind         string        `env:"CLUSTER_KIND" envDefault:"postgres"`                      // What the database is: postgres or citus; read only when it is first migrated.
	TenantGroups        int           `env:"TENANT_GROUPS" envDefault:"8"`                            // Affinity groups of tenants; read only when the database is first migrated.
	TenantConnsPerGroup int           `env:"TENANT_CONNS_PER_GROUP" envDefault:"3"`                   // Connections of each affinity group in this process.
	TenantPool          int           `env:"TENANT_POOL" envDefault:"8"`                              // Schemas kept ready for new tenants, on each cluster that accepts them; 0 turns it off.
	ExportDir           string        `env:"EXPORT_DIR"`                                              // Folder for archives of tenants, which the API and the workers share.

	Jobs     jobs.Config `envPrefix:"JOBS_"`
	Identity identity.Config
	Activity activity.Config

	// ClusterURLs has HOMECORE_CLUSTER_<NAME>_URL, the address of each cluster beside the main one, by its variable's name.
	ClusterURLs map[string]string `env:"-"`
}

// Load reads the configuration from environ, which has the form of os.Environ. Its errors name the variables.
func Load(environ []string) (Config, error) {
	var c Config
	o := env.Options{Prefix: Prefix, Environment: env.ToMap(environ)}
	if err := env.ParseWithOptions(&c, o); err != nil {
		return c, fmt.Errorf("configuration: %w", inVariables(err, o))
	}
	c.ClusterURLs = clusterURLs(o.Environment)
	if c.MetricsListen == "off" { // an empty variable counts as one that is not set
		c.MetricsListen = ""
	}
	return c, c.check()
}

// LoadDatabases reads the databases' addresses and nothing else, for commands that only look at them.
func LoadDatabases(environ []string) Config {
	variables := env.ToMap(environ)
	return Config{
		DatabaseURL: variables[Prefix+"DATABASE_URL"], ClusterURLs: clusterURLs(variables),
		BaseDomain: variables[Prefix+"BASE_DOMAIN"], Scheme: cmp.Or(variables[Prefix+"SCHEME"], "https"), // for addresses that are shown
	}
}

func clusterURLs(variables map[string]string) map[string]string {
	urls := map[string]string{}
	for name, value := range variables {
		if strings.HasPrefix(name, Prefix+"CLUSTER_") && strings.HasSuffix(name, "_URL") {
			urls[name] = value
		}
	}
	return urls
}

// inVariables says which variable is wrong where the library would name the field that it was for.
func inVariables(err error, o env.Options) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	out := slices.DeleteFunc(slices.Clone(all.Errors), func(err error) bool { return errors.As(err, new(env.ParseError)) })
	params, err := env.GetFieldParamsWithOptions(&Config{}, env.Options{Prefix: o.Prefix, Environment: map[string]string{}})
	if err != nil {
		return errors.Join(all.Errors...)
	}
	for _, p := range params {
		// Each alone: the library's error does not say which variable it speaks of.
		alone := env.Options{Prefix: o.Prefix, Environment: map[string]string{p.Key: o.Environment[p.Key]}}
		var wrong env.ParseError
		if errors.As(env.ParseWithOptions(&Config{}, alone), &wrong) {
			out = append(out, fmt.Errorf("%s: %w", p.Key, wrong.Err))
		}
	}
	return errors.Join(out...)
}

func (c Config) check() error {
	wrong := func(name, want string) error { return fmt.Errorf("configuration: %s%s: %s", Prefix, name, want) }
	switch {
	case c.Scheme != "http" && c.Scheme != "https":
		return wrong("SCHEME", "want http or https")
	case strings.ContainsAny(c.BaseDomain, "/@ ") || strings.HasPrefix(c.BaseDomain, "."):
		return wrong("BASE_DOMAIN", "want a host name such as garment.id, with a port where needed")
	case c.Log != "text" && c.Log != "json":
		return wrong("LOG", "want text or json")
	case new(slog.Level).UnmarshalText([]byte(c.LogLevel)) != nil:
		return wrong("LOG_LEVEL", "want debug, info, warn or error")
	case c.DNSServer != "" && !isHostPort(c.DNSServer):
		return wrong("DNS_SERVER", "want host:port, such as 127.0.0.1:53")
	case c.CentralConns < 6: // two long jobs hold two each, the job queue listens, and somebody wants to be answered
		return wrong("CENTRAL_CONNS", "want 6 or more")
	case c.ClusterKind != "postgres" && c.ClusterKind != "citus":
		return wrong("CLUSTER_KIND", "want postgres or citus")
	case c.TenantGroups < 1 || c.TenantGroups > 256:
		return wrong("TENANT_GROUPS", "want 1 to 256")
	case c.TenantConnsPerGroup < 1:
		return wrong("TENANT_CONNS_PER_GROUP", "want 1 or more")
	case c.TenantPool < 0:
		return wrong("TENANT_POOL", "want 0 or more")
	case c.Jobs.Workers < 1:
		return wrong("JOBS_WORKERS", "want 1 or more")
	}
	_, err := c.proxies()
	return err
}

func (c Config) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("configuration: %sTRUSTED_PROXIES: %q is no network such as 10.0.0.0/8", Prefix, text)
		}
		out = append(out, p)
	}
	return out, nil
}

// Origin is the address of the Core API: scheme, host and port.
func (c Config) Origin() string { return c.Scheme + "://" + c.BaseDomain }

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && port != ""
}

// resolver asks DNS: the configured server, or as the system does.
func (c Config) resolver() *net.Resolver {
	if c.DNSServer == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, c.DNSServer)
	}}
}
