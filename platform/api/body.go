package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"garment.id/homecore/platform/fault"
)

const jsonMedia = "application/json"

// inspect checks what huma does not: parameters nobody declared, text the database would refuse, the body's type and size.
func (o *operation) inspect(x *exchange, hc huma.Context) error {
	req := humagin.Unwrap(hc).Request
	if err := o.inspectQuery(x, req.URL); err != nil {
		return err
	}
	for _, name := range o.headers {
		if !isText(req.Header.Get(name)) {
			return fault.RequestMalformed
		}
	}
	if !o.hasBody || req.ContentLength == 0 {
		return nil
	}
	if !o.anyMedia {
		if !isJSON(req.Header.Get("Content-Type")) {
			return fault.MediaUnsupported
		}
		req.Header.Set("Content-Type", jsonMedia) // the one spelling huma looks up
	}
	if req.ContentLength > o.maxBody {
		return fault.RequestTooLarge
	}
	return nil
}

func (o *operation) inspectQuery(x *exchange, u *url.URL) error {
	if u.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fault.RequestMalformed
	}
	for name, values := range query {
		switch {
		case name == "lang":
		case !slices.Contains(o.query, name):
			if o.anyQuery {
				continue
			}
			x.wrong = append(x.wrong, wrongField{field: name, text: textUnknownParameter})
		case !slices.ContainsFunc(values, func(v string) bool { return !isText(v) }):
		default:
			x.wrong = append(x.wrong, wrongField{field: name, text: textInvalid})
		}
	}
	return nil
}

// isJSON reports whether a Content-Type is JSON in UTF-8, the only JSON there is (RFC 8259 §8.1).
func isJSON(contentType string) bool {
	if contentType == jsonMedia {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != jsonMedia {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// unmarshalJSON decodes a body. Huma calls it twice: into an any, to validate, and into the input's type.
func unmarshalJSON(data []byte, v any) error {
	if _, first := v.(*any); first {
		if err := checkJSON(data); err != nil {
			return err
		}
		return json.Unmarshal(data, v)
	}
	err := json.Unmarshal(data, v)
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) {
		return unfitError(mistyped.Field)
	}
	return err
}

// unfitError says that a value passed the schema but not the Go type, such as a number too large for it. It is what is left of
// encoding/json's error after huma has made a text of it.
type unfitError string

const unfitPrefix = "unfit:"

func (e unfitError) Error() string { return unfitPrefix + string(e) }

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// marshalJSON writes v at once. It panics if v has no JSON, before anything is sent, so that the edge can still answer 500.
func marshalJSON(w io.Writer, v any) error {
	b := buffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= 1<<20 {
			b.Reset()
			buffers.Put(b)
		}
	}()
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Errorf("encode the answer: %w", err))
	}
	if rw, ok := w.(http.ResponseWriter); ok {
		rw.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	}
	_, _ = w.Write(b.Bytes()) // fails when the client has gone, which is no failure of ours
	return nil
}
