package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

// Writers come by the front door while their tenant is moved, on two servers and to a cluster of the other kind. Every write that
// was acknowledged is there once, and every refusal said when to come back.
func TestMoveUnderLoad(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	a := apptest.New(t, apptest.WithCluster(t, "timur", fleet.Postgres, server.URL()), apptest.WithCluster(t, "sebar", fleet.Citus, ""))
	p := transfer.New(a.Fleet, slog.New(slog.DiscardHandler))
	busy, neighbour := a.SignUp(t).Onboard(t, "sibuk"), a.SignUp(t).Onboard(t, "tetangga")

	var wait sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	acknowledged, refused := map[string]bool{}, 0
	write := func(m *apptest.Member, worker string, mayRefuse bool) {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			code := fmt.Sprintf("W%s-%d", worker, n)
			r := m.Post(t, taxonomies, color(code))
			mu.Lock()
			switch {
			case r.Status == http.StatusCreated:
				acknowledged[m.Slug+" "+code] = true
			case mayRefuse && r.Status == http.StatusServiceUnavailable && r.Code == "tenant.maintenance" && r.Header.Get("Retry-After") != "":
				refused++
			default:
				t.Errorf("%s was answered %d %s, Retry-After %q", code, r.Status, r.Code, r.Header.Get("Retry-After"))
			}
			mu.Unlock()
			select {
			case <-stop:
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	for i := range 4 {
		wait.Go(func() { write(busy, fmt.Sprint(i), true) })
	}
	wait.Go(func() { write(neighbour, "n", false) })
	path := filepath.Join(t.TempDir(), "sibuk.tar.zst")
	for _, to := range []string{"timur", "sebar", "main", "timur"} {
		before := len(snapshot(&mu, acknowledged))
		apptest.Until(t, "writes", func() bool { return len(snapshot(&mu, acknowledged)) > before+20 })
		moved, err := p.Move(t.Context(), "sibuk", to, func(transfer.Progress) {})
		if err != nil {
			t.Errorf("to %s: %v", to, err)
			break
		}
		t.Logf("to %s: %d rows, shut for %s", to, moved.Rows, moved.Shut)
		if err := p.Accept(t.Context(), "sibuk"); err != nil {
			t.Error(err)
		}
		if _, err := p.Export(t.Context(), "sibuk", path, func(transfer.Progress) {}); err != nil {
			t.Error(err)
		}
	}
	before := len(snapshot(&mu, acknowledged))
	apptest.Until(t, "writes at the end", func() bool { return len(snapshot(&mu, acknowledged)) > before+20 })
	close(stop)
	wait.Wait()

	for _, m := range []*apptest.Member{busy, neighbour} {
		found := map[string]int{}
		for cursor := ""; ; {
			r := m.Get(t, taxonomies+"?limit=100&filter[kind]=color"+cursor).Want(t, http.StatusOK)
			for _, row := range r.List(t) {
				found[m.Slug+" "+row["code"].(string)]++
			}
			if r.Meta.NextCursor == nil {
				break
			}
			cursor = "&cursor=" + *r.Meta.NextCursor
		}
		for code := range acknowledged {
			if len(code) > len(m.Slug) && code[:len(m.Slug)] == m.Slug && found[code] != 1 {
				t.Errorf("%s was acknowledged and is there %d times", code, found[code])
			}
		}
	}
	t.Logf("%d writes acknowledged, %d refused", len(acknowledged), refused)
	if refused == 0 {
		t.Error("nobody was refused: there was no load")
	}
	if _, err := transfer.Verify(path); err != nil {
		t.Error(err)
	}
}

func snapshot(mu *sync.Mutex, m map[string]bool) []struct{} {
	mu.Lock()
	defer mu.Unlock()
	return make([]struct{}, len(m))
}
