package api

import (
	"net"
	"strings"
)

// hostName returns the name in a Host header: lower case, without port and trailing dot.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isBase reports whether host is the base domain. In development 127.0.0.1 and ::1 are the same machine.
func (r *Router) isBase(host string) bool {
	return host == r.baseHost || isDevelopment(r.baseHost) && (host == "127.0.0.1" || host == "::1")
}

func isDevelopment(baseHost string) bool { return baseHost == "localhost" }

// isHostName reports whether host can be a name at all (RFC 1123 §2.1), so that no lookup is spent on what cannot.
func isHostName(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
