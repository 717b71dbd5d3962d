package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"garment.id/homecore/platform/fault"
)

// statusClientGone is what the access log shows for an answer nobody waited for; it is never seen by a client.
const statusClientGone = 499

// maxWrongFields bounds the answer to a body that is wrong all over.
const maxWrongFields = 100

// Failure is the body of every answer that is no success.
type Failure struct {
	Success    bool                `json:"success" enum:"false"`
	Code       string              `json:"code" doc:"Stable; branch on it."`
	Message    string              `json:"message" doc:"For people, in the request's language."`
	RequestID  string              `json:"request_id" doc:"Equal to the X-Request-Id header."`
	Timestamp  time.Time           `json:"timestamp"`
	APIVersion string              `json:"api_version" enum:"v1"`
	Errors     map[string][]string `json:"errors,omitempty" doc:"What is wrong, by field: a dotted path such as lines.0.quantity."`
	Data       any                 `json:"data,omitempty" doc:"What helps to go on, by code."`
	status     int
}

// Error returns the code.
func (f *Failure) Error() string { return f.Code }

// GetStatus returns the HTTP status.
func (f *Failure) GetStatus() int { return f.status }

func statusOf(k fault.Kind) int {
	switch k {
	case fault.Malformed:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.PaymentRequired:
		return http.StatusPaymentRequired
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.UnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case fault.Invalid:
		return http.StatusUnprocessableEntity
	case fault.RateLimited:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// failure turns err into the answer, the only place where that is done, and logs what the client is not told.
func (x *exchange) failure(ctx context.Context, err error) *Failure {
	f, isFault := fault.From(err)
	switch {
	case isFault && f.Kind() == fault.Internal:
		x.logError(ctx, slog.LevelError, "request failed", err)
		f = fault.ServerError
	case isFault && f.Kind() == fault.Unavailable && f.Unwrap() != nil:
		x.logError(ctx, slog.LevelWarn, "service unavailable", err)
	case isFault:
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		failure := x.compose(fault.ServiceUnavailable)
		failure.status = statusClientGone
		return failure
	case x.router.config.Unavailable(err):
		x.logError(ctx, slog.LevelWarn, "service unavailable", err)
		f = fault.ServiceUnavailable
	default:
		x.logError(ctx, slog.LevelError, "request failed", err)
		f = fault.ServerError
	}
	return x.compose(f)
}

// compose writes f's headers and returns its body.
func (x *exchange) compose(f *fault.Fault) *Failure {
	failure := &Failure{
		Code: f.Code(), Message: f.Text().In(x.language), RequestID: x.requestID, Timestamp: x.now(), APIVersion: contractVersion,
		Data: f.Data(), status: statusOf(f.Kind()),
	}
	for field, texts := range f.Fields() {
		for _, text := range texts {
			failure.add(field, text.In(x.language))
		}
	}

	h := x.ResponseWriter.Header()
	h.Set("Cache-Control", "no-store")
	wait := f.RetryAfter()
	if wait == 0 && f.Is(fault.ServiceUnavailable) {
		wait = time.Second
	}
	if wait > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	if f.Kind() == fault.Unauthenticated {
		// RFC 6750 §3: the error is named only where a token was presented.
		challenge := "Bearer"
		if x.bearer {
			challenge = `Bearer error="invalid_token"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	return failure
}

func (f *Failure) add(field, text string) {
	if f.Errors == nil {
		f.Errors = map[string][]string{}
	}
	for _, known := range f.Errors[field] {
		if known == text {
			return
		}
	}
	f.Errors[field] = append(f.Errors[field], text)
}

// invalid answers 422 with what is wrong with each field.
func (x *exchange) invalid(wrong []wrongField) *Failure {
	failure := x.compose(fault.ValidationFailed)
	for _, w := range wrong {
		if len(failure.Errors) == maxWrongFields {
			break
		}
		failure.add(cleanText(w.field, maxFieldName), w.text.In(x.language))
	}
	return failure
}

// fail answers err where huma is not there to do it: before routing, and before the input is parsed.
func (x *exchange) fail(ctx context.Context, err error) {
	failure := x.failure(ctx, err)
	if x.status != 0 {
		return
	}
	x.answer(failure.status, failure)
}

func (x *exchange) answer(status int, body any) {
	x.ResponseWriter.Header().Set("Content-Type", jsonMedia)
	x.WriteHeader(status)
	_ = marshalJSON(x, body) // what can go wrong is the connection, which is the client's loss
}

func (x *exchange) logError(ctx context.Context, level slog.Level, message string, err error) {
	attrs := make([]slog.Attr, 0, 5)
	attrs = append(attrs, slog.String("request_id", x.requestID))
	if x.operation != nil {
		attrs = append(attrs, slog.String("operation", x.operation.Name))
	}
	if x.tenant != nil {
		attrs = append(attrs, slog.String("tenant", x.tenant.Slug), slog.String("tenant_id", x.tenant.ID.String()))
	}
	attrs = append(attrs, slog.Any("error", err))
	x.router.config.Logger.LogAttrs(ctx, level, message, attrs...)
}

// bareFailure is what huma asks for when it describes errors.
func bareFailure(status int, _ string, _ ...error) huma.StatusError {
	return &Failure{Code: fault.ServerError.Code(), APIVersion: contractVersion, status: status}
}

// humaFailure translates what huma finds wrong with a request. Its texts quote values and Go types, so none is passed on.
func humaFailure(hc huma.Context, status int, message string, errs ...error) huma.StatusError {
	x := exchangeFrom(hc.Context())
	switch status {
	case http.StatusUnprocessableEntity:
		wrong, unknownPath := wrongFields(errs)
		if unknownPath {
			return x.compose(fault.ResourceNotFound)
		}
		return x.invalid(append(wrong, x.wrong...))
	case http.StatusRequestEntityTooLarge:
		return x.compose(fault.RequestTooLarge)
	case http.StatusUnsupportedMediaType:
		return x.compose(fault.MediaUnsupported)
	case http.StatusBadRequest, http.StatusRequestTimeout:
		return x.compose(fault.RequestMalformed)
	}
	if message == "cannot read request body" { // the client went away, or its chunks are broken
		return x.compose(fault.RequestMalformed)
	}
	return x.failure(hc.Context(), errors.Join(append([]error{errors.New(message)}, errs...)...))
}
