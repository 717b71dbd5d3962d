package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/platform/api"
)

type serveCommand struct{}

func (*serveCommand) Run(c *console) error {
	a, log, err := build(c)
	if err != nil {
		return err
	}
	defer a.Close()
	l, err := (&net.ListenConfig{}).Listen(c.ctx, "tcp", a.Config.Listen)
	if err != nil {
		return fmt.Errorf("%sLISTEN: %w", app.Prefix, err)
	}
	log.Info("serving", "address", l.Addr().String(), "base_domain", a.Config.BaseDomain)
	g, ctx := errgroup.WithContext(c.ctx)
	g.Go(func() error { return api.Serve(ctx, l, a.Router, a.Config.ShutdownGrace) })
	g.Go(func() error { return serveMetrics(ctx, a, log) })
	return g.Wait()
}

// build makes the app from the environment alone, as production runs it.
func build(c *console) (*app.App, *slog.Logger, error) {
	config, err := app.Load(c.environ)
	if err != nil {
		return nil, nil, err
	}
	log, err := newLog(c.err, config.Log, config.LogLevel)
	if err != nil {
		return nil, nil, err
	}
	a, err := app.New(c.ctx, config, app.Options{Version: buildVersion(), Log: log})
	return a, log, err
}

type workCommand struct{}

func (*workCommand) Run(c *console) error {
	a, log, err := build(c)
	if err != nil {
		return err
	}
	defer a.Close()
	g, ctx := errgroup.WithContext(c.ctx)
	g.Go(func() error { return work(ctx, a) })
	g.Go(func() error { return serveMetrics(ctx, a, log) })
	log.Info("working", "workers", a.Config.Jobs.Workers)
	return g.Wait()
}

// work runs jobs until ctx ends, then lets the running ones finish.
func work(ctx context.Context, a *app.App) error {
	// Not ctx: ending it asks for a clean end, and River would cancel what is running.
	if err := a.Runner.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Config.ShutdownGrace)
	defer cancel()
	return a.Runner.Stop(stopping)
}

// serveMetrics serves /metrics on its own port until ctx ends; where that is off it only waits.
func serveMetrics(ctx context.Context, a *app.App, log *slog.Logger) error {
	if a.Config.MetricsListen == "off" {
		<-ctx.Done()
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.Config.MetricsListen)
	if err != nil {
		return fmt.Errorf("%sMETRICS_LISTEN: %w", app.Prefix, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", api.MetricsHandler(a.Metrics))
	log.Info("metrics", "address", "http://"+l.Addr().String()+"/metrics")
	err = api.Serve(ctx, l, mux, 0)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // a scrape was cut off; nothing is lost
	}
	return err
}
