package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"garment.id/homecore/cmd/homecore/app"
)

func doctorFindsItWell(t *testing.T, d *dev) {
	r := read[report](t, []byte(finish(t, nil, "doctor", "--json", "--data-dir", d.dir).exits(t, 0).out.String()))
	if !r.OK || len(r.Checks) < 6 {
		t.Errorf("ok %t after %d checks", r.OK, len(r.Checks))
	}
	if r.DatabaseSource != d.card["Postgres"] {
		t.Errorf("database_source %q, the card says %q", r.DatabaseSource, d.card["Postgres"])
	}
	isSuperuser(t, r.DatabaseURL)
	text := finish(t, nil, "doctor", "--data-dir", d.dir).exits(t, 0, "ok    database", "ok    migrations", "ok    mail")
	if strings.Contains(text.out.String(), "FAIL") {
		t.Errorf("%s", &text.out)
	}
}

func migrateFindsItsDatabase(t *testing.T, d *dev) {
	type status struct {
		Central struct{ Applied, Available int } `json:"central"`
		Tenant  int                              `json:"tenant_available"`
		Behind  []any                            `json:"tenants_behind"`
	}
	s := read[status](t, []byte(finish(t, nil, "migrate", "status", "--json", "--data-dir", d.dir).exits(t, 0).out.String()))
	if s.Central.Applied != s.Central.Available || s.Central.Available == 0 || s.Tenant == 0 || s.Behind == nil || len(s.Behind) != 0 {
		t.Errorf("status %+v", s)
	}
	finish(t, nil, "migrate", "up", "--data-dir", d.dir).exits(t, 0, "tenants  0 migrated, 0 failed")
	finish(t, nil, "migrate", "up", "--set", "tenant", "--tenant", demoData(t).Tenants[0].Slug, "--workers", "1", "--data-dir", d.dir).exits(t, 0)
	r := read[migrateReport](t, []byte(finish(t, nil, "migrate", "up", "--json", "--canary", demoData(t).Tenants[0].Slug, "--max-failures", "0", "--no-waves", "--data-dir", d.dir).exits(t, 0).out.String()))
	if r.Central == nil || len(r.Central) != 0 || r.Tenants.Total != 0 || r.Tenants.Target != s.Tenant {
		t.Errorf("report %+v", r)
	}
	finish(t, nil, "migrate", "up", "--canary", "tidak-ada", "--data-dir", d.dir).exits(t, 1, "there is no tenant tidak-ada")
	// Without a word more, migrate is migrate status.
	p := finish(t, nil, "migrate", "--set", "central", "--data-dir", d.dir).exits(t, 0, "central  ")
	if strings.Contains(p.out.String(), "tenants") {
		t.Errorf("--set central: %s", &p.out)
	}
	if !ready(t, d.base) {
		t.Error("migrating what needs it not has done harm")
	}
}

func migrateFindsDrift(t *testing.T, d *dev) {
	slug := demoData(t).Tenants[1].Slug
	at := []string{"--data-dir", d.dir, "--tenant", slug}
	finish(t, nil, append([]string{"migrate", "drift"}, at...)...).exits(t, 0, "1 compared, 0 differ")
	conn := connect(t, d.superURL(t))
	var schema string
	if err := conn.QueryRow(t.Context(), "select schema_name from central.tenants where slug = $1", slug).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	do := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	do("drop index " + schema + ".taxonomies_created_idx")
	finish(t, nil, append([]string{"migrate", "drift"}, at...)...).
		exits(t, 1, "index taxonomies_created_idx is missing in "+schema+" (tenant "+slug+")", "1 compared, 1 differ")
	r := read[struct {
		Schemas, Different int
		Differences        []struct{ Tenant, Kind, Name string }
	}](t, []byte(finish(t, nil, append([]string{"migrate", "drift", "--json"}, at...)...).exits(t, 1).out.String()))
	if r.Schemas != 1 || r.Different != 1 || len(r.Differences) != 1 || r.Differences[0].Name != "taxonomies_created_idx" || r.Differences[0].Tenant != slug {
		t.Errorf("%+v", r)
	}
	do("set role homecore; create index taxonomies_created_idx on " + schema + ".taxonomies (created_at, id)")
	finish(t, nil, append([]string{"migrate", "drift"}, at...)...).exits(t, 0)
}

