package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"
)

// cell is one combination of what may be asked, of whom, by how many.
type cell struct {
	Op      string `json:"op"`      // read, write, transaction
	Tenants int    `json:"tenants"` // chosen among
	Dist    string `json:"dist"`    // uniform, zipf
	Clients int    `json:"clients"`
	Tables  string `json:"tables"` // one, all
	rounds  int
	warm    time.Duration // each way, before the first round
}

func (c cell) String() string {
	return fmt.Sprintf("%d tenants, %s, %s, %d clients, %s tables", c.Tenants, c.Op, c.Dist, c.Clients, c.Tables)
}

// zipfExponent: of 10,000 tenants the most frequent gets a seventh of the requests, and a hundred get two thirds.
const zipfExponent = 1.1

// choose returns a function that chooses what a client asks next; the same client asks the same in every round and way.
func (c cell) choose(w *world, client int) func() (*tenant, string, uuid.UUID) {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	next := func() int { return random.IntN(c.Tenants) }
	if c.Dist == "zipf" && c.Tenants > 1 {
		z := rand.NewZipf(random, zipfExponent, 1, uint64(c.Tenants-1))
		next = func() int { return int(z.Uint64()) }
	}
	return func() (*tenant, string, uuid.UUID) {
		t, name := w.tenants[next()], mainTable
		if c.Tables == "all" {
			name = tables[random.IntN(len(tables))].name
		}
		return t, name, rowID(t.index, random.IntN(rowsPerTable))
	}
}

// work is what a client of the cell does.
func (c cell) work(cl client) func(ctx context.Context, t *tenant, table string, id uuid.UUID) error {
	switch c.Op {
	case "write":
		return cl.write
	case "transaction":
		return cl.transact
	}
	return cl.read
}

// round is what one way did in one round.
type round struct {
	took    []time.Duration // each request
	elapsed time.Duration
	cpu     time.Duration // of this process and the way's backends
	mallocs uint64
}

func (r round) rate() float64 { return float64(len(r.took)) / r.elapsed.Seconds() }

// run has every client of the cell work without a pause for that long.
func (w *world) run(ctx context.Context, c cell, at *station, length time.Duration, seed int) (round, error) {
	var (
		wait  sync.WaitGroup
		took  = make([][]time.Duration, c.Clients)
		errs  = make([]error, c.Clients)
		start = make(chan struct{})
		do    = c.work(at.client)
		until time.Time
	)
	for i := range c.Clients {
		choose := c.choose(w, seed*1000+i)
		took[i] = make([]time.Duration, 0, 1<<14)
		wait.Go(func() {
			<-start
			for begun := time.Now(); begun.Before(until); {
				t, table, id := choose()
				if errs[i] = do(ctx, t, table, id); errs[i] != nil {
					return
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(begun))
				begun = now
			}
		})
	}
	backends, err := w.backends(ctx, at.application)
	if err != nil {
		return round{}, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spent, own := cpuOf(backends), ownCPU()
	begun := time.Now()
	until = begun.Add(length)
	close(start)
	wait.Wait()
	r := round{elapsed: time.Since(begun), cpu: ownCPU() - own}
	runtime.ReadMemStats(&after)
	r.mallocs = after.Mallocs - before.Mallocs
	if backends, err = w.backends(ctx, at.application); err != nil {
		return r, err
	}
	for pid, now := range cpuOf(backends) {
		r.cpu += now - spent[pid]
	}
	for i := range took {
		if errs[i] != nil {
			return r, fmt.Errorf("%s: %w", c, errs[i])
		}
		r.took = append(r.took, took[i]...)
	}
	return r, nil
}
