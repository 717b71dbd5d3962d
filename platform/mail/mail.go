// Package mail writes letters and hands them over.
//
// A [Brand] turns a [Letter], sentences in one language, into a [Message] of text and HTML. A [Sender] takes the message from there:
// [SMTP] gives it to a mail server, and in development a [Mailbox] keeps it in Postgres and shows it at /dev/mail.
//
//	letter := mail.Letter{Lang: locale.EN, Subject: "Verify your email", Greeting: "Hello Siti,",
//		Body:   []string{"Please confirm that this is your address."},
//		Action: &mail.Action{Label: "Verify email", URL: link}}
//	msg, err := brand.Render("siti@example.com", letter)
//	…
//	err = sender.Send(ctx, msg)
//
// A job that sends tells by [PermanentError] whether trying again is of any use.
package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"strings"
	"unicode"
)

// Message is one mail to one person.
type Message struct {
	To      string            // an address, with or without a name: siti@example.com or "Siti <siti@example.com>"
	Subject string            // one line
	Text    string            // the plain text; always there
	HTML    string            // the same as HTML; may be empty
	Headers map[string]string // further headers, such as Reply-To; never those that a Sender writes itself
}

// Sender hands a message over. It returns a [PermanentError] when trying again is useless, any other error when it is not.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// PermanentError says that this message will not be delivered, however often it is tried.
type PermanentError struct {
	Code int // the server's reply, 5xx; zero if the message did not get that far
	Err  error
}

// Error returns the cause.
func (e *PermanentError) Error() string { return "mail will not be delivered: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *PermanentError) Unwrap() error { return e.Err }

// senderHeaders are written by the senders: a caller that sets one would make a mail with two.
var senderHeaders = map[string]bool{
	"From": true, "Sender": true, "To": true, "Cc": true, "Bcc": true, "Subject": true, "Date": true, "Message-Id": true,
	"Return-Path": true, "Received": true, "Mime-Version": true, "Auto-Submitted": true, "X-Auto-Response-Suppress": true,
}

// check returns the recipient of m, or what is wrong with m. Names that strangers chose end up in subjects and headers; a line break
// in one of those would begin a header of their making.
func (m Message) check() (*mail.Address, error) {
	to, err := mail.ParseAddress(m.To)
	if err != nil {
		return nil, fmt.Errorf("recipient: %w", err)
	}
	switch {
	case hasControl(to.Name) || hasControl(to.Address):
		return nil, errors.New("recipient: contains a control character")
	case m.Subject == "":
		return nil, errors.New("subject: is empty")
	case hasControl(m.Subject):
		return nil, errors.New("subject: contains a control character")
	case strings.TrimSpace(m.Text) == "":
		return nil, errors.New("text: is empty")
	}
	for name, value := range m.Headers {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !isHeaderName(name):
			return nil, fmt.Errorf("header %q: not a header's name", name)
		case senderHeaders[canonical] || strings.HasPrefix(canonical, "Content-"):
			return nil, fmt.Errorf("header %q: not the caller's to set", name)
		case hasControl(value):
			return nil, fmt.Errorf("header %q: contains a control character", name)
		}
	}
	return to, nil
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// isHeaderName follows RFC 5322 §2.2, without the punctuation nobody uses.
func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
		return !letter && r != '-' && !('0' <= r && r <= '9')
	})
}
