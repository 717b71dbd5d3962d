package api

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/cors"
)

// newCORS lets pages of the given origins call; a page on a tenant's own domain counts as one on that tenant's host below the
// base domain, whose origin own returns ("" where there is none). Credentials stay off: tokens travel in the Authorization header, never in cookies
// that a browser would attach by itself.
func newCORS(origins []string, own func(ctx context.Context, origin string) string) *cors.Cors {
	exact := map[string]bool{}
	var patterns [][2]string
	for _, o := range origins {
		o = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(o), "/"))
		if before, after, ok := strings.Cut(o, "*"); ok {
			patterns = append(patterns, [2]string{before, after})
		} else if o != "" {
			exact[o] = true
		}
	}
	allowed := func(origin string) bool {
		if exact[origin] {
			return true
		}
		for _, p := range patterns {
			if label, ok := strings.CutPrefix(origin, p[0]); ok {
				if label, ok = strings.CutSuffix(label, p[1]); ok && isHostName(label) && !strings.Contains(label, ".") {
					return true
				}
			}
		}
		return false
	}
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(req *http.Request, origin string) (bool, []string) {
			origin = strings.ToLower(origin)
			return allowed(origin) || allowed(own(req.Context(), origin)), nil
		},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{"Accept", "Accept-Language", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id"},
		ExposedHeaders: []string{"Content-Language", "Idempotent-Replayed", "Location", "Retry-After", "WWW-Authenticate", "X-Request-Id"},
		MaxAge:         int((10 * time.Minute).Seconds()),
	})
}

// ownOrigin returns the origin below the base domain of the tenant whose own domain a page is on, or "". It has the scheme
// and, as nothing else is served, the port of the base domain.
func (r *Router) ownOrigin(ctx context.Context, origin string) string {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
		return ""
	}
	host := hostName(u.Host)
	if _, port, _ := net.SplitHostPort(r.config.BaseDomain); u.Port() != port || !isHostName(host) || !strings.Contains(host, ".") ||
		host == r.baseHost || strings.HasSuffix(host, "."+r.baseHost) {
		return ""
	}
	tenant, err := r.config.Tenants.Resolve(ctx, host)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + tenant.Slug + "." + strings.ToLower(r.config.BaseDomain)
}
