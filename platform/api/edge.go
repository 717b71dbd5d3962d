package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
)

// ServeHTTP answers one request, whatever comes: every refusal and every panic wears the envelope.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := &exchange{
		ResponseWriter: w, router: r, begun: time.Now(), method: req.Method, header: req.Header,
		requestID: requestID(req.Header.Get("X-Request-Id")), language: languageOf(req),
		client: r.clientOf(req), secure: isSecure(req, r.config.TrustedProxies),
	}
	ctx := locale.With(context.WithValue(req.Context(), exchangeKey{}, x), x.language)
	req = req.WithContext(ctx)
	if req.Method == http.MethodHead {
		req.Method = http.MethodGet // of a copy: the server itself leaves out the body
	}
	x.setHeaders(req)

	r.metrics.inFlight.Inc()
	defer func() {
		r.metrics.inFlight.Dec()
		aborted := x.recovered(ctx, recover())
		x.account(ctx, req)
		if aborted {
			panic(http.ErrAbortHandler) // tells net/http to cut the connection, so that the client sees that the answer is incomplete
		}
	}()
	r.cors.ServeHTTP(x, req, r.dispatch)
}

// dispatch chooses the surface by the host.
func (r *Router) dispatch(_ http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	x := exchangeFrom(ctx)
	switch path := req.URL.Path; {
	case path == "/up" || path == "/ready":
		r.serveHealth(x, req) // on any host: probes use addresses
		return
	case strings.IndexByte(path, 0) >= 0 || !utf8.ValidString(path):
		x.fail(ctx, fault.RequestMalformed)
		return
	}

	host := hostName(req.Host)
	if r.isBase(host) {
		if r.config.Pages != nil {
			if page, pattern := r.config.Pages.Handler(req); pattern != "" {
				page.ServeHTTP(x, req)
				return
			}
		}
		r.core.engine.ServeHTTP(x, req)
		return
	}
	if !isHostName(host) {
		x.fail(ctx, TenantUnknown)
		return
	}
	tenant, err := r.config.Tenants.Resolve(ctx, host)
	if err != nil {
		x.fail(ctx, err)
		return
	}
	x.tenant = &tenant
	r.tenants.engine.ServeHTTP(x, req)
}

// setHeaders sets what every answer carries; handlers of pages loosen the policy for themselves.
func (x *exchange) setHeaders(req *http.Request) {
	h := x.ResponseWriter.Header()
	h.Set("X-Request-Id", x.requestID)
	h.Set("Content-Language", string(x.language))
	h.Add("Vary", "Accept-Language")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if x.secure {
		policy := "max-age=31536000"
		if host := hostName(req.Host); host == x.router.baseHost || strings.HasSuffix(host, "."+x.router.baseHost) {
			policy += "; includeSubDomains" // what is below a tenant's own domain is not ours to decide
		}
		h.Set("Strict-Transport-Security", policy)
	}
	if strings.HasPrefix(req.URL.Path, "/api") {
		h.Set("Cache-Control", "no-store")
	}
}

// recovered turns a panic into a 500. It reports whether the answer had begun, so that it can only be cut off.
func (x *exchange) recovered(ctx context.Context, panicked any) (aborted bool) {
	if panicked == nil {
		return false
	}
	if err, ok := panicked.(error); ok && err == http.ErrAbortHandler { //nolint:errorlint // net/http compares it by identity too
		return true
	}
	begun := x.status != 0
	x.fail(ctx, fmt.Errorf("panic: %v\n%s", panicked, debug.Stack()))
	return begun
}

// account writes the request to the access log and the metrics. Neither learns the query, a header or a body.
func (x *exchange) account(ctx context.Context, req *http.Request) {
	took := time.Since(x.begun)
	x.meter().observe(x.status, took)

	level := slog.LevelInfo
	if req.URL.Path == "/up" || req.URL.Path == "/ready" {
		level = slog.LevelDebug
	}
	log := x.router.config.Logger
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("method", x.method))
	if x.operation != nil {
		attrs = append(attrs, slog.String("route", x.operation.Path))
	} else {
		attrs = append(attrs, slog.String("path", cleanText(req.URL.Path, 256)))
	}
	attrs = append(attrs,
		slog.Int("status", x.status), slog.Int64("bytes", x.bytes), slog.Duration("took", took),
		slog.String("request_id", x.requestID), slog.Any("ip", x.client.IP))
	if x.tenant != nil {
		attrs = append(attrs, slog.String("tenant", x.tenant.Slug), slog.String("tenant_id", x.tenant.ID.String()))
	}
	if x.principal != nil {
		attrs = append(attrs, slog.Any("user", x.principal.UserID))
		if x.principal.Impersonated() {
			attrs = append(attrs, slog.Any("actor", x.principal.ActorID))
		}
	}
	log.LogAttrs(ctx, level, "request", attrs...)
}

// languageOf returns the language of ?lang=, else of Accept-Language, else Indonesian.
func languageOf(req *http.Request) locale.Language {
	if strings.Contains(req.URL.RawQuery, "lang=") {
		if l, ok := locale.Parse(req.URL.Query().Get("lang")); ok {
			return l
		}
	}
	if accept := req.Header.Get("Accept-Language"); accept != "" {
		return locale.Negotiate(accept)
	}
	return locale.ID
}

// requestID keeps a well-formed id that came with the request, since it joins our log to the caller's.
func requestID(incoming string) string {
	if wellFormedID(incoming) {
		return incoming
	}
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("api: no random numbers for a request id: %v", err))
	}
	return id.String()
}

func wellFormedID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
