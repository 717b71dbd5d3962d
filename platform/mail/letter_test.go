package mail_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

var brand = mail.Brand{Name: "Garment.id", URL: "https://garment.id"}

const verifyLink = "https://app.garment.id/verify?token=AbC-123_x&lang=id"

func letter(l locale.Language) mail.Letter {
	if l == locale.EN {
		return mail.Letter{
			Lang: locale.EN, Subject: "Verify your email", Greeting: "Hello Siti,",
			Body:   []string{"Welcome to Garment.id. Please confirm that this is your address, so that we can reach you when something about your account changes."},
			Facts:  []mail.Fact{{Label: "Device", Value: "Chrome on Android"}, {Label: "IP address", Value: "203.0.113.7"}},
			Action: &mail.Action{Label: "Verify email", URL: verifyLink},
			After:  []string{"The link works for 24 hours.", "If you did not sign up, ignore this email."},
		}
	}
	return mail.Letter{
		Lang: locale.ID, Subject: "Verifikasi email Anda", Greeting: "Halo Siti,",
		Body:   []string{"Selamat datang di Garment.id. Mohon pastikan bahwa ini alamat Anda, agar kami dapat menghubungi Anda bila ada perubahan pada akun."},
		Facts:  []mail.Fact{{Label: "Perangkat", Value: "Chrome di Android"}, {Label: "Alamat IP", Value: "203.0.113.7"}},
		Action: &mail.Action{Label: "Verifikasi email", URL: verifyLink},
		After:  []string{"Tautan berlaku selama 24 jam.", "Jika Anda tidak mendaftar, abaikan email ini."},
	}
}

// page is what a mail program makes of a letter's HTML.
type page struct {
	lang, text string
	hrefs      []string
	loads      []string // elements and attributes that would ask the network
}

func readHTML(t *testing.T, source string) page {
	t.Helper()
	root, err := html.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	var p page
	var words []string
	for n := range root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" && n.Parent.Data != "title" {
			words = append(words, strings.Fields(n.Data)...)
		}
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "img", "script", "link", "iframe", "video", "object", "embed", "form":
			p.loads = append(p.loads, n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case n.Data == "html" && a.Key == "lang":
				p.lang = a.Val
			case n.Data == "a" && a.Key == "href":
				p.hrefs = append(p.hrefs, a.Val)
			case a.Key == "src" || a.Key == "background" || strings.Contains(a.Val, "url(") || strings.HasPrefix(a.Key, "on"):
				p.loads = append(p.loads, n.Data+" "+a.Key)
			}
		}
	}
	if strings.Contains(source, "url(") || strings.Contains(source, "@import") {
		p.loads = append(p.loads, "css")
	}
	p.text = strings.Join(words, " ")
	return p
}

func TestLetterSaysTheSameInTextAndHTML(t *testing.T) {
	t.Parallel()
	for lang, own := range map[locale.Language][]string{
		locale.ID: {"Salam,", "Tim Garment.id", "Email ini dikirim otomatis. Mohon tidak membalasnya."},
		locale.EN: {"Regards,", "The Garment.id team", "This email was sent automatically. Please do not reply to it."},
	} {
		t.Run(string(lang), func(t *testing.T) {
			t.Parallel()
			l := letter(lang)
			m, err := brand.Render("siti@example.com", l)
			if err != nil {
				t.Fatal(err)
			}
			if m.To != "siti@example.com" || m.Subject != l.Subject {
				t.Errorf("to %q, subject %q", m.To, m.Subject)
			}
			page := readHTML(t, m.HTML)
			if page.lang != string(lang) {
				t.Errorf("html lang %q", page.lang)
			}
			text := strings.Join(strings.Fields(m.Text), " ")
			said := append(append(append(own, l.Greeting, l.Action.Label, l.Action.URL), l.Body...), l.After...)
			for _, f := range l.Facts {
				said = append(said, f.Label, f.Value)
			}
			for _, s := range said {
				if !strings.Contains(text, s) {
					t.Errorf("the text lacks %q", s)
				}
				if !strings.Contains(page.text, s) {
					t.Errorf("the HTML lacks %q", s)
				}
			}
			if !strings.HasPrefix(page.text, l.Body[0]) {
				t.Errorf("the preheader is not the first paragraph: %.80q", page.text)
			}
			if len(page.hrefs) != 3 || page.hrefs[0] != verifyLink || page.hrefs[1] != verifyLink || page.hrefs[2] != brand.URL {
				t.Errorf("button, fallback and brand lead to %q", page.hrefs)
			}
			if len(page.loads) > 0 {
				t.Errorf("asks the network for %q", page.loads)
			}
			if !strings.Contains(m.HTML, "<!--[if mso]>") || strings.Contains(m.HTML, "ZgotmplZ") {
				t.Error("Outlook's table is missing, or the template refused a value")
			}
			if len(m.HTML) > 100<<10 {
				t.Errorf("%d bytes: Gmail clips", len(m.HTML))
			}
		})
	}
}