func operatorsGivesRoles(t *testing.T, d *dev) {
	const email = "operator.baru@example.com"
	who := caller{base: d.base}.signUp(t, email)
	at := []string{"--data-dir", d.dir}
	operators := func(args ...string) *process {
		t.Helper()
		return finish(t, nil, slices.Concat([]string{"operators"}, args, at)...)
	}
	if roles := who.me(t).PlatformRoles; len(roles) != 0 {
		t.Fatalf("roles %v before any was given", roles)
	}
	operators("grant", email, "--role", "support").exits(t, 0, email)
	until(t, "/auth/me shows the role", func() bool { return slices.Equal(who.me(t).PlatformRoles, []string{"support"}) })
	operators("list").exits(t, 0, "ROLE", "support", email)
	if list := operators("list", "--json").exits(t, 0).out.String(); !json.Valid([]byte(list)) || !strings.Contains(list, email) {
		t.Errorf("list --json: %s", list)
	}
	operators("revoke", email).exits(t, 0, email+": 1 role taken")
	until(t, "/auth/me shows no role", func() bool { return len(who.me(t).PlatformRoles) == 0 })

	unknown := operators("grant", "tidak.ada@example.com", "--role", "support").exits(t, 1)
	if text := unknown.err.String(); !strings.HasPrefix(text, "homecore: ") || strings.Count(text, " ") < 4 || strings.Contains(text, "SQLSTATE") {
		t.Errorf("no sentence: %q", text)
	}
	operators("grant", email, "--role", "king").exits(t, 2)
	operators("grant", email).exits(t, 2, "--role")
}

func keysAreTurned(t *testing.T, d *dev) {
	at := []string{"--data-dir", d.dir}
	keys := func(args ...string) *process {
		t.Helper()
		return finish(t, nil, slices.Concat([]string{"keys"}, args, at)...)
	}
	type key struct{ KID, Alg, Status string }
	list := func() map[string]string {
		t.Helper()
		statuses := map[string]string{}
		for _, k := range read[[]key](t, []byte(keys("list", "--json").exits(t, 0).out.String())) {
			statuses[k.Status] = k.KID
		}
		return statuses
	}
	who := caller{base: d.base}.signUp(t, "kunci@example.com")
	before := list()
	turned := read[struct{ Active, Next, Retired string }](t, []byte(keys("rotate", "--json").exits(t, 0).out.String()))
	after := list()
	if turned.Active != before["next"] || turned.Retired != before["active"] || after["active"] != turned.Active || after["retired"] != turned.Retired || after["next"] != turned.Next {
		t.Errorf("before %v, rotate says %+v, after %v", before, turned, after)
	}
	who.me(t) // by a token of the retired key
	keys("list").exits(t, 0, "KEY", "MADE", "active", "retired", "next", after["active"])
	// The one that has signed nothing: the others' tokens are at work in other tests.
	keys("revoke", after["next"]).exits(t, 0, after["next"]+" is revoked")
	if now := list(); now["revoked"] != after["next"] || now["next"] == after["next"] || now["active"] != after["active"] {
		t.Errorf("%v", now)
	}
	if text := keys("revoke", "tidak-ada").exits(t, 1).err.String(); !strings.HasPrefix(text, "homecore: ") {
		t.Errorf("%q", text)
	}
}

