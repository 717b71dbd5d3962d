package mail

import (
	"errors"
	"net/url"
	"strconv"

	gomail "github.com/wneessen/go-mail"
)

// server is what a mail server's URL says.
type server struct {
	host           string
	port           int
	user, password string
	implicitTLS    bool
	policy         gomail.TLSPolicy
}

// parseURL reads HOMECORE_SMTP_URL. Its errors quote nothing of the URL: a password with an unescaped / or # lands in any part of it.
func parseURL(raw string) (server, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return server{}, errors.New("is not like smtp://user:password@host:587 (write special characters in the password as %2F, %23, %40)")
	}
	s := server{host: u.Hostname(), user: u.User.Username()}
	s.password, _ = u.User.Password()
	if (s.user == "") != (s.password == "") {
		return server{}, errors.New("has a user without a password, or a password without a user")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) > 1 || len(query) == 1 && !query.Has("tls") {
		return server{}, errors.New("the only parameter is tls")
	}
	switch mode := query.Get("tls"); {
	case u.Scheme == "smtps" && mode == "":
		// Opportunistic makes the library look whether the connection is encrypted; it is by then, and offers no STARTTLS.
		s.port, s.implicitTLS, s.policy = 465, true, gomail.TLSOpportunistic
	case u.Scheme == "smtps":
		return server{}, errors.New("smtps:// takes no tls parameter")
	case u.Scheme != "smtp":
		return server{}, errors.New("begins with neither smtp:// nor smtps://")
	case mode == "" || mode == "mandatory":
		s.port, s.policy = 587, gomail.TLSMandatory
	case mode == "opportunistic":
		s.port, s.policy = 587, gomail.TLSOpportunistic
	case mode == "none" && s.password != "":
		return server{}, errors.New("a password needs TLS: use tls=mandatory")
	case mode == "none":
		s.port, s.policy = 587, gomail.NoTLS
	default:
		return server{}, errors.New("tls is none of mandatory, opportunistic, none")
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil || s.port < 1 || s.port > 65535 {
			return server{}, errors.New("the port is no number from 1 to 65535")
		}
	}
	return s, nil
}
