package mail_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/net/html"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
	"garment.id/homecore/platform/postgres/pgtest"
)

// table is the mailbox's, as the migration makes it.
const table = `CREATE SCHEMA central;
CREATE TABLE central.kept_mail (
	id         uuid        PRIMARY KEY,
	recipient  text        NOT NULL,
	subject    text        NOT NULL,
	text_body  text        NOT NULL,
	html_body  text        NOT NULL,
	links      jsonb       NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
)`

func newMailbox(t *testing.T) *mail.Mailbox {
	t.Helper()
	db, err := sql.Open("pgx", pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	return mail.NewMailbox(db)
}

func keep(t *testing.T, b *mail.Mailbox, m mail.Message) {
	t.Helper()
	if err := b.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, b *mail.Mailbox, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w
}

// mails are read as a client reads them, by the contract's names.
type kept struct {
	ID, To, Subject, Text, HTML string
	Links                       []string
	At                          time.Time
}

func list(t *testing.T, b *mail.Mailbox, query string) []kept {
	t.Helper()
	w := ask(t, b, "GET", "/dev/mail.json"+query)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	var mails []kept
	if err := json.Unmarshal(w.Body.Bytes(), &mails); err != nil {
		t.Fatal(err)
	}
	return mails
}

func TestMailboxJSON(t *testing.T) {
	t.Parallel()

	t.Run("is an empty list at first", func(t *testing.T) {
		t.Parallel()
		if body := strings.TrimSpace(ask(t, newMailbox(t), "GET", "/dev/mail.json").Body.String()); body != "[]" {
			t.Errorf("got %s", body)
		}
	})

	t.Run("has the contract's members, and links as they are", func(t *testing.T) {
		t.Parallel()
		b := newMailbox(t)
		m, err := brand.Render("Siti <siti@example.com>", letter(locale.ID))
		if err != nil {
			t.Fatal(err)
		}
		keep(t, b, m)
		keep(t, b, mail.Message{To: "budi@example.com", Subject: "Tanpa tautan", Text: "x"})

		body := ask(t, b, "GET", "/dev/mail.json").Body.Bytes()
		var members []map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			names := []string{}
			for name := range m {
				names = append(names, name)
			}
			if slices.Sort(names); !slices.Equal(names, []string{"at", "html", "id", "links", "subject", "text", "to"}) {
				t.Errorf("members %q", names)
			}
		}
		if string(members[0]["links"]) != "[]" {
			t.Errorf("no links are %s", members[0]["links"])
		}
		if !strings.Contains(string(body), `"`+verifyLink+`"`) {
			t.Errorf("the link is not to be found as it is in %s", body)
		}
		got := list(t, b, "")[1]
		if got.To != "siti@example.com" || got.Subject != m.Subject || got.Text != m.Text || got.HTML != m.HTML {
			t.Errorf("got %+v", got)
		}
		if !slices.Equal(got.Links, []string{verifyLink, brand.URL}) {
			t.Errorf("links %q", got.Links)
		}
		if time.Since(got.At).Abs() > time.Minute || got.At.Location() != time.UTC {
			t.Errorf("at %v", got.At)
		}
	})

	t.Run("finds the links in the text, in order, each once", func(t *testing.T) {
		t.Parallel()
		b := newMailbox(t)
		keep(t, b, mail.Message{To: "a@example.com", Subject: "x",
			Text: "See http://localhost:8080/a?x=1&y=2. Or (https://b.example/c), \"https://d.example\"\nhttps://b.example/c ftp://no.example http://"})
		if got := list(t, b, "")[0].Links; !slices.Equal(got, []string{"http://localhost:8080/a?x=1&y=2", "https://b.example/c", "https://d.example"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("is the newest 200, newest first, or one recipient's", func(t *testing.T) {
		t.Parallel()
		b := newMailbox(t)
		keep(t, b, mail.Message{To: "Ani@example.com", Subject: "oldest", Text: "x"})
		for i := range 205 {
			keep(t, b, mail.Message{To: "siti@example.com", Subject: fmt.Sprint(i), Text: "x"})
		}
		all := list(t, b, "")
		if len(all) != 200 || all[0].Subject != "204" || all[199].Subject != "5" {
			t.Errorf("%d mails from %q to %q", len(all), all[0].Subject, all[len(all)-1].Subject)
		}
		if got := list(t, b, "?to="+url.QueryEscape("ani@EXAMPLE.com")); len(got) != 1 || got[0].Subject != "oldest" {
			t.Errorf("got %+v", got)
		}
		if got := list(t, b, "?to=ani"); len(got) != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestMailboxIsEmptied(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method string
		header []string
		want   int
		left   int
	}{
		"by DELETE":                   {"DELETE", nil, http.StatusNoContent, 0},
		"by the page's button":        {"POST", []string{"Sec-Fetch-Site", "same-origin"}, http.StatusSeeOther, 0},
		"by no other site's script":   {"DELETE", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden, 1},
		"by no other site's form":     {"POST", []string{"Origin", "https://evil.example"}, http.StatusForbidden, 1},
		"by no tenant's page, either": {"POST", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newMailbox(t)
			keep(t, b, hello)
			if w := ask(t, b, tc.method, "/dev/mail", tc.header...); w.Code != tc.want {
				t.Errorf("status %d, want %d", w.Code, tc.want)
			}
			if got := len(list(t, b, "")); got != tc.left {
				t.Errorf("%d mails are left, want %d", got, tc.left)
			}
		})
	}
}

func TestMailboxPage(t *testing.T) {
	t.Parallel()
	b := newMailbox(t)
	if body := ask(t, b, "GET", "/dev/mail").Body.String(); !strings.Contains(body, "No mail yet") {
		t.Errorf("got %s", body)
	}
	const evil = `<script>alert(1)</script>`
	m, err := brand.Render("siti@example.com", letter(locale.EN))
	if err != nil {
		t.Fatal(err)
	}
	m.HTML += evil
	keep(t, b, mail.Message{To: "budi@example.com", Subject: evil, Text: evil + " javascript:alert(1)"})
	keep(t, b, m)
	mails := list(t, b, "")

	t.Run("lists the mails under a policy that runs and loads nothing", func(t *testing.T) {
		t.Parallel()
		w := ask(t, b, "GET", "/dev/mail")
		body := w.Body.String()
		if !strings.Contains(body, "Verify your email") || !strings.Contains(body, "budi@example.com") || strings.Contains(body, evil) {
			t.Errorf("got %s", body)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "script-src") {
			t.Errorf("policy %q", policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
	})

	t.Run("shows a mail's HTML in a sandbox without scripts, and its links", func(t *testing.T) {
		t.Parallel()
		body := ask(t, b, "GET", "/dev/mail?id="+mails[0].ID).Body.String()
		root, err := html.Parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		attributes, hrefs, scripts := map[string]string{}, []string{}, 0
		for n := range root.Descendants() {
			switch n.Data {
			case "iframe":
				for _, a := range n.Attr {
					attributes[a.Key] = a.Val
				}
			case "a":
				hrefs = append(hrefs, n.Attr[slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "href" })].Val)
			case "script":
				scripts++
			}
		}
		if !strings.Contains(attributes["srcdoc"], m.HTML) {
			t.Errorf("the frame holds %q", attributes["srcdoc"])
		}
		if sandbox, ok := attributes["sandbox"]; !ok || strings.Contains(sandbox, "allow-scripts") || strings.Contains(sandbox, "allow-same-origin") {
			t.Errorf("sandbox %q", sandbox)
		}
		if !slices.Contains(hrefs, verifyLink) || scripts > 0 {
			t.Errorf("%d scripts; links %q", scripts, hrefs)
		}
	})

	t.Run("shows a mail's text, and only text if there is no HTML", func(t *testing.T) {
		t.Parallel()
		for _, target := range []string{"/dev/mail?view=text&id=" + mails[0].ID, "/dev/mail?id=" + mails[1].ID} {
			body := ask(t, b, "GET", target).Body.String()
			if !strings.Contains(body, "<pre>") || strings.Contains(body, "<iframe") || strings.Contains(body, evil) {
				t.Errorf("%s: got %s", target, body)
			}
		}
	})

	t.Run("says so when the mail is gone", func(t *testing.T) {
		t.Parallel()
		if body := ask(t, b, "GET", "/dev/mail?id=nonsense").Body.String(); !strings.Contains(body, "no longer here") {
			t.Errorf("got %s", body)
		}
	})
}
