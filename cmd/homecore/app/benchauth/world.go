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
	"runtime"
	"strconv"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/postgres/pgtest"
)

const (
	base     = "localhost:8080"
	password = "kata sandi yang panjang"
)

func email(client int) string { return fmt.Sprintf("bench%d@example.com", client) }

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

// world is an app that serves on loopback and one account for each client.
type world struct {
	app           *app.App
	server        *httptest.Server
	database      string
	postgres      string
	config        app.Config
	secret        crypto.Secret
	passwords     *crypto.Passwords
	stored        string
	accessTokens  [clients]string
	refreshTokens [clients]string
	undo          []func() error
}

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	// The throttle would stop sixteen clients of one address. What it costs is counted with it on, in costs.
	if w.app, err = w.start(ctx, w.database, "off"); err != nil {
		return nil, err
	}
	w.server = httptest.NewServer(w.app.Router)
	w.undo = append(w.undo, func() error { w.server.CloseClientConnections(); w.server.Close(); return nil })
	c := w.config.Identity
	if w.passwords, err = crypto.NewPasswords(crypto.Argon2{MemoryKiB: c.PasswordMemoryMiB << 10, Passes: c.PasswordPasses, Lanes: 1}); err != nil {
		return nil, err
	}
	if w.stored, err = w.passwords.Hash(ctx, password); err != nil {
		return nil, err
	}
	for i := range clients {
		if _, err := w.app.Identity.CreateVerified(ctx, "Bench", email(i), password, "id"); err != nil {
			return nil, err
		}
		l, done, err := w.dial(ctx)
		if err != nil {
			return nil, err
		}
		text, err := l.ask(request(http.MethodPost, "/auth/login", "", map[string]any{"email": email(i), "password": password}))
		done()
		if err != nil {
			return nil, err
		}
		var got struct{ Data tokens }
		if err := json.Unmarshal(text, &got); err != nil {
			return nil, err
		}
		w.accessTokens[i], w.refreshTokens[i] = got.Data.AccessToken, got.Data.RefreshToken
	}
	return w, nil
}

// prepare makes a database in the throwaway cluster it is given, or in one of its own, and migrates it.
func (w *world) prepare(ctx context.Context) error {
	cluster := os.Getenv(pgtest.URLVariable)
	if cluster == "" {
		server, err := pgtest.Start(ctx)
		if err != nil {
			return err
		}
		w.undo = append(w.undo, func() error { return server.Stop(context.Background()) })
		cluster = server.URL()
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random)
	name := "homecore_bench_" + hex.EncodeToString(random)
	admin, err := pgx.Connect(ctx, cluster)
	if err != nil {
		return err
	}
	defer admin.Close(ctx) //nolint:errcheck // nothing is left to lose
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return err
	}
	if err := admin.QueryRow(ctx, "show server_version").Scan(&w.postgres); err != nil {
		return err
	}
	u, err := url.Parse(cluster)
	if err != nil {
		return err
	}
	u.Path = "/" + name
	w.database = u.String()
	w.secret = crypto.NewKey().Encode()
	if w.config, err = w.load(w.database, "off"); err != nil {
		return err
	}
	owner, err := app.OpenOwner(ctx, w.database)
	if err != nil {
		return err
	}
	defer owner.Close()
	if err := app.MigrateCentral(ctx, owner, quiet(), func(string) {}); err != nil {
		return err
	}
	f, err := app.Install(ctx, w.config, owner)
	if err != nil {
		return err
	}
	f.Close()
	return nil
}

func (w *world) load(database, throttle string) (app.Config, error) {
	return app.Load([]string{
		"HOMECORE_DATABASE_URL=" + database, "HOMECORE_SECRET=" + w.secret.Reveal(), "HOMECORE_BASE_DOMAIN=" + base, "HOMECORE_SCHEME=http",
		"HOMECORE_CENTRAL_CONNS=" + strconv.Itoa(conns), "HOMECORE_TENANT_POOL=0", "HOMECORE_THROTTLE=" + throttle,
	})
}

// start builds an app on the database. Its jobs do not run: nothing runs beside what is measured.
func (w *world) start(ctx context.Context, database, throttle string) (*app.App, error) {
	c, err := w.load(database, throttle)
	if err != nil {
		return nil, err
	}
	// A log that is written in full and thrown away: a request's line is part of what it costs.
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	a, err := app.New(ctx, c, app.Options{Version: "bench", Log: log, Development: true})
	if err != nil {
		return nil, err
	}
	w.undo = append(w.undo, func() error { a.Close(); return nil })
	return a, nil
}

// costs counts statements and allocations of each operation, one request at a time, on an app that is as in production.
func (w *world) costs(ctx context.Context) ([]measure, map[string][]statement, error) {
	u, err := url.Parse(w.database)
	if err != nil {
		return nil, nil, err
	}
	between, err := newWire(ctx, u.Host)
	if err != nil {
		return nil, nil, err
	}
	defer between.listener.Close()
	u.Host = between.listener.Addr().String()
	a, err := w.start(ctx, u.String(), "on")
	if err != nil {
		return nil, nil, err
	}
	var (
		measures []measure
		said     = map[string][]statement{}
	)
	for _, o := range []struct {
		name   string
		times  int
		most   float64
		method string
		path   string
		body   func(i int) any
		after  func(i int, got tokens)
	}{
		{"login", 8, 4, http.MethodPost, "/auth/login", func(i int) any { return map[string]any{"email": email(i % clients), "password": password} }, nil},
		{"refresh", 400, 2, http.MethodPost, "/auth/refresh", func(int) any { return map[string]any{"refresh_token": w.refreshTokens[0]} },
			func(_ int, got tokens) { w.refreshTokens[0] = got.RefreshToken }},
		{"me", 2000, 0, http.MethodGet, "/auth/me", func(int) any { return nil }, nil},
	} {
		one := func(i int) error {
			var content []byte
			if body := o.body(i); body != nil {
				content, _ = json.Marshal(body) //nolint:errchkjson // strings
			}
			req := httptest.NewRequestWithContext(ctx, o.method, "/api/v1"+o.path, bytes.NewReader(content))
			req.Host = base
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("User-Agent", "bench")
			if o.method == http.MethodGet {
				req.Header.Set("Authorization", "Bearer "+w.accessTokens[0])
			}
			answer := httptest.NewRecorder()
			a.Router.ServeHTTP(answer, req)
			if answer.Code != http.StatusOK {
				return fmt.Errorf("count what %s costs: answered %d %s", o.name, answer.Code, answer.Body)
			}
			if o.after != nil {
				var got struct{ Data tokens }
				if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
					return err
				}
				o.after(i, got.Data)
			}
			return nil
		}
		for i := range 8 { // statements are prepared, caches filled
			if err := one(clients - 1 - i); err != nil {
				return nil, nil, err
			}
		}
		between.reset()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range o.times {
			if err := one(i); err != nil {
				return nil, nil, err
			}
		}
		runtime.ReadMemStats(&after)
		all, each := between.statements(o.times)
		said[o.name] = all
		measures = append(measures,
			measure{o.name + "_statements", each, "statements/" + o.name, new(o.most), true},
			measure{o.name + "_allocations", float64(after.Mallocs-before.Mallocs) / float64(o.times), "allocs/" + o.name, nil, false})
	}
	return measures, said, nil
}

// close undoes everything, the last first.
func (w *world) close() error {
	var errs []error
	for i := len(w.undo) - 1; i >= 0; i-- {
		errs = append(errs, w.undo[i]())
	}
	return errors.Join(errs...)
}
