package identity_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

const password = "kata sandi yang panjang"

// movable is a clock that a test can set forward.
type movable struct{ ahead atomic.Int64 }

func (m *movable) now() time.Time          { return time.Now().Add(time.Duration(m.ahead.Load())) }
func (m *movable) forward(d time.Duration) { m.ahead.Add(int64(d)) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// secondProcess is another HomeCore on the same database, with what it remembers of its own.
func secondProcess(t *testing.T, a *apptest.App) *app.App {
	t.Helper()
	other, err := app.New(t.Context(), a.Config, app.Options{Version: "test", Log: discard(), Development: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	return other
}

// connect returns a superuser's connection to the app's database.
func connect(t *testing.T, a *apptest.App) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, a *apptest.App, statement string, args ...any) int64 {
	t.Helper()
	done, err := connect(t, a).Exec(t.Context(), statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	return done.RowsAffected()
}

func count(t *testing.T, a *apptest.App, query string, args ...any) (n int) {
	t.Helper()
	if err := connect(t, a).QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

type letter struct {
	To      string   `json:"to"`
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	HTML    string   `json:"html"`
	Links   []string `json:"links"`
}

// token returns the token in the letter's link that verifies an address.
func (l letter) token(t *testing.T) string {
	t.Helper()
	for _, link := range l.Links {
		if u, err := url.Parse(link); err == nil && strings.HasSuffix(u.Path, "/auth/email/verify") {
			if !strings.HasPrefix(link, "http://"+apptest.BaseHost+"/api/v1/") {
				t.Errorf("the link leads to %s", u.Host)
			}
			return u.Query().Get("token")
		}
	}
	t.Fatalf("no link in %q", l.Subject)
	return ""
}

// letters waits until n letters have been sent to an address, and returns them in order.
func letters(t *testing.T, a *apptest.App, to string, n int) (got []letter) {
	t.Helper()
	apptest.Until(t, "mail to "+to, func() bool {
		var all []letter
		if err := json.Unmarshal(a.On("").Get(t, "//dev/mail.json").Raw, &all); err != nil {
			t.Fatal(err)
		}
		got = got[:0]
		for _, l := range all {
			if l.To == to {
				got = append([]letter{l}, got...)
			}
		}
		return len(got) >= n
	})
	if len(got) > n {
		t.Fatalf("%d letters to %s, want %d", len(got), to, n)
	}
	return got
}

func register(t *testing.T, a *apptest.App, name, email, pass string) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, "/auth/register", map[string]any{"name": name, "email": email, "password": pass}).Want(t, 202)
}

func verify(t *testing.T, a *apptest.App, token string, header ...string) *apptest.Response {
	t.Helper()
	return a.On("").Get(t, "/auth/email/verify?token="+url.QueryEscape(token), header...)
}

func login(t *testing.T, a *apptest.App, email, pass string) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, "/auth/login", map[string]any{"email": email, "password": pass})
}

func refresh(t *testing.T, c apptest.Caller, token string) *apptest.Response {
	t.Helper()
	return c.As("").Post(t, "/auth/refresh", map[string]any{"refresh_token": token})
}

func refreshed(t *testing.T, c apptest.Caller, token string) (s apptest.Session) {
	t.Helper()
	refresh(t, c, token).Want(t, 200).Into(t, &s)
	return s
}
