package main

import (
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
)

func TestDev(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	d := startDev(t, dir)
	t.Logf("ready on an empty folder after %s", d.took)

	t.Run("while it runs", func(t *testing.T) {
		for name, rule := range map[string]func(*testing.T, *dev){
			"the card says where everything is":               cardLeadsEverywhere,
			"the demo accounts sign in and find their things": demoAccounts,
			"from registering to a first taxonomy":            fromRegisteringToATaxonomy,
			"refuses a second dev on its folder":              refusesASecond,
			"refuses a port that is taken":                    refusesATakenPort,
			"doctor finds it well":                            doctorFindsItWell,
			"migrate finds its database":                      migrateFindsItsDatabase,
			"migrate drift names what was changed by hand":    migrateFindsDrift,
			"operators gives and takes roles":                 operatorsGivesRoles,
			"Login with Google can be tried without Google":   googleCanBeTried,
			"keys are turned and withdrawn":                   keysAreTurned,
			"tenants leads their lives":                       tenantsAreLed,
			"tenants domains keeps names of their own":        domainsAreKept,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				rule(t, d)
			})
		}
	})

	d.stop(t, syscall.SIGINT)
	d.hadNoTrouble(t)
	d.leavesNoServer(t)
	finish(t, nil, "doctor", "--data-dir", dir).exits(t, 1, app.Prefix+"DATABASE_URL", "homecore dev")
	finish(t, nil, "migrate", "status", "--data-dir", dir).exits(t, 1, app.Prefix+"DATABASE_URL", "no homecore dev is running on "+dir)
}

// hadNoTrouble fails the test unless a dev has stopped with nothing to complain about.
func (p *process) hadNoTrouble(t *testing.T) {
	t.Helper()
	if !strings.HasSuffix(p.out.String(), "Stopped.\n") {
		t.Errorf("its last words: %s", &p.out)
	}
	for line := range strings.Lines(p.err.String()) {
		if !strings.Contains(line, "level=INFO") {
			t.Errorf("complains: %s", line)
		}
	}
}

func cardLeadsEverywhere(t *testing.T, d *dev) {
	c := caller{base: d.base}
	if !ready(t, d.base) {
		t.Error("the card came before it was ready")
	}
	demo := demoData(t)
	for label, want := range map[string]string{
		"Core API":   "http://" + d.base + "/api/v1",
		"Tenant API": "http://" + demo.Tenants[0].Slug + "." + d.base + "/api/v1",
		"API docs":   "http://" + d.base + "/docs",
		"Mailbox":    "http://" + d.base + "/dev/mail",
		"Operator":   demo.Operator.Email + "  " + demo.Operator.Password,
		"Operators":  "need no second factor here: " + app.Prefix + "OPERATORS_NEED_TWO_FACTOR=false",
		"Owner":      demo.Owner.Email + "  " + demo.Owner.Password,
	} {
		if d.card[label] != want {
			t.Errorf("%s: %q, want %q", label, d.card[label], want)
		}
	}
	if !strings.HasPrefix(d.card["Postgres"], "PostgreSQL 1") {
		t.Errorf("Postgres: %q", d.card["Postgres"])
	}
	for _, page := range []string{"//docs", "//dev/mail", "//openapi.json", "//up"} {
		c.get(t, page)
	}
	c.host = demo.Tenants[0].Slug + "." + d.base
	if a := c.get(t, "//openapi.json"); !strings.Contains(string(a.Raw), `"tenant.master-data.taxonomies.list"`) {
		t.Error("the tenant's host has not the Tenant API's document")
	}
	isSuperuser(t, d.superURL(t))
}

func isSuperuser(t *testing.T, address string) {
	t.Helper()
	var super bool
	if err := connect(t, address).QueryRow(t.Context(), "select rolsuper from pg_roles where rolname = current_user").Scan(&super); err != nil || !super {
		t.Errorf("%s leads to no superuser: %v", address, err)
	}
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) }) //nolint:errcheck // nothing is left to lose
	return conn
}

func demoData(t *testing.T) app.Demo {
	t.Helper()
	demo, err := app.LoadDemo()
	if err != nil {
		t.Fatal(err)
	}
	if len(demo.Tenants) != 3 {
		t.Fatalf("%d demo tenants", len(demo.Tenants))
	}
	return demo
}

func demoAccounts(t *testing.T, d *dev) {
	demo := demoData(t)
	account := func(label string) caller {
		t.Helper()
		email, password, ok := strings.Cut(d.card[label], "  ")
		if !ok {
			t.Fatalf("%s: %q", label, d.card[label])
		}
		return caller{base: d.base}.login(t, email, password)
	}
	operator := account("Operator")
	if a := read[[]any](t, operator.get(t, "/master-data/taxonomies?limit=100").Data); len(a) != len(demo.Masters) {
		t.Errorf("%d master taxonomies, want %d", len(a), len(demo.Masters))
	}
	owner := account("Owner")
	owner.ask(t, http.StatusForbidden, http.MethodGet, "/master-data/taxonomies", nil)
	who := owner.me(t)
	if len(who.Tenants) != len(demo.Tenants) {
		t.Errorf("the owner has %d tenants", len(who.Tenants))
	}
	for _, tenant := range demo.Tenants {
		inside := owner.enter(t, tenant.Slug)
		codes := string(inside.get(t, "/master-data/taxonomies?limit=100").Data)
		for _, own := range tenant.Taxonomies {
			if !strings.Contains(codes, `"`+own.Code+`"`) {
				t.Errorf("%s lacks its taxonomy %s", tenant.Slug, own.Code)
			}
		}
		if !strings.Contains(codes, `"`+demo.Masters[0].Code+`"`) {
			t.Errorf("%s lacks the master taxonomies", tenant.Slug)
		}
		inside.host = demo.Tenants[0].Slug + "." + d.base
		if tenant.Slug != demo.Tenants[0].Slug {
			inside.ask(t, http.StatusForbidden, http.MethodGet, "/master-data/taxonomies", nil)
		}
	}
}

