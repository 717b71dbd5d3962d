package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/locale"
)

// exchange is one request and its answer: what the edge has learnt so far, and the writer that remembers what was sent.
// It is the one value the edge puts into the request's context.
type exchange struct {
	http.ResponseWriter
	router *Router
	begun  time.Time
	status int // 0 until the header is written
	bytes  int64

	method    string // as sent: HEAD is routed as GET
	requestID string
	language  locale.Language
	client    Client
	secure    bool // the client came by https
	tenant    *Tenant
	operation *operation
	principal *Principal
	bearer    bool         // the answer is about a token that was presented
	wrong     []wrongField // found before the handler's input was parsed
	header    http.Header  // the request's
}

type exchangeKey struct{}

func exchangeFrom(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// now is the answer's time: UTC, in whole seconds as the contract shows it.
func (x *exchange) now() time.Time { return x.router.config.Clock().UTC().Truncate(time.Second) }

// WriteHeader sends the header once; later calls are gin finishing what the edge has answered already.
func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	if status >= http.StatusOK {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write sends part of the body.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Flush sends what is buffered.
func (x *exchange) Flush() { _ = http.NewResponseController(x.ResponseWriter).Flush() }

// Principal is who a token speaks for.
type Principal struct {
	UserID            uuid.UUID
	SessionID         uuid.UUID
	TenantID          uuid.UUID // zero in a central token
	TenantSlug        string
	MembershipVersion int64
	TokenID           string
	AuthTime          time.Time
	IssuedAt          time.Time
	ExpiresAt         time.Time
	AMR               []string
	ActorID           uuid.UUID // the operator who acts in the user's place (RFC 8693's act); zero: the user themselves
	ActorSessionID    uuid.UUID // by which of the operator's sessions
}

// Central reports whether the token is a central one, of no tenant.
func (p Principal) Central() bool { return p.TenantID == uuid.Nil }

// Impersonated reports whether an operator acts in the user's place. Such a token may look, and change nothing.
func (p Principal) Impersonated() bool { return p.ActorID != uuid.Nil }

// PrincipalFrom returns who is calling; ok is false on public operations.
func PrincipalFrom(ctx context.Context) (p Principal, ok bool) {
	if x := exchangeFrom(ctx); x != nil && x.principal != nil {
		return *x.principal, true
	}
	return Principal{}, false
}

// MustPrincipal returns who is calling. It panics on a public operation, where that is not known.
func MustPrincipal(ctx context.Context) Principal {
	p, ok := PrincipalFrom(ctx)
	if !ok {
		panic("api: MustPrincipal outside an operation that asks for a token")
	}
	return p
}

// RequestID returns the id of the request ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	if x := exchangeFrom(ctx); x != nil {
		return x.requestID
	}
	return ""
}

// ClientFrom returns the client of the request ctx belongs to, or the zero Client.
func ClientFrom(ctx context.Context) Client {
	if x := exchangeFrom(ctx); x != nil {
		return x.client
	}
	return Client{}
}

// HostTenant returns the tenant the host names; ok is false on the base domain.
func HostTenant(ctx context.Context) (t Tenant, ok bool) {
	if x := exchangeFrom(ctx); x != nil && x.tenant != nil {
		return *x.tenant, true
	}
	return Tenant{}, false
}

// Header returns the headers of the answer, for a handler that sets more than its output says, such as a cookie.
func Header(ctx context.Context) http.Header {
	if x := exchangeFrom(ctx); x != nil {
		return x.ResponseWriter.Header()
	}
	return http.Header{}
}
