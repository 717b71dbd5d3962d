package activity_test

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	newer   = "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"
	phone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
)

// Addresses of places, as far as the tests' GeoIP file knows.
const (
	bandung = "192.0.2.10"
	jakarta = "203.0.113.10"
	london  = "198.51.100.10"
	nowhere = "100.64.0.1"
)

// movable is a clock that a test can set forward.
type movable struct{ ahead atomic.Int64 }

func (m *movable) now() time.Time          { return time.Now().Add(time.Duration(m.ahead.Load())) }
func (m *movable) forward(d time.Duration) { m.ahead.Add(int64(d)) }

// start runs an app behind a proxy, so that a test chooses where a request comes from.
func start(t *testing.T, options ...apptest.Option) (*apptest.App, *movable) {
	t.Helper()
	clock := &movable{}
	file := geoFile(t)
	options = append([]apptest.Option{apptest.WithClock(clock.now), apptest.With(func(c *app.Config) {
		c.TrustedProxies = []string{"127.0.0.1"}
		c.Activity.GeoIPFile = file
	})}, options...)
	return apptest.New(t, options...), clock
}

func geoFile(t *testing.T) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoLite2-City", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		ip, country, city string
		lat, lon          float64
	}{{bandung, "ID", "Bandung", -6.92, 107.61}, {jakarta, "ID", "Jakarta", -6.2, 106.85}, {london, "GB", "London", 51.51, -0.13}} {
		prefix := netip.PrefixFrom(netip.MustParseAddr(p.ip), 24).Masked()
		err := tree.Insert(&net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(24, 32)}, mmdbtype.Map{
			"country":  mmdbtype.Map{"iso_code": mmdbtype.String(p.country)},
			"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(p.city)}},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(p.lat), "longitude": mmdbtype.Float64(p.lon)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "places.mmdb"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := tree.WriteTo(file); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}

// signIn tries to sign in from an address, with an agent. Where it succeeds, p goes on with the new session.
func signIn(t *testing.T, a *apptest.App, p *apptest.Person, password, ip, agent string) *apptest.Response {
	t.Helper()
	answer := a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": password}, "X-Forwarded-For", ip, "User-Agent", agent)
	if answer.Status == 200 {
		answer.Into(t, &p.Session)
		p.Caller = p.As(p.AccessToken)
	}
	return answer
}

// unthrottled lets a test try as often as it wants.
func unthrottled(*app.Config, *app.Options) {}

// person has an account and signed in once, from an address and with an agent.
func person(t *testing.T, a *apptest.App, ip, agent string) *apptest.Person {
	t.Helper()
	p := a.SignUp(t) // which leaves a row from nowhere
	exec(t, a, "delete from central.security_activities where user_id = $1", p.ID)
	signIn(t, a, p, p.Password, ip, agent).Want(t, 200)
	return p
}

type seen struct {
	ID        string   `json:"id"`
	Type      string   `json:"type"`
	Outcome   string   `json:"outcome"`
	Reason    string   `json:"reason"`
	Score     int      `json:"score"`
	Reasons   []string `json:"reasons"`
	SessionID string   `json:"session_id"`
	IP        string   `json:"ip"`
	UserAgent string   `json:"user_agent"`
	Device    string   `json:"device"`
	RequestID string   `json:"request_id"`
	User      *struct {
		ID, Name, Email string
	} `json:"user"`
	Tenant *struct {
		ID, Slug string
	} `json:"tenant"`
	Location *struct {
		Country, City string
	} `json:"location"`
	At time.Time `json:"at"`
}

// list asks for one of the lists.
func list(t *testing.T, c apptest.Caller, path string) (rows []seen) {
	t.Helper()
	c.Get(t, path).Want(t, 200).Into(t, &rows)
	return rows
}

// last returns the newest of a type among the caller's own.
func last(t *testing.T, p *apptest.Person, kind string) seen {
	t.Helper()
	rows := list(t, p.Caller, "/auth/activities?filter[type]="+kind)
	if len(rows) == 0 {
		t.Fatalf("no row of type %s", kind)
	}
	return rows[0]
}

type letter struct {
	To      string   `json:"to"`
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	Links   []string `json:"links"`
}

// letters waits until every job has been worked, and returns what was sent to an address, in order.
func letters(t *testing.T, a *apptest.App, to string) (got []letter) {
	t.Helper()
	apptest.Until(t, "no job is waiting", func() bool {
		return count(t, a, "select count(*) from central.river_job where kind in ('activity_alert', 'identity_send_mail') and state in ('available', 'running', 'retryable', 'scheduled', 'pending')") == 0
	})
	var all []letter
	if err := json.Unmarshal(a.On("").Get(t, "//dev/mail.json").Raw, &all); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.To == to {
			got = append([]letter{l}, got...)
		}
	}
	return got
}

// connect returns a superuser's connection to the app's database.
func connect(t *testing.T, a *apptest.App) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, a *apptest.App, statement string, args ...any) {
	t.Helper()
	conn := connect(t, a)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, a *apptest.App, query string, args ...any) (n int) {
	t.Helper()
	conn := connect(t, a)
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is left to lose
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func query(values url.Values) string { return "?" + values.Encode() }
