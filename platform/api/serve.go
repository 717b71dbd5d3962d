package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Serve answers requests on l with h until ctx is done. Then it takes no new connections, makes /ready answer 503 (if h is a
// [Router]), lets what is in flight finish for up to grace, and returns nil; requests that last longer are cut off and reported.
func Serve(ctx context.Context, l net.Listener, h http.Handler, grace time.Duration) error {
	// Requests outlive ctx: ending it asks for a clean end, not for an abrupt one.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}

	if d, ok := h.(interface{ Drain() }); ok {
		d.Drain()
	}
	patience, done := context.WithTimeout(base, grace)
	defer done()
	err := server.Shutdown(patience)
	if err != nil {
		cancel()
		err = fmt.Errorf("requests still running after %s: %w", grace, errors.Join(err, server.Close()))
	}
	<-served //nolint:errcheck // http.ErrServerClosed: it was asked to
	return err
}
