package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/postgres"
)

// A database that becomes a standby, as a former primary does, and then a primary again.
func TestFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "homecore-failover-") // t.TempDir is closed to the account that root's server runs as
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
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	id := m.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated).Object(t)["id"].(string)

	// Somebody writes all the while, and keeps what was acknowledged.
	var mu sync.Mutex
	var kept []string
	n := 0
	seen, halt := watch(t, func() *apptest.Response {
		n++
		code := fmt.Sprint("W", n)
		r := m.Post(t, taxonomies, color(code))
		if r.Status == http.StatusCreated {
			mu.Lock()
			kept = append(kept, code)
			mu.Unlock()
		}
		return r
	})
	written := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(kept)
	}
	apptest.Until(t, "some are written", func() bool { return written() > 3 })

	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	signal := filepath.Join(server.DataDir, "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil { //nolint:gosec // the server opens it for writing, as its own user
		t.Fatal(err)
	}
	if err := os.Chmod(signal, 0o666); err != nil {
		t.Fatal(err)
	}
	server = start(server.Port)

	t.Run("a standby is read, and asked to write it says try again", func(t *testing.T) {
		apptest.Until(t, "it is read", func() bool { return m.Get(t, taxonomies+"/"+id).Status == http.StatusOK })
		for range 3 {
			r := m.Post(t, taxonomies, color("BIRU"))
			if r.Status != http.StatusServiceUnavailable || r.Code != "service.unavailable" || r.Header.Get("Retry-After") == "" {
				t.Errorf("%d %s", r.Status, r.Raw)
			}
		}
	})

	t.Run("once it is the primary again everything goes on, without a restart", func(t *testing.T) {
		admin, err := pgx.Connect(ctx, server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close(ctx)
		if _, err := admin.Exec(ctx, "select pg_promote()"); err != nil {
			t.Fatal(err)
		}
		before := written()
		apptest.Until(t, "writing goes on", func() bool { return written() > before+3 })
		asOwnerOf(t, server.URL(), set(m.TenantID, "status = 'suspended'"))
		apptest.Until(t, "a change is heard of", func() bool { return m.Get(t, taxonomies).Code == "tenant.suspended" })
		asOwnerOf(t, server.URL(), set(m.TenantID, "status = 'active'"))
		apptest.Until(t, "and one more", func() bool { return m.Get(t, taxonomies).Status == http.StatusOK })
	})

	halt()
	t.Run("nothing that was acknowledged is lost", func(t *testing.T) {
		for answer, n := range seen {
			if answer != "201 ok" && answer != "503 service.unavailable" && answer != "403 tenant.suspended" {
				t.Errorf("%d answers were %s", n, answer)
			}
		}
		there := map[string]bool{}
		for cursor := ""; ; {
			r := m.Get(t, taxonomies+"?limit=100&cursor="+cursor).Want(t, http.StatusOK)
			for _, row := range r.List(t) {
				there[row["code"].(string)] = true
			}
			if r.Meta.NextCursor == nil {
				break
			}
			cursor = *r.Meta.NextCursor
		}
		for _, code := range kept {
			if !there[code] {
				t.Errorf("%s is gone", code)
			}
		}
	})
}

// Requests that find every connection of their tenant's group busy wait for a while, not for ever.
func TestExhaustedPool(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	m.Get(t, taxonomies).Want(t, http.StatusOK)
	schema := ""
	conn, err := pgx.Connect(t.Context(), a.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "select schema_name from central.tenants where id = $1", m.TenantID).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "lock table "+pgx.Identifier{schema, "taxonomies"}.Sanitize()+" in access exclusive mode"); err != nil {
		t.Fatal(err)
	}

	const requests = 12
	answers := make(chan *apptest.Response, requests)
	begun := time.Now()
	for range requests {
		go func() { answers <- m.Get(t, taxonomies) }()
	}
	first := <-answers
	if first.Status != http.StatusServiceUnavailable || first.Code != "service.unavailable" || first.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", first.Status, first.Raw)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it waited for %s", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	ok := 0
	for range requests - 1 {
		switch r := <-answers; {
		case r.Status == http.StatusOK:
			ok++
		case r.Status != http.StatusServiceUnavailable:
			t.Errorf("%d %s", r.Status, r.Raw)
		}
	}
	if ok == 0 {
		t.Error("who had a connection was not answered")
	}
	m.Get(t, taxonomies).Want(t, http.StatusOK)
}
