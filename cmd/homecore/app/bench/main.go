// Command bench measures what a request of a tenant costs, next to the least that the same read can cost on the same machine
// in the same minute. It prints one measure a line, "name value unit", and writes them to docs/bench/http.json.
//
// The ways of reading take turns in short rounds, so that whatever else the machine does hits all of them alike. Clients and
// server share its processors: compare the ratios, not the rates, with those of another machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"
)

const (
	tenants = 8
	clients = 16
	groups  = 2
	conns   = 8 // to the tenants, in all; the raw pool has as many
	output  = "docs/bench/http.json"
)

type measure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	rounds, length := 20, 2*time.Second
	if os.Getenv("BENCH") == "short" {
		rounds, length = 8, time.Second
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	ways := []*way{{name: "http", new: w.overHTTP}, {name: "orm", new: w.throughORM}, {name: "raw", new: w.raw}}
	for round := range rounds + 1 {
		for _, v := range ways {
			if err := v.run(ctx, length); err != nil {
				return fmt.Errorf("measure %s: %w", v.name, err)
			}
			if round == 0 { // connections were made and statements prepared: no part of what is measured
				v.reset()
			}
		}
	}
	allocations, err := w.allocations(ctx)
	if err != nil {
		return err
	}
	http, orm, raw := ways[0], ways[1], ways[2]
	measures := []measure{
		{"http_read_rate", http.rate(), "requests/s"}, {"http_read_p50", http.percentile(50), "ms"}, {"http_read_p99", http.percentile(99), "ms"},
		{"orm_read_rate", orm.rate(), "reads/s"}, {"orm_read_p99", orm.percentile(99), "ms"},
		{"raw_read_rate", raw.rate(), "reads/s"}, {"raw_read_p99", raw.percentile(99), "ms"},
		{"http_to_raw", http.rate() / raw.rate(), "ratio"}, {"orm_to_raw", orm.rate() / raw.rate(), "ratio"},
		{"http_allocations", allocations, "allocs/request"},
	}
	for _, m := range measures {
		fmt.Printf("%s %.4g %s\n", m.Name, m.Value, m.Unit)
	}
	return w.write(ctx, measures)
}

// write keeps the measures with what they were taken on, and without a date: the history of the file has that.
func (w *world) write(ctx context.Context, measures []measure) error {
	var postgres string
	if err := w.pool.QueryRow(ctx, "show server_version").Scan(&postgres); err != nil {
		return fmt.Errorf("ask for the version of Postgres: %w", err)
	}
	text, err := json.MarshalIndent(map[string]any{
		"machine": map[string]any{
			"cpus": runtime.NumCPU(), "go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH, "postgres": postgres,
		},
		"setting":  map[string]int{"tenants": tenants, "clients": clients, "connections": conns},
		"measures": measures,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	return os.WriteFile(output, append(text, '\n'), 0o644) //nolint:gosec // for everybody to read
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
