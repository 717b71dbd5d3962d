package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// Client is who is at the other end of the connection, proxies set aside.
type Client struct {
	IP        netip.Addr
	UserAgent string // at most 512 bytes of valid UTF-8
}

const maxUserAgent = 512

func (r *Router) clientOf(req *http.Request) Client {
	return Client{IP: clientIP(req, r.config.TrustedProxies), UserAgent: cleanText(req.UserAgent(), maxUserAgent)}
}

// clientIP walks X-Forwarded-For from the right, since only what trusted proxies appended can be believed: the first address
// that is no trusted proxy is the client's.
func clientIP(req *http.Request, trusted []netip.Prefix) netip.Addr {
	ip, ok := parseAddr(req.RemoteAddr)
	if !ok || !contains(trusted, ip) {
		return ip
	}
	lines := req.Header.Values("X-Forwarded-For")
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		for line != "" {
			var hop string
			if comma := strings.LastIndexByte(line, ','); comma >= 0 {
				line, hop = line[:comma], line[comma+1:]
			} else {
				line, hop = "", line
			}
			next, ok := parseAddr(strings.TrimSpace(hop))
			if !ok {
				return ip
			}
			ip = next
			if !contains(trusted, ip) {
				return ip
			}
		}
	}
	return ip
}

// isSecure reports whether the client came by https, itself or by a trusted proxy's word.
func isSecure(req *http.Request, trusted []netip.Prefix) bool {
	if req.TLS != nil {
		return true
	}
	ip, ok := parseAddr(req.RemoteAddr)
	return ok && contains(trusted, ip) && strings.EqualFold(req.Header.Get("X-Forwarded-Proto"), "https")
}

// parseAddr reads an address with or without a port, [bracketed] or not, and forgets its zone.
func parseAddr(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return ip.Unmap().WithZone(""), err == nil
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// cleanText makes what a client says about itself fit for a log or a column.
func cleanText(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}
