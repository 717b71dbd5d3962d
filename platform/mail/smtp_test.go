package mail_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"garment.id/homecore/platform/mail"
)

var hello = mail.Message{To: "siti@example.com", Subject: "Halo", Text: "Halo Siti", HTML: "<p>Halo Siti</p>"}

func TestSMTPDelivers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		server                  serverOptions
		scheme, userinfo, query string
		wantTLS                 bool
	}{
		"with STARTTLS and a login":                    {serverOptions{}, "smtp", login, "?tls=mandatory", true},
		"with STARTTLS unless told otherwise":          {serverOptions{}, "smtp", "", "", true},
		"with STARTTLS when it is offered":             {serverOptions{}, "smtp", "", "?tls=opportunistic", true},
		"without TLS when it is not offered":           {serverOptions{noTLS: true}, "smtp", "", "?tls=opportunistic", false},
		"without TLS when told so":                     {serverOptions{}, "smtp", "", "?tls=none", false},
		"with TLS from the first byte and a login":     {serverOptions{implicitTLS: true}, "smtps", login, "", true},
		"with TLS from the first byte without a login": {serverOptions{implicitTLS: true}, "smtps", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, tc.server)
			sender := server.sender(t, tc.scheme, tc.userinfo, tc.query)
			if err := sender.Check(t.Context()); err != nil {
				t.Fatalf("check: %v", err)
			}
			if err := sender.Send(t.Context(), hello); err != nil {
				t.Fatal(err)
			}
			got := <-server.received
			if got.TLS != tc.wantTLS {
				t.Errorf("encrypted: %v, want %v", got.TLS, tc.wantTLS)
			}
			if wantUser := tc.userinfo != ""; wantUser != (got.User == user) {
				t.Errorf("authenticated as %q with userinfo %q", got.User, tc.userinfo)
			}
			if got.From != "no-reply@garment.id" || got.To != "siti@example.com" {
				t.Errorf("envelope from %q to %q", got.From, got.To)
			}
		})
	}
}

func TestSMTPTellsPermanentFromTemporary(t *testing.T) {
	t.Parallel()
	answer := func(code int) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "no such user"}
	}
	for name, tc := range map[string]struct {
		server        serverOptions
		userinfo      string
		wantPermanent int
	}{
		"an unknown recipient is permanent":      {serverOptions{refuseRcpt: answer(550)}, "", 550},
		"a refused sender is permanent":          {serverOptions{refuseMail: answer(553)}, "", 553},
		"a refused content is permanent":         {serverOptions{refuseData: answer(554)}, "", 554},
		"greylisting is temporary":               {serverOptions{refuseRcpt: answer(451)}, "", 0},
		"a busy server is temporary":             {serverOptions{refuseMail: answer(421)}, "", 0},
		"a full disk is temporary":               {serverOptions{refuseData: answer(452)}, "", 0},
		"a missing login is ours to mend":        {serverOptions{refuseMail: answer(530)}, "", 0},
		"a wrong password is ours to mend":       {serverOptions{}, "homecore:wrong@", 0},
		"a server without STARTTLS may get it":   {serverOptions{noTLS: true}, "", 0},
		"a password is never sent in clear text": {serverOptions{noTLS: true}, login, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, tc.server)
			err := server.sender(t, "smtp", tc.userinfo, "").Send(t.Context(), hello)
			if err == nil {
				t.Fatal("was sent")
			}
			var permanent *mail.PermanentError
			if is := errors.As(err, &permanent); is != (tc.wantPermanent != 0) {
				t.Fatalf("permanent: %v, %v", is, err)
			}
			if permanent != nil && permanent.Code != tc.wantPermanent {
				t.Errorf("code %d, want %d", permanent.Code, tc.wantPermanent)
			}
			if !strings.Contains(err.Error(), server.address) {
				t.Errorf("does not name the server: %v", err)
			}
			if strings.Contains(err.Error(), "wrong@") || strings.Contains(err.Error(), password) {
				t.Errorf("shows the password: %v", err)
			}
		})
	}

	t.Run("a certificate nobody vouches for is not accepted", func(t *testing.T) {
		t.Parallel()
		server := startServer(t, serverOptions{})
		server.roots = x509.NewCertPool()
		err := server.sender(t, "smtp", "", "?tls=opportunistic").Send(t.Context(), hello)
		if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("nobody listening is temporary", func(t *testing.T) {
		t.Parallel()
		// Port 1 is nobody's, and no system gives it to anybody meanwhile.
		sender, err := mail.NewSMTP(mail.SMTPConfig{URL: "smtp://127.0.0.1:1", From: "a@garment.id"})
		if err != nil {
			t.Fatal(err)
		}
		wantTemporary(t, sender.Send(t.Context(), hello))
		wantTemporary(t, sender.Check(t.Context()))
	})
}

func TestSMTPIsBounded(t *testing.T) {
	t.Parallel()

	t.Run("a server that says nothing is given up", func(t *testing.T) {
		t.Parallel()
		address := script(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		err := scripted(t, address, 50*time.Millisecond).Send(t.Context(), hello)
		wantTemporary(t, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a server that keeps talking without end is given up", func(t *testing.T) {
		t.Parallel()
		address := script(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mx.test\r\n")
			for err := error(nil); err == nil; { // each line is in time; the answer never ends
				_, err = io.WriteString(c, "250-AGAIN\r\n")
			}
		})
		err := scripted(t, address, 50*time.Millisecond).Send(t.Context(), hello)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("cancelling interrupts a delivery", func(t *testing.T) {
		t.Parallel()
		hold := make(chan struct{})
		t.Cleanup(func() { close(hold) })
		server := startServer(t, serverOptions{hold: hold})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-server.holding; cancel() }()
		err := server.sender(t, "smtp", "", "").Send(ctx, hello)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("no connection stays behind when the server refuses us", func(t *testing.T) {
		t.Parallel()
		closed := make(chan error, 1)
		address := script(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "554 go away\r\n")
			_, err := io.Copy(io.Discard, c)
			closed <- err
		})
		wantTemporary(t, scripted(t, address, time.Minute).Send(t.Context(), hello))
		<-closed
	})

	t.Run("a message the server took is sent, even if it hangs up at once", func(t *testing.T) {
		t.Parallel()
		address := script(t, func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mx.test\r\n")
			buffer := make([]byte, 64<<10)
			for _, reply := range []string{"250 mx.test", "250 ok", "250 ok", "354 go on"} {
				_, _ = c.Read(buffer)
				_, _ = io.WriteString(c, reply+"\r\n")
			}
			for all := ""; !strings.HasSuffix(all, "\r\n.\r\n"); {
				n, err := c.Read(buffer)
				if all += string(buffer[:n]); err != nil {
					return
				}
			}
			_, _ = io.WriteString(c, "250 taken\r\n")
		})
		if err := scripted(t, address, time.Minute).Send(t.Context(), hello); err != nil {
			t.Errorf("would be sent a second time: %v", err)
		}
	})
}

func wantTemporary(t *testing.T, err error) {
	t.Helper()
	var permanent *mail.PermanentError
	if err == nil || errors.As(err, &permanent) {
		t.Errorf("got %v, want an error worth a retry", err)
	}
}