func tenantsAreLed(t *testing.T, d *dev) {
	const email = "pemilik.baru@example.com"
	who := caller{base: d.base}.signUp(t, email)
	tenants := func(args ...string) *process {
		t.Helper()
		return finish(t, nil, slices.Concat([]string{"tenants"}, args, []string{"--data-dir", d.dir})...)
	}
	tenants("create", "dari-konsol", "--owner", email, "--name", "Konveksi Konsol").exits(t, 0, "dari-konsol is active")
	inside := who.enter(t, "dari-konsol")
	inside.get(t, "/master-data/taxonomies")
	tenants("create", "dari-konsol", "--owner", email, "--name", "Konveksi Konsol").exits(t, 1)
	tenants("create", "lain", "--owner", "tidak.ada@example.com", "--name", "Konveksi").exits(t, 1)
	tenants("create", "Bukan Nama", "--owner", email, "--name", "Konveksi").exits(t, 2)
	tenants("list").exits(t, 0, "SLUG", "dari-konsol", "active")

	tenants("suspend", "dari-konsol", "--reason", "tagihan").exits(t, 0, "dari-konsol is suspended")
	inside.ask(t, 403, "GET", "/master-data/taxonomies", nil)
	tenants("resume", "dari-konsol").exits(t, 0, "dari-konsol is active")
	tenants("read-only", "dari-konsol").exits(t, 0, "read_only")
	tenants("maintenance", "dari-konsol", "--retry-after", "90s").exits(t, 0, "maintenance")
	tenants("maintenance", "dari-konsol", "--retry-after", "1ms").exits(t, 2)
	tenants("archive", "dari-konsol").exits(t, 0, "archived")
	if p := tenants("resume", "dari-konsol").exits(t, 1); !strings.Contains(p.err.String(), "archived") || !strings.Contains(p.err.String(), "active") {
		t.Errorf("the refusal names not both: %s", &p.err)
	}
	tenants("unarchive", "dari-konsol").exits(t, 0, "maintenance")
	tenants("rename", "dari-konsol", "--slug", "nama-baru", "--name", "Nama Baru").exits(t, 0, "nama-baru is maintenance")
	tenants("rename", "nama-baru").exits(t, 2)
	tenants("drop", "nama-baru").exits(t, 2, "--reason")
	tenants("drop", "nama-baru", "--reason", "tutup", "--grace", "2").exits(t, 0, "dropping")
	tenants("undrop", "nama-baru").exits(t, 0, "maintenance")
	tenants("heal").exits(t, 0, "0 healed")
	text := tenants("show", "nama-baru").exits(t, 0, "maintenance", "tagihan", "rename", "dari-konsol → nama-baru", "command line").out.String()
	if strings.Contains(text, "%!") {
		t.Errorf("%s", text)
	}
	show := read[struct {
		Status string
		APIURL string `json:"api_url"`
		Events []struct{ Action, By string }
	}](t, []byte(tenants("show", "nama-baru", "--json").exits(t, 0).out.String()))
	if show.Status != "maintenance" || !strings.HasPrefix(show.APIURL, "http://nama-baru.") || len(show.Events) < 10 || show.Events[0].Action != "undrop" {
		t.Errorf("show --json: %+v", show)
	}
	tenants("drop", "nama-baru", "--reason", "tutup", "--now").exits(t, 0, "nama-baru is dropped")
	for _, gone := range []*process{tenants("show", "nama-baru"), tenants("undrop", "nama-baru")} {
		if text := gone.exits(t, 1).err.String(); !strings.Contains(text, "there is no tenant nama-baru") {
			t.Errorf("%q", text)
		}
	}
	tenants("reap", "--json").exits(t, 0, `"tenants": 0`)
	if list := tenants("list", "--json", "--status", "dropped").exits(t, 0).out.String(); !json.Valid([]byte(list)) || !strings.Contains(list, "nama-baru~") {
		t.Errorf("list --json: %s", list)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"nonsense", "dev --nonsense", "dev --listen nonsense", "migrate up --set other", "migrate up --workers 0", "migrate up --max-failures -1", "migrate drift extra", "migrate up --workers many",
		"operators", "operators grant", "operators grant a@example.com", "keys", "keys revoke", "keys rotate extra", "keys list --nonsense", "tenants", "tenants show", "tenants suspend a", "tenants list --status other", "tenants drop a --reason x --grace 0", "tenants drop a --reason x --grace 3 --now", "tenants restore", "tenants restore a", "tenants restore a b --undo", "tenants restore a --undo --accept", "tenants move a",
		"clusters add", "clusters add East", "clusters add a --groups 0", "clusters add a --kind other", "clusters add a --url-env PATH", "openapi --surface other", "serve --nonsense", "version extra",
	} {
		t.Run("homecore "+line, func(t *testing.T) {
			t.Parallel()
			p := finish(t, nil, append(strings.Fields(line), dataDirFor(t, line)...)...).exits(t, 2)
			if p.err.String() == "" || p.out.String() != "" {
				t.Errorf("says %q, and on standard output %q", &p.err, &p.out)
			}
		})
	}
}

