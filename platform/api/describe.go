package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// anyServer stands in the cached document for the host it is asked on.
const anyServer = "https://server.invalid"

// describe returns the operation as huma registers and documents it.
func (o *operation) describe() huma.Operation {
	op := huma.Operation{
		OperationID: o.Name, Method: o.Method, Path: o.Path,
		Summary: o.summary, Description: o.description, Tags: []string{o.tag()},
		DefaultStatus: o.status,
		MaxBodyBytes:  o.maxBody + 1, // huma refuses a body of exactly its limit
		// Without a deadline a client could hold a handler by sending its body byte by byte.
		BodyReadTimeout: o.router.config.BodyTimeout,
		Errors:          o.failures(),
		Middlewares:     huma.Middlewares{o.guard},
		Extensions:      map[string]any{"x-access": o.Rule.String()},
		Parameters: []*huma.Param{{
			Name: "lang", In: "query", Description: "Language of texts; default: Accept-Language, else id.",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"id", "en"}},
		}},
	}
	if op.Summary == "" {
		op.Summary = o.words()
	}
	if p := o.Rule.Permission(); p != "" {
		op.Description = strings.TrimSpace(op.Description + "\n\nPermission: `" + p + "`.")
	}
	if o.Rule.who != anyone {
		op.Security = []map[string][]string{{"bearer": {}}}
	}
	return op
}

// failures lists the statuses, beside success, that the operation may answer.
func (o *operation) failures() []int {
	statuses := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if o.Rule.who != anyone {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden)
	}
	if o.Method != http.MethodGet {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusConflict)
	}
	if o.hasBody {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	slices.Sort(statuses)
	return slices.Compact(statuses)
}

// tag is the group of the name: Master data of central.master-data.taxonomies.list.
func (o *operation) tag() string {
	parts := strings.Split(o.Name, ".")
	if len(parts) < 3 { // central.jwks: of the whole surface
		return "General"
	}
	return sentence(parts[1])
}

// words says the name in words: Taxonomies list of central.master-data.taxonomies.list.
func (o *operation) words() string {
	parts := strings.Split(o.Name, ".")
	if len(parts) > 2 {
		parts = parts[2:]
	}
	return sentence(strings.Join(parts, " "))
}

func sentence(s string) string {
	s = strings.ReplaceAll(s, "-", " ")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// complete adds to a registered operation's answers what huma cannot derive: the other statuses of success, and the failure that
// any answer not listed wears.
func (o *operation) complete(doc *huma.OpenAPI) {
	refineSchemas(doc.Components.Schemas)
	item := doc.Paths[o.Path]
	op := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete,
	}[o.Method]
	for _, p := range op.Parameters {
		if slices.Contains(o.uuids, p.Name) {
			p.Schema.Format = "uuid"
		}
	}
	success := op.Responses[strconv.Itoa(o.status)]
	for _, status := range o.otherStatuses {
		r := &huma.Response{Description: http.StatusText(status)}
		if success != nil && status < http.StatusMultipleChoices {
			r.Content = success.Content
		}
		op.Responses[strconv.Itoa(status)] = r
	}
	failure := op.Responses[strconv.Itoa(http.StatusInternalServerError)]
	op.Responses["default"] = &huma.Response{Description: "Failure", Content: failure.Content}
	text := &huma.Schema{Type: huma.TypeString}
	for status, header := range map[int]string{
		http.StatusUnauthorized: "WWW-Authenticate", http.StatusTooManyRequests: "Retry-After", http.StatusServiceUnavailable: "Retry-After",
	} {
		if r := op.Responses[strconv.Itoa(status)]; r != nil {
			r.Headers = map[string]*huma.Header{header: {Schema: text}}
		}
	}
}

// marshalDocument renders the document once, after the last registration.
func (s *side) marshalDocument() ([]byte, error) {
	doc := s.api.OpenAPI()
	doc.Servers = []*huma.Server{{URL: anyServer}}
	return json.Marshal(doc)
}
