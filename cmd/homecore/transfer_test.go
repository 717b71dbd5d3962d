package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/postgres/pgtest"
)

// TestTransfers takes a tenant through an export, a restore and a move to another cluster, at the command line, while serve
// and work run.
func TestTransfers(t *testing.T) {
	t.Parallel()
	_, ownerURL := ownedDatabase(t)
	mails := startMailServer(t)
	env := append(production(ownerURL, mails.url), app.Prefix+"CLUSTER_TIMUR_URL="+anotherOf(t, ownerURL))
	homecore := func(args ...string) *process {
		t.Helper()
		return finish(t, env, args...)
	}
	homecore("migrate", "up").exits(t, 0)
	homecore("clusters", "add", "timur", "--groups", "2", "--capacity", "10", "--no-accepts-new").exits(t, 0, "cluster timur is ready", app.Prefix+"CLUSTER_TIMUR_URL")
	homecore("clusters", "add", "utara").exits(t, 1, app.Prefix+"CLUSTER_UTARA_URL")
	serve, base := startServe(t, env)
	work := startWork(t, env)
	const email = "siti@example.com"
	c := caller{base: base, host: domain}
	c.ask(t, http.StatusAccepted, http.MethodPost, "/auth/register", map[string]string{"name": "Siti Aminah", "email": email, "password": password})
	c.verify(t, mails.linkTo(t, email))
	homecore("tenants", "create", "pindahan", "--owner", email, "--name", "Konveksi Pindahan").exits(t, 0, "pindahan is active")
	inside := c.login(t, email, password).enter(t, "pindahan")

	write := func(code string) {
		t.Helper()
		inside.ask(t, http.StatusCreated, http.MethodPost, "/master-data/taxonomies", map[string]string{"kind": "fabric", "code": code, "name": code})
	}
	// holds waits until the tenant answers, and fails unless it has one of the codes and not the other.
	holds := func(is, not string) {
		t.Helper()
		var text string
		until(t, "the tenant answers", func() bool {
			a, err := inside.try(t.Context(), http.MethodGet, "/master-data/taxonomies?limit=100", nil)
			if err != nil || a.Status != http.StatusOK {
				return false
			}
			text = string(a.Raw)
			return true
		})
		if !strings.Contains(text, `"`+is+`"`) || not != "" && strings.Contains(text, `"`+not+`"`) {
			t.Errorf("want %s and not %q in %s", is, not, text)
		}
	}
	write("LAMA")
	file := filepath.Join(t.TempDir(), "pindahan.tar.zst")
	homecore("tenants", "export", "pindahan", "--file", file).exits(t, 0, "pindahan: ", file)
	write("BARU")
	homecore("tenants", "restore", "pindahan", file).exits(t, 0, "rows restored", "--accept")
	holds("LAMA", "BARU")
	homecore("tenants", "restore", "pindahan", "--undo").exits(t, 0, "changed places")
	holds("BARU", "")
	homecore("tenants", "move", "pindahan", "--to", "timur").exits(t, 1, "Accept it or undo first")
	homecore("tenants", "restore", "pindahan", "--accept").exits(t, 0, "the old state is dropped")
	homecore("tenants", "move", "pindahan", "--to", "utara").exits(t, 1)
	homecore("tenants", "move", "pindahan", "--to", "timur").exits(t, 0, "rows moved to cluster timur", "shut for")
	holds("BARU", "")
	homecore("tenants", "restore", "pindahan", "--accept").exits(t, 0)
	holds("BARU", "")

	clusters := map[string]int{}
	for _, row := range read[[]clusterRow](t, []byte(homecore("clusters", "list", "--json").exits(t, 0).out.String())) {
		clusters[row.Name] = row.Tenants
		if !row.Reachable || row.AcceptsNew != (row.Name == "main") {
			t.Errorf("%+v", row)
		}
	}
	if clusters["main"] != 0 || clusters["timur"] != 1 {
		t.Errorf("tenants by cluster: %v", clusters)
	}
	homecore("clusters", "list").exits(t, 0, "NAME", "timur", "postgres")
	manifest := homecore("tenants", "export", "pindahan", "--file", file+"2", "--json").exits(t, 0).out.String()
	if !json.Valid([]byte(manifest)) {
		t.Errorf("export --json: %s", manifest)
	}
	homecore("tenants", "drop", "pindahan", "--reason", "tutup", "--now").exits(t, 0, "pindahan is dropped")
	serve.stop(t, syscall.SIGTERM)
	work.stop(t, syscall.SIGTERM)
}

// anotherOf is another database of the owner's, as the owner.
func anotherOf(t *testing.T, ownerURL string) string {
	t.Helper()
	superURL := pgtest.Database(t)
	owner, err := pgx.ParseConfig(ownerURL)
	if err != nil {
		t.Fatal(err)
	}
	admin := connect(t, superURL)
	name := admin.Config().Database
	if _, err := admin.Exec(t.Context(), "alter database "+pgx.Identifier{name}.Sanitize()+" owner to "+pgx.Identifier{owner.User}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(ownerURL, "/"+owner.Database, "/"+name, 1)
}