func TestWrongUsageNamesTheHelpThatExplainsIt(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"nonsense": "Try homecore --help.", "keys": "Try homecore keys --help.", "tenants domains add a": "Try homecore tenants domains add --help.",
		"tenants show a --nonsense": "Try homecore tenants show --help.", "migrate --nonsense": "Try homecore migrate --help.",
	} {
		if text := finish(t, nil, strings.Fields(line)...).exits(t, 2).err.String(); !strings.Contains(text, want) {
			t.Errorf("homecore %s: %s", line, text)
		}
	}
}

// dataDirFor keeps a dev that starts although it should not out of the test's folder.
func dataDirFor(t *testing.T, line string) []string {
	t.Helper()
	if !strings.HasPrefix(line, "dev") {
		return nil
	}
	return []string{"--data-dir", folder(t)}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"", "dev", "serve", "work", "migrate", "migrate up", "migrate status", "migrate drift", "tenants",
		"tenants list", "tenants show", "tenants create", "tenants suspend", "tenants resume", "tenants maintenance", "tenants read-only",
		"tenants archive", "tenants unarchive", "tenants drop", "tenants undrop", "tenants rename", "tenants heal", "tenants reap", "tenants export", "tenants restore", "tenants move",
		"clusters", "clusters list", "clusters add", "operators", "operators grant", "operators revoke", "operators list", "keys", "keys rotate", "keys list", "keys revoke",
		"openapi", "doctor", "version",
	} {
		t.Run("homecore "+command, func(t *testing.T) {
			t.Parallel()
			p := finish(t, nil, append(strings.Fields(command), "--help")...).exits(t, 0, "Usage: homecore "+command)
			if p.err.String() != "" {
				t.Errorf("on standard error: %s", &p.err)
			}
		})
	}
	t.Run("comes without any argument", func(t *testing.T) {
		t.Parallel()
		finish(t, nil).exits(t, 0, "Usage: homecore")
	})
}

func TestVersion(t *testing.T) {
	t.Parallel()
	finish(t, nil, "version").exits(t, 0, "homecore ")
	v := read[struct{ Version string }](t, []byte(finish(t, nil, "version", "--json").exits(t, 0).out.String()))
	if v.Version == "" {
		t.Error("no version")
	}
}

func TestOpenAPINeedsNoDatabase(t *testing.T) {
	t.Parallel()
	for surface, own := range map[string]string{"core": "central.", "tenant": "tenant."} {
		t.Run(surface, func(t *testing.T) {
			t.Parallel()
			p := finish(t, []string{app.Prefix + "DATABASE_URL=" + nowhere}, "openapi", "--surface", surface).exits(t, 0)
			document := read[struct {
				OpenAPI string `json:"openapi"`
				Paths   map[string]map[string]struct {
					OperationID string `json:"operationId"`
				} `json:"paths"`
			}](t, []byte(p.out.String()))
			if !strings.HasPrefix(document.OpenAPI, "3.1.") {
				t.Errorf("openapi %q", document.OpenAPI)
			}
			owns := 0
			for path, methods := range document.Paths {
				for method, o := range methods {
					if strings.HasPrefix(o.OperationID, own) {
						owns++
					}
					if own == "central." && strings.HasPrefix(o.OperationID, "tenant.") {
						t.Errorf("%s %s is %s", method, path, o.OperationID)
					}
				}
			}
			if owns < 5 {
				t.Errorf("%d operations begin with %s", owns, own)
			}
		})
	}
}

func TestDoctorFindsTheDatabaseAway(t *testing.T) {
	t.Parallel()
	p := finish(t, production(nowhere, "smtp://127.0.0.1:1?tls=none"), "doctor", "--json").exits(t, 1)
	r := read[report](t, []byte(p.out.String()))
	last := r.Checks[len(r.Checks)-1]
	if r.OK || last.Check != "database" || last.OK || !strings.Contains(last.Advice, app.Prefix+"DATABASE_URL") {
		t.Errorf("%s", &p.out)
	}
	if strings.Contains(p.out.String()+p.err.String(), "rahasia") {
		t.Errorf("shows the password: %s", &p.out)
	}
}