func TestLetterText(t *testing.T) {
	t.Parallel()
	m, err := brand.Render("siti@example.com", letter(locale.ID))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(m.Text, "\n")
	for i, line := range lines {
		if utf8.RuneCountInString(line) > 72 && !strings.HasPrefix(line, "http") {
			t.Errorf("line %d is too wide: %q", i+1, line)
		}
		if line != strings.TrimSpace(line) {
			t.Errorf("line %d has space around it: %q", i+1, line)
		}
	}
	t.Run("puts the link on a line of its own", func(t *testing.T) {
		t.Parallel()
		if !strings.Contains(m.Text, "\n"+verifyLink+"\n") {
			t.Errorf("%s", m.Text)
		}
	})
	t.Run("never has two blank lines", func(t *testing.T) {
		t.Parallel()
		bare, err := brand.Render("siti@example.com", mail.Letter{Subject: "x", Body: []string{"One.", "", "Two."}})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{m.Text, bare.Text} {
			if strings.Contains(text, "\n\n\n") || strings.HasPrefix(text, "\n") {
				t.Errorf("%q", text)
			}
		}
	})
}

func TestLetterTrustsNoName(t *testing.T) {
	t.Parallel()
	t.Run("escapes HTML", func(t *testing.T) {
		t.Parallel()
		const name = `<script>alert(1)</script><img src=x onerror="x">&amp;`
		m, err := brand.Render("siti@example.com", mail.Letter{Lang: locale.EN, Subject: name, Preheader: name, Greeting: name, Body: []string{name}, After: []string{name},
			Facts: []mail.Fact{{Label: name, Value: name}}, Action: &mail.Action{Label: name, URL: verifyLink + `"><img src=x>`}})
		if err != nil {
			t.Fatal(err)
		}
		if page := readHTML(t, m.HTML); len(page.loads) > 0 || !strings.Contains(page.text, `<img src=x onerror="x">&amp;`) {
			t.Errorf("has %q and says %q", page.loads, page.text)
		}
	})
	t.Run("keeps a line break in a name out of the subject", func(t *testing.T) {
		t.Parallel()
		m, err := brand.Render("siti@example.com", mail.Letter{Subject: "Undangan dari Siti\r\nBcc: eve@example.com\x00", Body: []string{"x"}})
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "Undangan dari Siti Bcc: eve@example.com" {
			t.Errorf("subject %q", m.Subject)
		}
	})
	for _, link := range []string{"", "/verify", "javascript:alert(1)", "//evil.example/x", "mailto:a@b.c", "https:///x"} {
		t.Run("refuses the link "+strings.ReplaceAll(link, "/", "∕"), func(t *testing.T) {
			t.Parallel()
			l := letter(locale.ID)
			l.Action.URL = link
			if _, err := brand.Render("siti@example.com", l); err == nil {
				t.Error("was accepted")
			}
		})
	}
}
