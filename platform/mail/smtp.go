package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// SMTPConfig says which mail server takes our mail, and under which name we write.
type SMTPConfig struct {
	// URL is HOMECORE_SMTP_URL: smtp://user:password@host:587?tls=mandatory|opportunistic|none (mandatory if unsaid),
	// or smtps://user:password@host:465. A certificate that does not verify is an error under opportunistic too.
	URL string
	// From is HOMECORE_MAIL_FROM, as in "Garment.id <no-reply@garment.id>". Its domain is also what we greet the server with.
	From string
	// Timeout bounds one Send from dialling to the server's last word. Default: 30 s.
	Timeout time.Duration
	// RootCAs are trusted to sign the server's certificate. Default: the system's.
	RootCAs *x509.CertPool
}

// SMTP sends through a mail server, one connection for each message. It is safe for concurrent use.
type SMTP struct {
	host    string
	port    int
	tls     *tls.Config // nil unless TLS comes before SMTP does (smtps)
	from    *mail.Address
	domain  string
	timeout time.Duration
	options []gomail.Option // closures, so that no %+v of an SMTP prints the password
}

// NewSMTP returns a sender for c. It connects to nothing yet; its errors name the variable that is wrong, never the password.
func NewSMTP(c SMTPConfig) (*SMTP, error) {
	server, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("HOMECORE_SMTP_URL: %w", err)
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil {
		return nil, fmt.Errorf("HOMECORE_MAIL_FROM: is not like Garment.id <no-reply@garment.id>: %w", err)
	}
	s := &SMTP{
		host: server.host, port: server.port, from: from,
		domain:  from.Address[strings.LastIndexByte(from.Address, '@')+1:],
		timeout: cmp.Or(c.Timeout, 30*time.Second),
	}
	secured := &tls.Config{ServerName: server.host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	if server.implicitTLS {
		s.tls = secured
	}
	s.options = []gomail.Option{
		gomail.WithPort(server.port), gomail.WithHELO(s.domain),
		gomail.WithTimeout(2 * s.timeout), // for one step; ours, for all of them, comes first and says what it was
		gomail.WithTLSPolicy(server.policy), gomail.WithTLSConfig(secured),
		// A connection carries one message: nothing to probe before it, nothing to reset after it.
		gomail.WithoutNoop(), gomail.WithoutRset(),
	}
	if server.user != "" {
		// Without TLS, discovery never picks a mechanism that sends the password in the clear.
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(server.user), gomail.WithPassword(server.password))
	}
	return s, nil
}

// Send delivers m to the server. A 5xx to the message itself is a [PermanentError]; a server that is away, slow, busy or refuses our
// credentials is not: those are mended, and the mail should go out then.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := s.compose(m)
	if err != nil {
		return &PermanentError{Err: err}
	}
	err = s.connect(ctx, func(c *gomail.Client, server *smtp.Client) error { return c.SendWithSMTPClient(server, msg) })
	if err == nil {
		return nil
	}
	err = fmt.Errorf("send mail through %s: %w", s.Address(), err)
	var refusal *gomail.SendError
	if errors.As(err, &refusal) && isPermanent(refusal.ErrorCode()) {
		return &PermanentError{Code: refusal.ErrorCode(), Err: err}
	}
	return err
}

// Check connects, authenticates and leaves, without sending anything.
func (s *SMTP) Check(ctx context.Context) error {
	err := s.connect(ctx, func(*gomail.Client, *smtp.Client) error { return nil })
	if err != nil {
		return fmt.Errorf("check mail server %s: %w", s.Address(), err)
	}
	return nil
}

// Address returns the server's host and port.
func (s *SMTP) Address() string { return net.JoinHostPort(s.host, fmt.Sprint(s.port)) }

// connect runs do on a connection that is ready to take a message. The connection ends with ctx, the timeout, or this call: the
// library looks at ctx only until it has dialled, and leaves the connection open when the greeting fails.
func (s *SMTP) connect(ctx context.Context, do func(*gomail.Client, *smtp.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	dial := func(dialCtx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.dial(dialCtx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	client, err := gomail.NewClient(s.host, slices.Concat(s.options, []gomail.Option{gomail.WithDialContextFunc(dial)})...)
	if err != nil {
		return err
	}
	server, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		err = do(client, server)
	}
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}
	// What was to be done is done: a server that does not answer the farewell changes nothing, least of all that the mail is sent.
	_ = client.CloseWithSMTPClient(server)
	return nil
}

// dial speaks TLS first where the URL says so. The library's own option for that does not notice the encryption when it is given a
// dialler, and would then refuse to send a password.
func (s *SMTP) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.tls != nil {
		return (&tls.Dialer{Config: s.tls}).DialContext(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// compose writes m as a MIME message, without sending it.
func (s *SMTP) compose(m Message) (*gomail.Msg, error) {
	to, err := m.check()
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("message id: %w", err)
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(s.from)
	msg.ToMailAddress(to)
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(id.String() + "@" + s.domain)
	// RFC 3834 §5, and what Exchange heeds instead: no out-of-office replies to a machine.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	for name, value := range m.Headers {
		msg.SetGenHeader(gomail.Header(name), value)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// isPermanent tells a refusal of the message from one of our login (RFC 4954 §6), which an operator mends.
func isPermanent(code int) bool {
	switch code {
	case 530, 534, 535, 538:
		return false
	}
	return code >= 500
}
