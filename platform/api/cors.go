package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/rs/cors"
)

// newCORS lets pages of the given origins call. Credentials stay off: tokens travel in the Authorization header, never in cookies
// that a browser would attach by itself.
func newCORS(origins []string) *cors.Cors {
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
	return cors.New(cors.Options{
		AllowOriginFunc: func(origin string) bool {
			origin = strings.ToLower(origin)
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
		},
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{"Accept", "Accept-Language", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-Request-Id"},
		ExposedHeaders: []string{"Content-Language", "Idempotent-Replayed", "Location", "Retry-After", "WWW-Authenticate", "X-Request-Id"},
		MaxAge:         int((10 * time.Minute).Seconds()),
	})
}
