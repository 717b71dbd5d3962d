package api

import (
	"net/http"
	"time"

	"garment.id/homecore/platform/locale"
)

// Version of the contract that every envelope names.
const contractVersion = "v1"

var succeeded = locale.Text{ID: "Berhasil.", EN: "Done."}

// Envelope is the body of a successful answer. Handlers fill Data; the edge stamps the rest.
type Envelope[T any] struct {
	Success    bool      `json:"success" enum:"true"`
	Code       string    `json:"code" enum:"ok"`
	Message    string    `json:"message" doc:"For people, in the request's language."`
	RequestID  string    `json:"request_id" doc:"Equal to the X-Request-Id header."`
	Timestamp  time.Time `json:"timestamp"`
	APIVersion string    `json:"api_version" enum:"v1"`
	Data       T         `json:"data"`
}

// ListEnvelope is the body of a page of a list.
type ListEnvelope[T any] struct {
	Success    bool      `json:"success" enum:"true"`
	Code       string    `json:"code" enum:"ok"`
	Message    string    `json:"message" doc:"For people, in the request's language."`
	RequestID  string    `json:"request_id" doc:"Equal to the X-Request-Id header."`
	Timestamp  time.Time `json:"timestamp"`
	APIVersion string    `json:"api_version" enum:"v1"`
	Data       []T       `json:"data"`
	Meta       PageMeta  `json:"meta"`
}

// PageMeta says where the next page begins: NextCursor is nil on the last one.
type PageMeta struct {
	NextCursor *string `json:"next_cursor" doc:"Send it as ?cursor= for the next page; null on the last."`
	Limit      int     `json:"limit" doc:"The most rows a page holds."`
}

// Data is the output of a handler that answers with one thing. A zero Status means the operation's own, see [Status].
type Data[T any] struct {
	Status int
	Body   Envelope[T]
}

// Page is the output of a handler that answers with a page of a list.
type Page[T any] struct {
	Body ListEnvelope[T]
}

// OK answers v with the operation's status, 200 unless the route says otherwise.
func OK[T any](v T) *Data[T] { return &Data[T]{Body: Envelope[T]{Data: v}} }

// Created answers v with 201.
func Created[T any](v T) *Data[T] {
	return &Data[T]{Status: http.StatusCreated, Body: Envelope[T]{Data: v}}
}

// Accepted answers v with 202: what was asked for is not finished yet.
func Accepted[T any](v T) *Data[T] {
	return &Data[T]{Status: http.StatusAccepted, Body: Envelope[T]{Data: v}}
}

// Done answers with nothing to tell: data is {}.
func Done() *Data[struct{}] { return OK(struct{}{}) }

// List answers a page. An empty nextCursor means the last page; nil items are answered as [].
func List[T any](items []T, nextCursor string, limit int) *Page[T] {
	if items == nil {
		items = []T{}
	}
	page := &Page[T]{Body: ListEnvelope[T]{Data: items, Meta: PageMeta{Limit: limit}}}
	if nextCursor != "" {
		page.Body.Meta.NextCursor = &nextCursor
	}
	return page
}

// stamper is an output whose envelope the edge completes once the handler has returned it.
type stamper interface {
	stamp(x *exchange, status int)
}

func (d *Data[T]) stamp(x *exchange, status int) {
	if d.Status == 0 {
		d.Status = status
	}
	e := &d.Body
	e.Success, e.Code, e.Message = true, "ok", succeeded.In(x.language)
	e.RequestID, e.Timestamp, e.APIVersion = x.requestID, x.now(), contractVersion
}

func (p *Page[T]) stamp(x *exchange, _ int) {
	e := &p.Body
	e.Success, e.Code, e.Message = true, "ok", succeeded.In(x.language)
	e.RequestID, e.Timestamp, e.APIVersion = x.requestID, x.now(), contractVersion
}
