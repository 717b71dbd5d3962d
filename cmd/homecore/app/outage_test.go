package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres"
)

func TestPostgresGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "homecore-outage-") // t.TempDir is closed to the account that root's server runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	binaries, err := postgres.Find(ctx, postgres.Options{Dir: os.Getenv("HOMECORE_PG_BIN"), DownloadURL: os.Getenv("HOMECORE_PG_DOWNLOAD_URL")})
	if err != nil {
		t.Fatal(err)
	}
	start := func(port int) *postgres.Server {
		t.Helper()
		s, err := postgres.Start(ctx, postgres.Config{Binaries: binaries, DataDir: dir, Port: port, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	server := start(0)
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	a := serve(t, server.URL())
	person := a.SignUp(t)
	m := person.Onboard(t, "rapi-jahit")
	id := m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated).Object(t)["id"].(string)
	login := map[string]any{"email": person.Email, "password": person.Password}

	// Somebody asks all the while, and sees an answer or "try again", never an error of ours.
	seen, halt := watch(t, func() *apptest.Response { return m.Get(t, taxonomies+"/"+id) })

	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() *apptest.Response{
		"me":    func() *apptest.Response { return person.Get(t, "/auth/me") },
		"login": func() *apptest.Response { return person.As("").Post(t, "/auth/login", login) },
		"select tenant": func() *apptest.Response {
			return person.Post(t, "/auth/select-tenant", map[string]any{"tenant": "rapi-jahit"})
		},
		"onboarding":   func() *apptest.Response { return person.Post(t, onboarding, workspace("waktu-mati")) },
		"tenant read":  func() *apptest.Response { return m.Get(t, taxonomies+"/"+id) },
		"tenant write": func() *apptest.Response { return m.Post(t, taxonomies, color("BIRU")) },
		"unknown host": func() *apptest.Response { return a.On("belum-pernah").Get(t, taxonomies) },
		"ready":        func() *apptest.Response { return a.On("").Get(t, "//ready") },
	} {
		for range 2 { // the first finds connections that have died, the second none
			r := ask()
			if r.Status != http.StatusServiceUnavailable || r.Code != "service.unavailable" || r.Header.Get("Retry-After") == "" || r.RequestID == "" {
				t.Errorf("%s: %d %s, Retry-After %q", name, r.Status, r.Raw, r.Header.Get("Retry-After"))
			}
		}
	}
	a.On("").Get(t, "//up").Want(t, http.StatusOK)

	server = start(server.Port)
	apptest.Until(t, "recovery", func() bool { return m.Get(t, taxonomies+"/"+id).Status == http.StatusOK })
	apptest.Until(t, "readiness", func() bool { return a.On("").Get(t, "//ready").Status == http.StatusOK })
	person.Get(t, "/auth/me").Want(t, http.StatusOK)
	person.As("").Post(t, "/auth/login", login).Want(t, http.StatusOK)
	m.Post(t, taxonomies, color("BIRU")).Want(t, http.StatusCreated)
	// Jobs go on too, if not at once: they notice on their own time.
	p := into(t, person.Post(t, onboarding, workspace("sesudah-pulih")).Want(t, http.StatusAccepted))
	finished(t, person, p.Onboarding.ID)
	person.Select(t, "sesudah-pulih").Get(t, taxonomies).Want(t, http.StatusOK)

	halt()
	for answer, n := range seen {
		if answer != "200 ok" && answer != "503 service.unavailable" {
			t.Errorf("%d answers were %s", n, answer)
		}
	}
	if seen["200 ok"] == 0 || seen["503 service.unavailable"] == 0 {
		t.Errorf("answers %v: the outage was not seen", seen)
	}
}

// serve starts an app on a server of one's own.
func serve(t testing.TB, database string) *apptest.App {
	t.Helper()
	ctx := t.Context()
	c, err := app.Load([]string{
		"HOMECORE_DATABASE_URL=" + database, "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(),
		"HOMECORE_BASE_DOMAIN=" + apptest.BaseHost, "HOMECORE_SCHEME=http", "HOMECORE_CENTRAL_CONNS=6", "HOMECORE_TENANT_GROUPS=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	owner, err := app.OpenOwner(ctx, c.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	if err := app.MigrateCentral(ctx, owner, log, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Install(ctx, c, owner); err != nil {
		t.Fatal(err)
	}
	built, err := app.New(ctx, c, app.Options{Version: "test", Log: log, Development: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := built.Runner.Start(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(built.Router)
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
		stopping, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := built.Runner.Stop(stopping); err != nil {
			t.Errorf("stop the jobs: %v", err)
		}
		built.Close()
	})
	return &apptest.App{App: built, URL: front.URL}
}

// watch asks again and again until halt, after which seen says how often each answer came.
func watch(t testing.TB, ask func() *apptest.Response) (seen map[string]int, halt func()) {
	t.Helper()
	seen = map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r := ask()
				seen[fmt.Sprint(r.Status, " ", r.Code)]++
			}
		}
	})
	stop := func() { cancel(); wait.Wait() }
	t.Cleanup(stop)
	return seen, stop
}
