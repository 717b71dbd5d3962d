package mail_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"garment.id/homecore/platform/mail"
)

// delivery is what the test's server was given.
type delivery struct {
	From, To string
	Data     string
	TLS      bool
	User     string
}

// serverOptions says how the test's server behaves; the zero value takes everything.
type serverOptions struct {
	noTLS, implicitTLS bool
	refuseMail         error // the answer to MAIL FROM
	refuseRcpt         error
	refuseData         error
	hold               <-chan struct{} // DATA is answered when it is closed
}

type server struct {
	address  string
	roots    *x509.CertPool
	received chan delivery
	holding  chan struct{} // gets a value when DATA waits for hold
	options  serverOptions
}

const (
	user     = "homecore"
	password = "p/w#d@%"
)

func startServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	s := &server{received: make(chan delivery, 8), holding: make(chan struct{}, 1), options: o, roots: x509.NewCertPool()}
	certificate := httptest.NewUnstartedServer(nil) // brings a certificate for 127.0.0.1 with it
	certificate.StartTLS()
	t.Cleanup(certificate.Close)
	s.roots.AddCert(certificate.Certificate())
	secured := &tls.Config{Certificates: certificate.TLS.Certificates, MinVersion: tls.VersionTLS12}

	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.Domain = "mx.test"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	switch {
	case o.implicitTLS:
		listener = tls.NewListener(listener, secured)
	case !o.noTLS:
		server.TLSConfig = secured
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return s
}

// sender returns a sender to the server, by the URL's scheme, user part and query.
func (s *server) sender(t *testing.T, scheme, userinfo, query string) *mail.SMTP {
	t.Helper()
	sender, err := mail.NewSMTP(mail.SMTPConfig{URL: scheme + "://" + userinfo + s.address + query, From: "Garment.id <no-reply@garment.id>", RootCAs: s.roots})
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

var login = url.UserPassword(user, password).String() + "@"

type session struct {
	server *server
	conn   *smtp.Conn
	d      delivery
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, u, p string) error {
		if u != user || p != password {
			return smtp.ErrAuthFailed
		}
		s.d.User = u
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.d.From = from
	return s.server.options.refuseMail
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.d.To += to // two recipients would show
	return s.server.options.refuseRcpt
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.server.options.hold != nil {
		s.server.holding <- struct{}{}
		<-s.server.options.hold
	}
	if s.server.options.refuseData != nil {
		return s.server.options.refuseData
	}
	s.d.Data = string(data)
	_, s.d.TLS = s.conn.TLSConnectionState()
	s.server.received <- s.d
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// script starts a server that runs talk on each connection and then hangs up.
func script(t *testing.T, talk func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); talk(c) }()
		}
	}()
	return listener.Addr().String()
}

func scripted(t *testing.T, address string, timeout time.Duration) *mail.SMTP {
	t.Helper()
	sender, err := mail.NewSMTP(mail.SMTPConfig{URL: "smtp://" + address + "?tls=none", From: "no-reply@garment.id", Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return sender
}
