// Command benchauth measures what authentication costs: sign-ins next to the bare password hash of the same minute, refreshes and
// reads of the own account through the whole HTTP stack, and for each the statements that go over the wire and the allocations.
// It prints one measure a line, "name value unit", and writes docs/bench/auth.json and docs/performance-auth.md.
//
// The ways take turns in short rounds, so that whatever else the machine does hits all of them alike. Clients, server and Postgres
// share its processors.
package main

import (
	"bytes"
	"context"
	_ "embed" // for the page
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"text/template"
	"time"
)

const (
	clients = 16
	conns   = 8 // to schema central
	output  = "docs/bench/auth.json"
	page    = "docs/performance-auth.md"
)

// measure is one figure and, where there is one, what it is meant to be: at least, or where Most is set at most.
type measure struct {
	Name   string   `json:"name"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Target *float64 `json:"target,omitempty"`
	Most   bool     `json:"at_most,omitempty"`
}

// Met says whether the target is met. A fraction of a statement is the process's own reading, now and then.
func (m measure) Met() string {
	switch {
	case m.Target == nil:
		return ""
	case m.Most && m.Value <= *m.Target+0.05, !m.Most && m.Value >= *m.Target:
		return "met"
	}
	return "missed"
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchauth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	rounds, length := 10, 2*time.Second
	if os.Getenv("BENCH") == "short" {
		rounds, length = 4, time.Second
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()

	ways := []*way{{name: "hash", new: w.hash}, {name: "login", new: w.login}, {name: "refresh", new: w.refresh}, {name: "me", new: w.me}}
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
	hash, login, refresh, me := ways[0], ways[1], ways[2], ways[3]
	measures := []measure{
		{"hash_rate", hash.rate(), "hashes/s", nil, false},
		{"login_rate", login.rate(), "logins/s", nil, false}, {"login_p99", login.percentile(99), "ms", nil, false},
		{"login_to_hash", login.rate() / hash.rate(), "ratio", new(0.95), false},
		{"refresh_rate", refresh.rate(), "refreshes/s", new(2500.0), false}, {"refresh_p99", refresh.percentile(99), "ms", nil, false},
		{"me_rate", me.rate(), "requests/s", new(10_000.0), false}, {"me_p99", me.percentile(99), "ms", nil, false},
	}
	costs, said, err := w.costs(ctx)
	if err != nil {
		return err
	}
	measures = append(measures, costs...)
	for _, m := range measures {
		fmt.Printf("%s %.4g %s %s\n", m.Name, m.Value, m.Unit, m.Met())
	}
	return w.write(measures, said)
}

//go:embed performance.md.tmpl
var pageText string

// write keeps the measures with what they were taken on, and without a date: the history of the file has that.
func (w *world) write(measures []measure, said map[string][]statement) error {
	machine := map[string]any{"cpus": runtime.NumCPU(), "go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH, "postgres": w.postgres}
	report := map[string]any{
		"machine": machine, "setting": map[string]int{"clients": clients, "connections": conns}, "measures": measures, "statements": said,
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	var written bytes.Buffer
	t, err := template.New("page").Funcs(template.FuncMap{"round": func(v float64) string {
		if v >= 100 {
			return fmt.Sprintf("%.0f", v)
		}
		return fmt.Sprintf("%.3g", v)
	}}).Parse(pageText)
	if err != nil {
		return err
	}
	if err := t.Execute(&written, report); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(page, written.Bytes(), 0o644); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	return os.WriteFile(output, append(text, '\n'), 0o644) //nolint:gosec // for everybody to read
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
