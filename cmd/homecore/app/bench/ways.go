package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"time"

	"github.com/google/uuid"
)

// overHTTP reads on a connection of its own that is kept alive. It writes the request itself: what net/http's client costs is
// no part of serving.
func (w *world) overHTTP(ctx context.Context) (reader, func(), error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.server.Listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	var requests [tenants][]byte
	for i, p := range w.places {
		requests[i] = fmt.Appendf(nil, "GET /api/v1/master-data/taxonomies/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n\r\n",
			p.row, p.host, p.token)
	}
	buffered := bufio.NewReader(conn)
	read := func(_ context.Context, i int) error {
		if _, err := conn.Write(requests[i]); err != nil {
			return err
		}
		answer, err := http.ReadResponse(buffered, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("answered %s", answer.Status)
		}
		return err
	}
	return read, func() { _ = conn.Close() }, nil
}

// throughORM reads with the tenancy driver and GORM, as the handler does.
func (w *world) throughORM(context.Context) (reader, func(), error) {
	return func(_ context.Context, i int) error {
		_, err := w.app.Taxonomies.Get(w.places[i].ctx, w.places[i].row)
		return err
	}, func() {}, nil
}

// raw reads with pgx alone: a prepared statement that names the schema, on one login that may read every tenant.
func (w *world) raw(context.Context) (reader, func(), error) {
	return func(ctx context.Context, i int) error {
		var row struct {
			id                            uuid.UUID
			version                       int64
			created, updated              time.Time
			kind, code, name, description string
			parent, master                *uuid.UUID
			position                      int
			attributes                    map[string]any
			active                        bool
		}
		return w.pool.QueryRow(ctx, w.places[i].sql, w.places[i].row).Scan(&row.id, &row.version, &row.created, &row.updated, &row.kind,
			&row.code, &row.name, &row.parent, &row.description, &row.position, &row.attributes, &row.active, &row.master)
	}, func() {}, nil
}

// allocations returns how many a request makes from the router inwards, one request at a time.
func (w *world) allocations(ctx context.Context) (float64, error) {
	const requests = 2000
	p := w.places[0]
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/master-data/taxonomies/"+p.row.String(), nil)
	req.Host = p.host
	req.Header.Set("Authorization", "Bearer "+p.token)
	answer := &sink{header: http.Header{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		w.app.Router.ServeHTTP(answer, req)
		if answer.status != http.StatusOK {
			return 0, fmt.Errorf("count allocations: answered %d", answer.status)
		}
		clear(answer.header)
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / requests, nil
}

// sink is an answer that nobody reads.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }
