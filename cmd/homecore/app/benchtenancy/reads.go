package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// station is a way that is open: its connections live as long as it does.
type station struct {
	way
	client      client
	application string
}

// measure is what came out for one way in one cell.
type measure struct {
	cell
	Way      string    `json:"way"`
	Rates    []float64 `json:"rates"`               // requests a second, of each round
	Rate     float64   `json:"rate"`                // their median
	P50      float64   `json:"p50_ms"`              // of all requests
	P99      float64   `json:"p99_ms"`              //
	CPU      float64   `json:"cpu_us"`              // of client and server, per request
	Mallocs  float64   `json:"allocations"`         // of the client, per request
	Memory   float64   `json:"memory_mb,omitempty"` // private, of a backend, after the last round
	Backends int       `json:"backends"`
}

// plan is what is measured of a world with n tenants, in this order: memory is asked for after the first, whose connections
// have then done nothing else, and after the one that touches all tables.
func (o options) plan(n int) []cell {
	if o.chosen {
		var out []cell
		for _, op := range o.ops {
			for _, tables := range o.tables {
				for _, dist := range o.dists {
					for _, clients := range o.clients {
						out = append(out, cell{Op: op, Tenants: n, Dist: dist, Clients: clients, Tables: tables, rounds: o.rounds, warm: o.warmUp(n)})
					}
				}
			}
		}
		return out
	}
	first := cell{Op: "read", Tenants: n, Dist: "uniform", Clients: 16, Tables: "one", rounds: o.rounds, warm: o.warmUp(n)}
	out := []cell{first}
	add := func(change func(c *cell)) {
		c := first
		c.rounds, c.warm = max(2, o.rounds-1), first.warm/4
		change(&c)
		out = append(out, c)
	}
	last := o.sizes[len(o.sizes)-1]
	if n >= 1000 || n == last {
		add(func(c *cell) { c.Dist, c.warm, c.rounds = "zipf", first.warm/2, o.rounds })
	}
	if n == 1000 || n == last && n < 1000 {
		add(func(c *cell) { c.Clients = 64 })
		add(func(c *cell) { c.Op = "write" })
		add(func(c *cell) { c.Op = "transaction" })
	}
	if n == 100 || n == 1000 || n == last && n < 1000 {
		add(func(c *cell) { c.Tables, c.warm = "all", first.warm })
	}
	return out
}

// warmUp is long enough for most connections to have met most tenants, where that can be waited for.
func (o options) warmUp(n int) time.Duration {
	switch {
	case o.warm > 0:
		return o.warm
	case n >= 10000:
		return 7 * time.Second
	case n >= 1000:
		return 4 * time.Second
	case n >= 100:
		return time.Second
	}
	return 300 * time.Millisecond
}

// reads measures every cell at the world's size, all ways on fresh connections.
func (w *world) reads(ctx context.Context) (_ []measure, err error) {
	if err := w.enter(ctx); err != nil {
		return nil, err
	}
	var stations []*station
	defer func() {
		for _, s := range stations {
			s.client.close()
		}
	}()
	for _, key := range w.options.ways {
		v, err := wayOf(key)
		if err != nil {
			return nil, err
		}
		s := &station{way: v, application: "bench " + key}
		if s.client, err = v.open(w, s.application); err != nil {
			return nil, fmt.Errorf("open %s: %w", key, err)
		}
		stations = append(stations, s)
	}
	var out []measure
	for _, c := range w.options.plan(len(w.tenants)) {
		w.options.progress("%s", c)
		measured, err := w.compare(ctx, c, stations)
		if err != nil {
			return nil, err
		}
		out = append(out, measured...)
	}
	return out, nil
}

// compare has all ways take turns in the cell. Their order changes from round to round, so that none always follows the same.
func (w *world) compare(ctx context.Context, c cell, stations []*station) ([]measure, error) {
	for _, s := range stations {
		if _, err := w.run(ctx, c, s, c.warm, 0); err != nil {
			return nil, fmt.Errorf("warm up %s: %w", s.key, err)
		}
	}
	rounds := make([][]round, len(stations))
	for i := range c.rounds {
		for j := range stations {
			at := (i + j) % len(stations)
			r, err := w.run(ctx, c, stations[at], w.options.length, i+1)
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", stations[at].key, err)
			}
			rounds[at] = append(rounds[at], r)
		}
	}
	out := make([]measure, len(stations))
	for i, s := range stations {
		backends, err := w.backends(ctx, s.application)
		if err != nil {
			return nil, err
		}
		out[i] = summary(c, s.key, rounds[i])
		out[i].Memory, out[i].Backends = memoryOf(backends), len(backends)
	}
	for i, s := range stations {
		w.options.progress("  %-10s %8.0f/s (%.2f)  p50 %6.2f  p99 %7.2f ms  CPU %4.0f µs  %4.0f allocations  %5.1f MB × %d", s.key,
			out[i].Rate, ratio(out[i], out, raw), out[i].P50, out[i].P99, out[i].CPU, out[i].Mallocs, out[i].Memory, out[i].Backends)
	}
	return out, nil
}

func summary(c cell, key string, rounds []round) measure {
	m := measure{cell: c, Way: key}
	var took []time.Duration
	var cpu time.Duration
	var mallocs uint64
	for _, r := range rounds {
		m.Rates = append(m.Rates, r.rate())
		took = append(took, r.took...)
		cpu += r.cpu
		mallocs += r.mallocs
	}
	slices.Sort(took)
	m.Rate = median(m.Rates)
	m.P50, m.P99 = percentile(took, 50), percentile(took, 99)
	m.CPU = float64(cpu.Microseconds()) / float64(len(took))
	m.Mallocs = float64(mallocs) / float64(len(took))
	return m
}

// percentile is the time, in milliseconds, within which p of a hundred were done. They are sorted.
func percentile(took []time.Duration, p int) float64 {
	if len(took) == 0 {
		return 0
	}
	return float64(took[min(len(took)-1, len(took)*p/100)].Microseconds()) / 1000
}

// ratio is how m compares with another way in the same cell: the median over the rounds. 0 where that one was not measured.
func ratio(m measure, all []measure, way string) float64 {
	for _, other := range all {
		if other.cell == m.cell && other.Way == way {
			each := make([]float64, min(len(m.Rates), len(other.Rates)))
			for i := range each {
				each[i] = m.Rates[i] / other.Rates[i]
			}
			return median(each)
		}
	}
	return 0
}
