package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
)

// site is the app, serving and working off its jobs on the world's database.
type site struct {
	app    *app.App
	server *httptest.Server
	token  string // of somebody who may have tenants
	made   int
}

// onboarding measures from the request for a tenant to the first answer of that tenant, over HTTP, with schemas that wait and
// without. It uses the app's own migrations.
func (w *world) onboarding(ctx context.Context, existing int) (out []provision, err error) {
	if err := w.durable(ctx, true); err != nil {
		return nil, err
	}
	s, err := w.openSite(ctx, existing)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, s.close(ctx), w.forgetSite(ctx), w.install(ctx), w.durable(ctx, false))
	}()
	if _, err := s.onboard(ctx); err != nil { // the first time is everyone's first time
		return nil, err
	}
	for _, how := range []string{"cold", "warm"} {
		p := provision{What: "onboard", How: how, Existing: existing, AtOnce: 1}
		if err := w.discardWarm(ctx); err != nil {
			return nil, err
		}
		var warm []string
		if how == "warm" {
			if warm, err = warmUp(ctx, s.app.Fleet, w.options.provisions); err != nil {
				return nil, err
			}
		}
		var took []time.Duration
		begun := time.Now()
		for range w.options.provisions {
			d, err := s.onboard(ctx)
			if err != nil {
				return nil, err
			}
			took = append(took, d)
		}
		p.sum(took, time.Since(begun))
		if all, err := w.taken(ctx, warm); err != nil {
			return nil, err
		} else if !all {
			continue
		}
		w.options.progress("  %s", p)
		out = append(out, p)
	}
	return out, nil
}

func (w *world) openSite(ctx context.Context, existing int) (_ *site, err error) {
	f, err := app.Install(ctx, w.config, w.owner) // its passwords are not ours
	if err != nil {
		return nil, err
	}
	f.Close()
	// A log that is written in full and thrown away: a request's lines are part of what it costs.
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	s := &site{}
	if s.app, err = app.New(ctx, w.config, app.Options{Version: "bench", Log: log, Development: true}); err != nil {
		return nil, err
	}
	s.server = httptest.NewServer(s.app.Router)
	if err := s.app.Runner.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	email, password := fmt.Sprintf("bench-%d@example.com", existing), "kata sandi yang panjang"
	if _, err := s.app.Identity.CreateVerified(ctx, "Bench", email, password, "id"); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	s.made = existing * 1000
	s.token, err = s.ask(ctx, http.MethodPost, base, "", "/auth/login", map[string]any{"email": email, "password": password})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *site) close(ctx context.Context) error {
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := s.app.Runner.Stop(stopping)
	s.server.CloseClientConnections()
	s.server.Close()
	s.app.Close()
	return err
}

// onboard asks for a tenant, selects it as soon as that can be done, and lists what it has.
func (s *site) onboard(ctx context.Context) (time.Duration, error) {
	s.made++
	slug := fmt.Sprintf("konveksi-%d", s.made)
	begun := time.Now()
	if _, err := s.ask(ctx, http.MethodPost, base, s.token, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": slug}); err != nil {
		return 0, err
	}
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for {
		token, err := s.ask(ctx, http.MethodPost, base, s.token, "/auth/select-tenant", map[string]any{"tenant": slug})
		if err == nil {
			_, err := s.ask(ctx, http.MethodGet, slug+"."+base, token, "/master-data/taxonomies", nil)
			return time.Since(begun), err
		}
		if time.Since(begun) > 30*time.Second {
			return 0, fmt.Errorf("tenant %s does not come: %w", slug, err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// ask makes a request that must succeed, and returns the token in its answer, if there is one.
func (s *site) ask(ctx context.Context, method, host, token, path string, body any) (string, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return "", err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.server.URL+"/api/v1"+path, content)
	if err != nil {
		return "", err
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.server.Client().Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	var found struct {
		Data json.RawMessage `json:"data"`
	}
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if json.Unmarshal(text, &found) == nil {
		_ = json.Unmarshal(found.Data, &tokens) // a list has none
	}
	return tokens.AccessToken, nil
}

// forgetSite drops what the app made: its migrations are not the world's.
func (w *world) forgetSite(ctx context.Context) error {
	rows, err := w.owner.Query(ctx, `select s.schema_name, s.role_name from tenancy.schemas s left join central.tenants t on t.id = s.tenant_id
		where s.state = 'warm' or t.slug like 'konveksi-%'`)
	if err != nil {
		return err
	}
	gone, err := pgx.CollectRows(rows, scanMade)
	if err != nil {
		return err
	}
	for _, one := range gone {
		if err := w.drop(ctx, one); err != nil {
			return err
		}
	}
	_, err = w.owner.Exec(ctx, `update central.tenants set status = 'dropped', schema_name = '', role_name = '', schema_version = 0 where slug like 'konveksi-%'`)
	return err
}
