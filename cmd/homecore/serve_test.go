package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy/fleet"
)

const domain = "homecore.test"

// nowhere is the address of a database that is away.
const nowhere = "postgres://homecore:rahasia@127.0.0.1:1/homecore"

// production is a whole environment.
func production(databaseURL, smtpURL string) []string {
	return []string{
		app.Prefix + "DATABASE_URL=" + databaseURL, app.Prefix + "SECRET=" + crypto.NewKey().Encode().Reveal(), app.Prefix + "BASE_DOMAIN=" + domain,
		app.Prefix + "SCHEME=http", app.Prefix + "SMTP_URL=" + smtpURL, app.Prefix + "LISTEN=127.0.0.1:0", app.Prefix + "METRICS_LISTEN=127.0.0.1:0",
		app.Prefix + "TENANT_GROUPS=2",
	}
}

func TestServeAndWork(t *testing.T) {
	t.Parallel()
	superURL, ownerURL := ownedDatabase(t)
	mails := startMailServer(t)
	env := production(ownerURL, mails.url)
	admin := connect(t, superURL)

	finish(t, env, "serve").exits(t, 1, "migrate")
	finish(t, env, "doctor").exits(t, 1, "homecore migrate up")
	finish(t, env, "migrate", "status").exits(t, 0, "central  0 of ")
	finish(t, env, "migrate", "up").exits(t, 0, "central  ", "tenants  0 migrated, 0 failed")
	finish(t, env, "migrate", "up").exits(t, 0)
	finish(t, env, "doctor").exits(t, 0, "ok    mail", "ok    migrations")

	finish(t, append(slices.Clone(env), app.Prefix+"LISTEN=127.0.0.1:many"), "serve").exits(t, 1, app.Prefix+"LISTEN")
	finish(t, append(slices.Clone(env), app.Prefix+"METRICS_LISTEN=127.0.0.1:many"), "work").exits(t, 1, app.Prefix+"METRICS_LISTEN")

	serve, base := startServe(t, env)
	work := startWork(t, env)
	c := caller{base: base, host: domain}
	for _, page := range []string{"//dev/mail", "//dev/mail.json"} {
		c.ask(t, http.StatusNotFound, http.MethodGet, page, nil)
	}
	c.ask(t, http.StatusAccepted, http.MethodPost, "/auth/register", map[string]string{"name": "Siti Aminah", "email": "siti@example.com", "password": password})
	c.verify(t, mails.linkTo(t, "siti@example.com"))
	siti := c.login(t, "siti@example.com", password)
	a := siti.ask(t, http.StatusAccepted, http.MethodPost, "/auth/onboarding", draft("pertama"), "Idempotency-Key", "1")
	waitUntilActive(t, admin, "pertama")
	siti.enter(t, "pertama").get(t, "/master-data/taxonomies")
	if o := read[onboarding](t, a.Data); o.Tenant.Slug != "pertama" {
		t.Errorf("onboarded %s", a.Raw)
	}

	work.stop(t, syscall.SIGTERM) // with nothing to do

	// This one is in flight when serve is asked to stop.
	answered := make(chan struct{})
	var status int
	go func() {
		defer close(answered)
		if a, err := siti.try(context.Background(), http.MethodPost, "/auth/onboarding", draft("kedua"), "Idempotency-Key", "2"); err == nil {
			status = a.Status
		}
	}()
	waitForRow(t, admin, "the name is claimed", "select exists (select from central.tenants where slug = 'kedua')")
	serve.stop(t, syscall.SIGTERM)
	<-answered
	if status != http.StatusAccepted {
		t.Errorf("the request in flight was answered %d", status)
	}

	// As a process leaves it that was killed on the way: a job takes it up. It is in flight when work is asked to stop: a lock
	// holds it until then.
	for _, interrupted := range []string{
		"update central.tenants set status = 'requested' where slug = 'kedua'",
		"update central.onboardings set status = 'running', updated_at = now() - interval '1 minute' where tenant_id = (select id from central.tenants where slug = 'kedua')",
	} {
		if _, err := admin.Exec(t.Context(), interrupted); err != nil {
			t.Fatal(err)
		}
	}
	hold, err := connect(t, superURL).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec(t.Context(), "select from central.onboardings where status <> 'active' for update"); err != nil {
		t.Fatal(err)
	}
	work = startWork(t, env)
	waitForRow(t, admin, "the job waits for the lock",
		"select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ilike '%onboardings%')")
	if err := work.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "work stops listening for jobs", func() bool { // its metrics go first
		_, err := net.Dial("tcp", work.loggedAddress(t, "metrics"))
		return err != nil
	})
	if work.hasEnded() {
		t.Fatal("work has left its job")
	}
	if err := hold.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	work.end(t).exits(t, 0)
	var active bool
	if err := admin.QueryRow(t.Context(), "select status = 'active' from central.tenants where slug = 'kedua'").Scan(&active); err != nil || !active {
		t.Errorf("the job in flight was not finished: %v\n%s", err, &work.err)
	}
}

