package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// caller asks a running process, as curl does that is told the Host.
type caller struct {
	base  string // host:port of the process, on this machine
	host  string // of the request; empty: base
	token string
}

type answer struct {
	Status int
	Code   string          `json:"code"`
	Data   json.RawMessage `json:"data"`
	Raw    []byte
}

var client = &http.Client{
	Timeout:       time.Minute,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try makes a request; path is relative to /api/v1 unless it begins with //, the root. header is names and values in turn.
func (c caller) try(ctx context.Context, method, path string, body any, header ...string) (*answer, error) {
	if rooted, ok := strings.CutPrefix(path, "//"); ok {
		path = "/" + rooted
	} else {
		path = "/api/v1" + path
	}
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(c.base)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+port+path, &content)
	if err != nil {
		return nil, err
	}
	req.Host = c.base
	if c.host != "" {
		req.Host = c.host
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	a := &answer{Status: res.StatusCode}
	if a.Raw, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	_ = json.Unmarshal(a.Raw, a) // pages and lists have no envelope
	return a, nil
}

// ask makes a request and fails the test unless it is answered with this status.
func (c caller) ask(t *testing.T, want int, method, path string, body any, header ...string) *answer {
	t.Helper()
	a, err := c.try(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != want {
		t.Fatalf("%s %s: %d, want %d\n%s", method, path, a.Status, want, a.Raw)
	}
	return a
}

func (c caller) get(t *testing.T, path string) *answer {
	t.Helper()
	return c.ask(t, http.StatusOK, http.MethodGet, path, nil)
}

func read[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return v
}

// login returns the caller with an account's central token.
func (c caller) login(t *testing.T, email, password string) caller {
	t.Helper()
	a := c.ask(t, http.StatusOK, http.MethodPost, "/auth/login", map[string]string{"email": email, "password": password})
	c.token = read[struct {
		AccessToken string `json:"access_token"`
	}](t, a.Data).AccessToken
	return c
}

// enter returns the caller on the host of a tenant, with its token.
func (c caller) enter(t *testing.T, slug string) caller {
	t.Helper()
	a := c.ask(t, http.StatusOK, http.MethodPost, "/auth/select-tenant", map[string]string{"tenant": slug})
	domain := c.base
	if c.host != "" {
		domain = c.host
	}
	return caller{base: c.base, host: slug + "." + domain, token: read[struct {
		AccessToken string `json:"access_token"`
	}](t, a.Data).AccessToken}
}

type me struct {
	User struct {
		ID            string `json:"id"`
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
	} `json:"user"`
	PlatformRoles []string `json:"platform_roles"`
	Tenants       []struct {
		Slug   string `json:"slug"`
		Status string `json:"status"`
		Role   string `json:"role"`
	} `json:"tenants"`
}

func (c caller) me(t *testing.T) me {
	t.Helper()
	return read[me](t, c.get(t, "/auth/me").Data)
}

// onboarding is what asking for a workspace answers.
type onboarding struct {
	Onboarding struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	} `json:"onboarding"`
	Tenant struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"tenant"`
}

func draft(slug string) map[string]string {
	return map[string]string{"name": "Konveksi " + slug, "slug": slug}
}

const password = "kata sandi yang panjang"

// verify opens the link of a mail, which names a host that only browsers find on this machine.
func (c caller) verify(t *testing.T, link string) {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	domain := c.base
	if c.host != "" {
		domain = c.host
	}
	if u.Scheme != "http" || u.Host != domain {
		t.Fatalf("the link %q leads to another place", link)
	}
	a := c.get(t, "/"+u.RequestURI())
	if !strings.Contains(string(a.Data), `"verified":true`) {
		t.Fatalf("answered %s", a.Raw)
	}
}

// signUp takes somebody from registering, over the mail that dev keeps, to a token.
func (c caller) signUp(t *testing.T, email string) caller {
	t.Helper()
	c.ask(t, http.StatusAccepted, http.MethodPost, "/auth/register", map[string]string{"name": "Siti Aminah", "email": email, "password": password})
	var link string
	until(t, "the verification mail", func() bool {
		for _, m := range read[[]struct {
			To    string   `json:"to"`
			Links []string `json:"links"`
		}](t, c.get(t, "//dev/mail.json").Raw) {
			if m.To == email && len(m.Links) > 0 {
				link = m.Links[0]
				return true
			}
		}
		return false
	})
	c.verify(t, link)
	return c.login(t, email, password)
}
