package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres/pgtest"
	"garment.id/homecore/tenancy"
)

const base = "localhost:8080"

// world is an app that serves on loopback, tenants with a row each, and a pool that knows nothing of tenancy.
type world struct {
	app    *app.App
	server *httptest.Server
	pool   *pgxpool.Pool
	places [tenants]place
	undo   []func() error
}

// place is a tenant and the row to read.
type place struct {
	tenancy.Tenant
	host, token string
	row         uuid.UUID
	ctx         context.Context // has entered it
	sql         string          // the raw way to read the row
}

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	database, err := w.database(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.start(ctx, database); err != nil {
		return nil, err
	}
	if err := w.fill(ctx); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = conns
	w.pool, err = pgxpool.NewWithConfig(ctx, config)
	return w, err
}

// database makes a database in the throwaway cluster it is given, or in one of its own, and returns its URL.
func (w *world) database(ctx context.Context) (string, error) {
	cluster := os.Getenv(pgtest.URLVariable)
	if cluster == "" {
		server, err := pgtest.Start(ctx)
		if err != nil {
			return "", err
		}
		w.undo = append(w.undo, func() error { return server.Stop(context.Background()) })
		cluster = server.URL()
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	name := "homecore_bench_" + hex.EncodeToString(random)
	admin, err := pgx.Connect(ctx, cluster)
	if err != nil {
		return "", err
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is left to lose
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return "", err
	}
	u, err := url.Parse(cluster)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

func (w *world) start(ctx context.Context, database string) error {
	c, err := app.Load([]string{
		"HOMECORE_DATABASE_URL=" + database, "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(), "HOMECORE_BASE_DOMAIN=" + base,
		"HOMECORE_SCHEME=http", "HOMECORE_THROTTLE=off", "HOMECORE_TENANT_GROUPS=" + strconv.Itoa(groups), "HOMECORE_TENANT_CONNS_PER_GROUP=" + strconv.Itoa(conns/groups),
	})
	if err != nil {
		return err
	}
	owner, err := app.OpenOwner(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer owner.Close()
	if err := app.MigrateCentral(ctx, owner, quiet(), func(string) {}); err != nil {
		return err
	}
	f, err := app.Install(ctx, c, owner)
	if err != nil {
		return err
	}
	f.Close()
	// A log that is written in full and thrown away: a request's line is part of what it costs.
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	if w.app, err = app.New(ctx, c, app.Options{Version: "bench", Log: log, Development: true}); err != nil {
		return err
	}
	w.undo = append(w.undo, func() error { w.app.Close(); return nil })
	w.server = httptest.NewServer(w.app.Router)
	w.undo = append(w.undo, func() error { w.server.CloseClientConnections(); w.server.Close(); return nil })
	return nil
}

// fill makes the tenants the way clients do. The jobs stop afterwards: nothing runs beside what is measured.
func (w *world) fill(ctx context.Context) error {
	if err := w.app.Runner.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	err := w.onboard(ctx)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, w.app.Runner.Stop(stopping))
}

func (w *world) onboard(ctx context.Context) error {
	const email, password = "bench@example.com", "kata sandi yang panjang"
	if _, err := w.app.Identity.CreateVerified(ctx, "Bench", email, password, "id"); err != nil {
		return err
	}
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := w.post(ctx, base, "", "/auth/login", map[string]any{"email": email, "password": password}, &tokens); err != nil {
		return err
	}
	central := tokens.AccessToken
	for i := range w.places {
		p := &w.places[i]
		slug := fmt.Sprintf("konveksi-%d", i)
		p.host = slug + "." + base
		if err := w.post(ctx, base, central, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": slug}, nil); err != nil {
			return err
		}
		if err := w.post(ctx, base, central, "/auth/select-tenant", map[string]any{"tenant": slug}, &tokens); err != nil {
			return err
		}
		p.token = tokens.AccessToken
		var row struct {
			ID uuid.UUID `json:"id"`
		}
		draft := map[string]any{"kind": "fabric", "code": "KATUN-30S", "name": "Katun combed 30s", "attributes": map[string]any{"gsm": 150}}
		if err := w.post(ctx, p.host, p.token, "/master-data/taxonomies", draft, &row); err != nil {
			return err
		}
		p.row = row.ID
		var err error
		if p.Tenant, err = w.app.Registry.BySlug(ctx, slug); err != nil {
			return err
		}
		if p.ctx, err = w.app.Registry.Enter(ctx, p.ID); err != nil {
			return err
		}
		p.sql = "select id, version, created_at, updated_at, kind, code, name, parent_id, description, position, attributes, is_active, master_id from " +
			pgx.Identifier{p.SchemaName, "taxonomies"}.Sanitize() + " where id = $1"
	}
	return nil
}

// post makes a request that must succeed, and reads its data.
func (w *world) post(ctx context.Context, host, token, path string, body, data any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server.URL+"/api/v1"+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("POST %s: %s: %s", path, answer.Status, text)
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// close undoes everything, the last first.
func (w *world) close() error {
	if w.pool != nil {
		w.pool.Close()
	}
	var errs []error
	for i := len(w.undo) - 1; i >= 0; i-- {
		errs = append(errs, w.undo[i]())
	}
	return errors.Join(errs...)
}
