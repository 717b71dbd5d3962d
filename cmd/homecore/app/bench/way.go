package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// reader reads the row of tenant i once.
type reader func(ctx context.Context, i int) error

// way is one way of reading, and what was measured of it.
type way struct {
	name string
	new  func(ctx context.Context) (read reader, done func(), err error) // one for each client

	took  []time.Duration // each read
	spent time.Duration   // in all rounds
}

// run has every client read without a pause for that long.
func (v *way) run(ctx context.Context, length time.Duration) error {
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	begun := time.Now()
	for client := range clients {
		wait.Go(func() {
			took, err := v.client(ctx, client, begun.Add(length))
			mu.Lock()
			defer mu.Unlock()
			v.took = append(v.took, took...)
			if first == nil {
				first = err
			}
		})
	}
	wait.Wait()
	v.spent += time.Since(begun)
	return first
}

func (v *way) client(ctx context.Context, client int, until time.Time) ([]time.Duration, error) {
	read, done, err := v.new(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var took []time.Duration
	for i := client; ; i++ {
		begun := time.Now()
		if begun.After(until) {
			return took, nil
		}
		if err := read(ctx, i%tenants); err != nil {
			return took, err
		}
		took = append(took, time.Since(begun))
	}
}

func (v *way) reset() { v.took, v.spent = nil, 0 }

func (v *way) rate() float64 { return float64(len(v.took)) / v.spent.Seconds() }

// percentile returns the time, in milliseconds, within which p of a hundred reads were done.
func (v *way) percentile(p int) float64 {
	slices.Sort(v.took)
	return float64(v.took[len(v.took)*p/100].Microseconds()) / 1000
}
