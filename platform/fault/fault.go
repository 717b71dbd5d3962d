// Package fault is how a refusal is said: one type, declared once with its stable code and its text in both languages,
// wrapped freely on its way up, and turned into an HTTP answer at one place, package api.
//
//	var CodeUsed = fault.New(fault.Conflict, "taxonomies.code_used", "Kode sudah dipakai.", "The code is already in use.")
//
// An error that is no fault is a bug or a broken neighbour: clients learn nothing of it but its request id.
package fault

import (
	"errors"
	"maps"
	"time"

	"garment.id/homecore/platform/locale"
)

// Kind says what sort of refusal it is; package api gives each its HTTP status.
type Kind uint8

const (
	Internal         Kind = iota // 500: ours to mend
	Malformed                    // 400: cannot be read at all
	Unauthenticated              // 401: who are you?
	PaymentRequired              // 402: the plan does not include it
	Forbidden                    // 403: not you, or not here
	NotFound                     // 404
	Conflict                     // 409: the state of things forbids it
	TooLarge                     // 413
	UnsupportedMedia             // 415
	Invalid                      // 422: fields are wrong
	RateLimited                  // 429: wait
	Unavailable                  // 503: try again
	MethodNotAllowed             // 405
)

// Fault is a refusal. It is immutable: the With methods return copies, so that a declared fault can be shared.
type Fault struct {
	kind       Kind
	code       string
	text       locale.Text
	fields     map[string][]locale.Text
	data       any
	retryAfter time.Duration
	cause      error
}

// New declares a fault. Code is stable English that clients branch on; id and en are what people read.
func New(kind Kind, code, id, en string) *Fault {
	return &Fault{kind: kind, code: code, text: locale.Text{ID: id, EN: en}}
}

// Kind returns what sort of refusal it is.
func (f *Fault) Kind() Kind { return f.kind }

// Code returns the stable code.
func (f *Fault) Code() string { return f.code }

// Text returns the message in both languages.
func (f *Fault) Text() locale.Text { return f.text }

// Fields returns, for each wrong field (a dotted path such as lines.0.quantity), what is wrong with it.
func (f *Fault) Fields() map[string][]locale.Text { return f.fields }

// Data returns what the client may use to go on, such as the upgrade that would allow the request; nil mostly.
func (f *Fault) Data() any { return f.data }

// RetryAfter returns how long to wait before trying again; zero where waiting does not help.
func (f *Fault) RetryAfter() time.Duration { return f.retryAfter }

// Error returns the code and the cause, for logs; never for clients.
func (f *Fault) Error() string {
	if f.cause != nil {
		return f.code + ": " + f.cause.Error()
	}
	return f.code
}

// Unwrap returns the cause given to WithCause.
func (f *Fault) Unwrap() error { return f.cause }

// Is reports whether target is a fault of the same code, whatever fields or cause either carries.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault) //nolint:errorlint // Is is called by errors.Is, which does the unwrapping
	return ok && t.code == f.code
}

// WithField returns a copy that also says what is wrong with a field.
func (f *Fault) WithField(field, id, en string) *Fault {
	c := *f
	c.fields = maps.Clone(f.fields)
	if c.fields == nil {
		c.fields = map[string][]locale.Text{}
	}
	c.fields[field] = append(c.fields[field][:len(c.fields[field]):len(c.fields[field])], locale.Text{ID: id, EN: en})
	return &c
}

// WithData returns a copy that carries data for the client.
func (f *Fault) WithData(data any) *Fault {
	c := *f
	c.data = data
	return &c
}

// WithRetryAfter returns a copy that tells the client how long to wait.
func (f *Fault) WithRetryAfter(d time.Duration) *Fault {
	c := *f
	c.retryAfter = d
	return &c
}

// WithCause returns a copy that remembers err for the log.
func (f *Fault) WithCause(err error) *Fault {
	c := *f
	c.cause = err
	return &c
}

// From returns the fault inside err, if there is one.
func From(err error) (*Fault, bool) {
	var f *Fault
	ok := errors.As(err, &f)
	return f, ok
}

// The refusals that every part of the system may give; codes as in the contract.
var (
	ServerError        = New(Internal, "server.error", "Terjadi kesalahan pada server.", "Something went wrong on our side.")
	RequestMalformed   = New(Malformed, "request.malformed", "Permintaan tidak dapat dibaca.", "The request cannot be read.")
	Unauthorized       = New(Unauthenticated, "auth.unauthenticated", "Silakan masuk terlebih dahulu.", "Please sign in first.")
	AccessDenied       = New(Forbidden, "access.denied", "Anda tidak memiliki akses.", "You do not have access.")
	ResourceNotFound   = New(NotFound, "resource.not_found", "Data tidak ditemukan.", "Not found.")
	RouteNotFound      = New(NotFound, "route.not_found", "Alamat tidak ditemukan.", "There is nothing at this address.")
	MethodRefused      = New(MethodNotAllowed, "route.method_not_allowed", "Metode tidak didukung pada alamat ini.", "This address does not support that method.")
	ResourceStale      = New(Conflict, "resource.stale", "Data telah diubah oleh orang lain. Muat ulang lalu coba lagi.", "Somebody else has changed this. Reload and try again.")
	ResourceConflict   = New(Conflict, "resource.conflict", "Data bertentangan dengan data yang ada.", "This conflicts with what is there already.")
	RequestTooLarge    = New(TooLarge, "request.too_large", "Permintaan terlalu besar.", "The request is too large.")
	MediaUnsupported   = New(UnsupportedMedia, "request.unsupported_media_type", "Kirimkan permintaan sebagai application/json.", "Send the request as application/json.")
	ValidationFailed   = New(Invalid, "validation.failed", "Data yang diberikan tidak valid.", "The given data is not valid.")
	TooManyRequests    = New(RateLimited, "rate_limited", "Terlalu banyak percobaan. Coba lagi nanti.", "Too many attempts. Try again later.")
	ServiceUnavailable = New(Unavailable, "service.unavailable", "Layanan sedang tidak tersedia. Coba lagi sebentar lagi.", "The service is unavailable for a moment. Try again shortly.")
)