func ownedDatabase(t *testing.T) (superURL, ownerURL string) {
	t.Helper()
	const owner, word = "homecore_binary_test", "owner"
	var inst fleet.Installation
	superURL = pgtest.Database(t, func(ctx context.Context, admin *pgx.Conn, _ string) error {
		if inst.ID == "" {
			return nil
		}
		return inst.Uninstall(ctx, admin)
	})
	t.Cleanup(func() { // before the database goes
		pool, err := pgxpool.New(context.Background(), superURL)
		if err != nil {
			t.Error(err)
			return
		}
		defer pool.Close()
		inst, _ = fleet.LoadInstallation(context.Background(), pool) //nolint:errcheck // a test that failed early has none
	})
	admin := connect(t, superURL)
	for _, s := range []string{
		"do $$ begin create role " + owner + " login createrole password '" + word + "'; exception when duplicate_object then null; end $$",
		"alter database " + pgx.Identifier{admin.Config().Database}.Sanitize() + " owner to " + owner,
	} {
		if _, err := admin.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(superURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(owner, word)
	return superURL, u.String()
}

func waitForRow(t *testing.T, conn *pgx.Conn, what, query string) {
	t.Helper()
	until(t, what, func() (reached bool) {
		if err := conn.QueryRow(t.Context(), query).Scan(&reached); err != nil {
			t.Fatal(err)
		}
		return reached
	})
}

func waitUntilActive(t *testing.T, conn *pgx.Conn, slug string) {
	t.Helper()
	waitForRow(t, conn, slug+" becomes active", "select exists (select from central.tenants where status = 'active' and slug = '"+slug+"')")
}

func startServe(t *testing.T, env []string) (p *process, base string) {
	t.Helper()
	p = start(t, env, "serve")
	base = p.loggedAddress(t, "serving")
	until(t, "serve is ready", func() bool { return ready(t, base) })
	return p, base
}

func startWork(t *testing.T, env []string) *process {
	t.Helper()
	p := start(t, env, "work")
	p.loggedAddress(t, "metrics")
	return p
}

// loggedAddress waits for the line of the log with this message, and returns the host and port in it.
func (p *process) loggedAddress(t *testing.T, message string) (address string) {
	t.Helper()
	until(t, "the log says "+message, func() bool {
		for line := range strings.Lines(p.err.String()) {
			var l struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == message {
				address = strings.TrimSuffix(strings.TrimPrefix(l.Address, "http://"), "/metrics")
				return true
			}
		}
		if p.hasEnded() {
			t.Fatalf("has ended\n%s%s", &p.out, &p.err)
		}
		return false
	})
	return address
}

func TestConfigurationErrorsNameTheVariable(t *testing.T) {
	t.Parallel()
	whole := production(nowhere, "smtp://127.0.0.1:1?tls=none")
	for _, command := range []string{"serve", "work"} {
		for _, name := range []string{"DATABASE_URL", "SECRET", "BASE_DOMAIN", "SMTP_URL"} {
			t.Run(command+" without "+name, func(t *testing.T) {
				t.Parallel()
				env := slices.DeleteFunc(slices.Clone(whole), func(e string) bool { return strings.HasPrefix(e, app.Prefix+name+"=") })
				p := finish(t, env, command).exits(t, 1, "configuration: ", app.Prefix+name)
				if strings.Count(p.err.String(), app.Prefix) != 1 {
					t.Errorf("names others too: %s", &p.err)
				}
			})
		}
	}
	t.Run("names all that are missing at once", func(t *testing.T) {
		t.Parallel()
		finish(t, nil, "serve").exits(t, 1, app.Prefix+"DATABASE_URL", app.Prefix+"SECRET", app.Prefix+"BASE_DOMAIN")
	})
	for name, value := range map[string]string{
		"DATABASE_URL": "postgres://homecore:rahasia@host:port/homecore", "SECRET": "rahasia", "BASE_DOMAIN": "https://rahasia.example",
		"SMTP_URL": "http://homecore:rahasia@mail.example", "MAIL_FROM": "rahasia", "SCHEME": "ftp", "LOG": "xml", "LOG_LEVEL": "loud",
		"SHUTDOWN_GRACE": "soon", "CENTRAL_CONNS": "1", "TENANT_GROUPS": "many", "TENANT_CONNS_PER_GROUP": "0", "JOBS_WORKERS": "none",
		"TRUSTED_PROXIES": "10.0.0.0/8,rahasia",
	} {
		t.Run("refuses a bad "+name, func(t *testing.T) {
			t.Parallel()
			p := finish(t, append(slices.Clone(whole), app.Prefix+name+"="+value), "serve").exits(t, 1, "configuration: ", app.Prefix+name)
			if secret := name == "DATABASE_URL" || name == "SECRET" || name == "SMTP_URL"; secret && strings.Contains(p.err.String(), "rahasia") {
				t.Errorf("shows the value: %s", &p.err)
			}
		})
	}
	t.Run("says that the database is away", func(t *testing.T) {
		t.Parallel()
		p := finish(t, whole, "serve").exits(t, 1, "127.0.0.1:1")
		if strings.Contains(p.err.String(), "rahasia") {
			t.Errorf("shows the password: %s", &p.err)
		}
	})
}

// mailServer takes every message that comes over SMTP.
type mailServer struct {
	url      string
	received chan delivery
}

type delivery struct {
	to   string
	data []byte
}

func startMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{received: make(chan delivery, 16)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{server: s}, nil }))
	server.ErrorLog = log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "smtp://" + l.Addr().String() + "?tls=none"
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return s
}

type mailSession struct {
	server *mailServer
	to     string
}

func (*mailSession) Mail(string, *smtp.MailOptions) error        { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = to; return nil }
func (*mailSession) Reset()                                      {}
func (*mailSession) Logout() error                               { return nil }
func (s *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.server.received <- delivery{s.to, data}
	return err
}

var anyLink = regexp.MustCompile(`http://\S+token=\S+`)

// linkTo waits for the next mail, which must be to this address, and returns the link in its text.
func (s *mailServer) linkTo(t *testing.T, address string) string {
	t.Helper()
	var d delivery
	until(t, "mail", func() bool {
		select {
		case d = <-s.received:
			return true
		default:
			return false
		}
	})
	if d.to != address {
		t.Fatalf("mail went to %s", d.to)
	}
	m, err := mail.ReadMessage(bytes.NewReader(d.data))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("mail of type %s: %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			t.Fatalf("no link in\n%s", d.data)
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part) // quoted-printable is decoded by then
		if err != nil {
			t.Fatal(err)
		}
		if link := anyLink.Find(text); link != nil {
			return string(link)
		}
	}
}
