package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"garment.id/homecore/platform/api"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	unready := newEdge(t, func(c *api.Config) { c.Ready = func(context.Context) error { return errDatabaseAway } })
	t.Run("is told on any host", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t)
		for _, host := range []string{"localhost", "10.1.2.3:8080", "bukan.example", "konveksi.localhost"} {
			e.request(t, "GET "+host+"/up", "").want(t, 200, "ok")
			e.request(t, "GET "+host+"/ready", "").want(t, 200, "ok")
		}
		e.request(t, "POST /up", "").want(t, 405, "route.method_not_allowed")
	})
	t.Run("is up but not ready while a neighbour is away", func(t *testing.T) {
		t.Parallel()
		unready.request(t, "GET /up", "").want(t, 200, "ok")
		unready.request(t, "GET /ready", "").want(t, 503, "service.unavailable")
	})
	t.Run("is up but not ready once draining", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t)
		e.Drain()
		e.request(t, "GET /up", "").want(t, 200, "ok")
		e.request(t, "GET /ready", "").want(t, 503, "service.unavailable")
	})
}

// served is an edge behind Serve, with a request that runs until it is told to end.
type served struct {
	addr    string
	stop    context.CancelFunc
	done    chan error
	entered chan struct{}
	finish  chan struct{}
}

func newServed(t *testing.T, grace time.Duration) *served {
	t.Helper()
	e := newEdge(t)
	s := &served{done: make(chan error, 1), entered: make(chan struct{}), finish: make(chan struct{})}
	api.Get(e.Router, "/wait", func(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
		close(s.entered)
		select {
		case <-s.finish:
			return api.Done(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, "central.wait", api.Public)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	t.Cleanup(s.stop)
	go func() { s.done <- api.Serve(ctx, l, e.Router, grace) }()
	return s
}

func (s *served) get(t *testing.T, path string) (int, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return 0, err
	}
	req.Host = "localhost"
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestServe(t *testing.T) {
	t.Parallel()
	t.Run("finishes what is in flight, and takes nothing new", func(t *testing.T) {
		t.Parallel()
		s := newServed(t, time.Minute)
		status := make(chan int, 1)
		go func() { code, _ := s.get(t, "/api/v1/wait"); status <- code }()
		<-s.entered
		s.stop()
		for {
			if _, err := s.get(t, "/up"); err != nil {
				break
			}
		}
		close(s.finish)
		if got := <-status; got != 200 {
			t.Errorf("the request in flight got %d", got)
		}
		if err := <-s.done; err != nil {
			t.Error(err)
		}
	})
	t.Run("cuts off what outlasts the grace, and says so", func(t *testing.T) {
		t.Parallel()
		s := newServed(t, time.Millisecond)
		go func() { _, _ = s.get(t, "/api/v1/wait") }()
		<-s.entered
		s.stop()
		if err := <-s.done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("reports a listener that fails", func(t *testing.T) {
		t.Parallel()
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if err := api.Serve(t.Context(), l, http.NotFoundHandler(), time.Second); err == nil {
			t.Error("no error")
		}
	})
}
