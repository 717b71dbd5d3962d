package mail_test

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/platform/mail"
)

// parse returns the headers of a mail as it went over the wire, and its parts by media type.
func parse(t *testing.T, data string) (netmail.Header, map[string]string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	if kind == "text/plain" {
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil {
			t.Fatal(err)
		}
		parts[kind] = string(body)
		return m.Header, parts
	}
	if kind != "multipart/alternative" {
		t.Fatalf("content type %q", kind)
	}
	reader := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(params["charset"], "utf-8") {
			t.Fatalf("part %q: %v", part.Header.Get("Content-Type"), err)
		}
		body, err := io.ReadAll(part) // decodes quoted-printable
		if err != nil {
			t.Fatal(err)
		}
		parts[kind] = string(body)
	}
}

func TestMessageOnTheWire(t *testing.T) {
	t.Parallel()
	server := startServer(t, serverOptions{})
	sender := server.sender(t, "smtp", "", "")
	send := func(t *testing.T, m mail.Message) (netmail.Header, map[string]string) {
		t.Helper()
		if err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		return parse(t, (<-server.received).Data)
	}

	long := "https://app.garment.id/verify?token=" + strings.Repeat("Ab3=", 60)
	header, parts := send(t, mail.Message{To: "Siti Rahma <siti@example.com>", Subject: "Verifikasi — " + strings.Repeat("sangat panjang ", 12) + "é",
		Text: "Halo,\n.\n" + long, HTML: `<a href="` + long + `">é</a>`, Headers: map[string]string{"Reply-To": "help@garment.id"}})

	subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
	if want := "Verifikasi — " + strings.Repeat("sangat panjang ", 12) + "é"; err != nil || subject != want {
		t.Errorf("subject %q, %v", subject, err)
	}
	if from, err := header.AddressList("From"); err != nil || from[0].Name != "Garment.id" || from[0].Address != "no-reply@garment.id" {
		t.Errorf("from %v, %v", from, err)
	}
	if to, err := header.AddressList("To"); err != nil || len(to) != 1 || to[0].Name != "Siti Rahma" {
		t.Errorf("to %v, %v", to, err)
	}
	if date, err := header.Date(); err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("date %v, %v", date, err)
	}
	for name, want := range map[string]string{"Reply-To": "help@garment.id", "Auto-Submitted": "auto-generated", "User-Agent": "", "X-Mailer": "", "Bcc": ""} {
		if got := header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// The text comes through, a line that is a single dot and one longer than SMTP allows included.
	if got := strings.ReplaceAll(parts["text/plain"], "\r\n", "\n"); strings.TrimSpace(got) != "Halo,\n.\n"+long {
		t.Errorf("text %q", got)
	}
	if !strings.Contains(parts["text/html"], `<a href="`+long+`">é</a>`) {
		t.Errorf("html %q", parts["text/html"])
	}

	next, parts := send(t, mail.Message{To: "siti@example.com", Subject: "Halo", Text: "Only text"})
	if strings.TrimSpace(parts["text/plain"]) != "Only text" || len(parts) != 1 {
		t.Errorf("parts %q", parts)
	}
	for _, id := range []string{header.Get("Message-Id"), next.Get("Message-Id")} {
		if !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@garment.id>") {
			t.Errorf("message id %q", id)
		}
	}
	if header.Get("Message-Id") == next.Get("Message-Id") {
		t.Error("two messages share an id")
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	server := startServer(t, serverOptions{})
	sender := server.sender(t, "smtp", "", "")
	with := func(change func(*mail.Message)) mail.Message {
		m := hello
		change(&m)
		return m
	}
	for name, m := range map[string]mail.Message{
		"a line break in the subject":      with(func(m *mail.Message) { m.Subject = "Halo\r\nBcc: eve@example.com" }),
		"a bare line feed in the subject":  with(func(m *mail.Message) { m.Subject = "Halo\nBcc: eve@example.com" }),
		"a bare return in the subject":     with(func(m *mail.Message) { m.Subject = "Halo\rBcc: eve@example.com" }),
		"a line break in the address":      with(func(m *mail.Message) { m.To = "siti@example.com\r\nBcc: eve@example.com" }),
		"a command in the address":         with(func(m *mail.Message) { m.To = "siti@example.com>\r\nRCPT TO:<eve@example.com" }),
		"a command in a quoted local part": with(func(m *mail.Message) { m.To = "\"a\r\nRCPT TO:<eve@example.com>\"@example.com" }),
		"a line break in an encoded name":  with(func(m *mail.Message) { m.To = "=?utf-8?q?a=0D=0ABcc=3A_eve=40example=2Ecom?= <siti@example.com>" }),
		"two recipients":                   with(func(m *mail.Message) { m.To = "siti@example.com, eve@example.com" }),
		"no recipient":                     with(func(m *mail.Message) { m.To = "" }),
		"a line break in a header":         with(func(m *mail.Message) { m.Headers = map[string]string{"X-Ref": "1\r\nBcc: eve@example.com"} }),
		"a line break in a header's name":  with(func(m *mail.Message) { m.Headers = map[string]string{"X-Ref: 1\r\nBcc": "eve@example.com"} }),
		"a header that adds a recipient":   with(func(m *mail.Message) { m.Headers = map[string]string{"bCC": "eve@example.com"} }),
		"a header that changes the body":   with(func(m *mail.Message) { m.Headers = map[string]string{"content-type": "text/html"} }),
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			for _, s := range []mail.Sender{sender, mail.NewMailbox(nil)} {
				var permanent *mail.PermanentError
				if err := s.Send(t.Context(), m); !errors.As(err, &permanent) {
					t.Errorf("%T: got %v", s, err)
				}
			}
		})
	}
	t.Cleanup(func() {
		if len(server.received) > 0 {
			t.Errorf("was sent: %+v", <-server.received)
		}
	})
}

func TestNewSMTP(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, raw := range []string{
		"", "mail.example.com", "user:" + secret + "@mail.example.com:587", "http://user:" + secret + "@mail.example.com",
		"smtp://user:" + secret + "/x@mail.example.com", "smtp://user:" + secret + "#x@mail.example.com", "smtp://user:" + secret + "%zz@mail.example.com",
		"smtp://user:" + secret + "@", "smtp://user:" + secret + "@h:99999", "smtp://user:" + secret + "@h:0", "smtp://user:" + secret + "@h/?tls=" + secret, "smtp://user:" + secret + "@h?tls=none",
		"smtp://user:" + secret + "@h?auth=plain", "smtps://user:" + secret + "@h?tls=none", "smtp://user@h", "smtp://:" + secret + "@h",
	} {
		t.Run("refuses "+strings.ReplaceAll(raw, "/", "∕"), func(t *testing.T) {
			t.Parallel()
			_, err := mail.NewSMTP(mail.SMTPConfig{URL: raw, From: "no-reply@garment.id"})
			if err == nil {
				t.Fatal("was accepted")
			}
			if !strings.Contains(err.Error(), "HOMECORE_SMTP_URL") || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("refuses a sender that is no address", func(t *testing.T) {
		t.Parallel()
		if _, err := mail.NewSMTP(mail.SMTPConfig{URL: "smtp://h", From: "Garment.id"}); err == nil || !strings.Contains(err.Error(), "HOMECORE_MAIL_FROM") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("knows the usual ports", func(t *testing.T) {
		t.Parallel()
		for raw, want := range map[string]string{"smtp://h": "h:587", "smtps://h": "h:465", "smtp://[::1]:25": "[::1]:25"} {
			s, err := mail.NewSMTP(mail.SMTPConfig{URL: raw, From: "no-reply@garment.id"})
			if err != nil || s.Address() != want {
				t.Errorf("%s: %v, %v", raw, s, err)
			}
		}
	})
	t.Run("does not print the password", func(t *testing.T) {
		t.Parallel()
		s, err := mail.NewSMTP(mail.SMTPConfig{URL: "smtps://user:" + secret + "@h", From: "no-reply@garment.id"})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%+v %#v", s, s); strings.Contains(got, secret) {
			t.Errorf("prints %s", got)
		}
	})
}