func fromRegisteringToATaxonomy(t *testing.T, d *dev) {
	siti := caller{base: d.base}.signUp(t, "siti@example.com")
	a := siti.ask(t, http.StatusAccepted, http.MethodPost, "/auth/onboarding", draft("konveksi-siti"), "Idempotency-Key", "siti-1")
	if o := read[onboarding](t, a.Data); o.Onboarding.Status != "active" {
		until(t, "the workspace", func() bool {
			return read[onboarding](t, siti.get(t, "/auth/onboarding/"+o.Onboarding.ID).Data).Onboarding.Status == "active"
		})
	}
	inside := siti.enter(t, "konveksi-siti")
	a = inside.ask(t, http.StatusCreated, http.MethodPost, "/master-data/taxonomies",
		map[string]string{"kind": "fabric", "code": "RAYON", "name": "Rayon"}, "Idempotency-Key", "siti-2")
	id := read[struct {
		ID string `json:"id"`
	}](t, a.Data).ID
	inside.get(t, "/master-data/taxonomies/"+id)
}

func refusesASecond(t *testing.T, d *dev) {
	pid := strconv.Itoa(d.Process.Pid)
	for range 2 { // the first refusal must not make way for the second
		finish(t, nil, "dev", "--data-dir", d.dir, "--listen", "127.0.0.1:0").exits(t, 1, "in use by process "+pid, d.dir)
	}
	if !ready(t, d.base) {
		t.Error("the first has come to harm")
	}
	// The other commands find the first still.
	finish(t, nil, "migrate", "status", "--data-dir", d.dir).exits(t, 0)
}

func refusesATakenPort(t *testing.T, d *dev) {
	other := folder(t)
	_, port, _ := strings.Cut(d.base, ":")
	finish(t, nil, "dev", "--data-dir", other, "--listen", "127.0.0.1:"+port).exits(t, 1, "--listen", port, "address already in use")
	if left, _ := os.ReadDir(other); len(left) > 0 {
		t.Errorf("has left %v", left)
	}
}

func TestDevStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	reached := func(pattern string) bool {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		return len(found) > 0
	}
	for _, c := range []struct {
		file string // its appearance is the moment
		how  syscall.Signal
	}{
		{"secret", syscall.SIGINT},
		{"postgres-*/data.new-*", syscall.SIGTERM},
		{"postgres-*/data.new-*", syscall.SIGKILL},
		{"postgres-*/data/postmaster.pid", syscall.SIGINT},
		{"postgres-*/data/postmaster.pid", syscall.SIGKILL},
	} {
		p := start(t, nil, "dev", "--data-dir", dir, "--listen", "127.0.0.1:0")
		until(t, c.file, func() bool { return reached(c.file) })
		if c.how == syscall.SIGKILL {
			_ = p.Process.Kill()
			p.end(t)
		} else {
			p.stop(t, c.how)
			p.hadNoTrouble(t)
		}
		(&dev{dir: dir}).leavesNoServer(t)
	}
	d := startDev(t, dir)
	caller{base: d.base}.login(t, demoData(t).Owner.Email, demoData(t).Owner.Password)
	d.stop(t, syscall.SIGTERM)
	d.leavesNoServer(t)
}

func TestDevWithoutDemoAsANormalUser(t *testing.T) {
	t.Parallel()
	var credential *syscall.Credential // nil: whoever runs the test is one
	var env []string
	dir := folder(t)
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Skip(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)} //nolint:gosec // ids
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		env = []string{"HOME=" + dir, "USER=nobody"}
	}
	d := startDevAs(t, credential, env, dir, "--no-demo")
	t.Logf("ready on an empty folder without demo data after %s", d.took)
	for _, label := range []string{"Operator", "Owner"} {
		if text, ok := d.card[label]; ok {
			t.Errorf("the card has %s %q", label, text)
		}
	}
	if want := "http://{slug}." + d.base + "/api/v1"; d.card["Tenant API"] != want {
		t.Errorf("Tenant API: %q, want %q", d.card["Tenant API"], want)
	}
	c, demo := caller{base: d.base}, demoData(t)
	for _, account := range []app.DemoAccount{demo.Operator, demo.Owner} {
		c.ask(t, http.StatusUnauthorized, http.MethodPost, "/auth/login", map[string]string{"email": account.Email, "password": account.Password})
	}
	if n := d.count(t, "select (select count(*) from central.users) + (select count(*) from central.tenants)"); n != 0 {
		t.Errorf("%d accounts and tenants", n)
	}
	c.signUp(t, "siti@example.com")
	d.stop(t, syscall.SIGINT)
	d.leavesNoServer(t)
}
