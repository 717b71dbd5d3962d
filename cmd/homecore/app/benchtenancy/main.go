// Command benchtenancy measures what it costs to keep tenants apart, next to other ways of doing it and next to the least it
// can cost, side by side on one cluster of its own.
//
// All ways have the same number of connections and take turns in short rounds, so that whatever else the machine does hits
// all of them alike. Clients and server share its processors: compare the ratios, not the rates, with those of another machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

const base = "localhost:8080"

// options say what is measured. Without any the run is the one whose results are in docs/performance.md.
type options struct {
	groups, conns       int // of the tenancy driver; every other way has as many connections in all
	statements, recycle int // of the tenancy driver; 0: as it does by itself
	sizes               []int
	ways                []string
	rounds              int
	length, warm        time.Duration
	buffers             string

	chosen  bool // these replace the plan by all their combinations
	ops     []string
	dists   []string
	clients []int
	tables  []string

	begun time.Time
}

// progress says on stderr how far the run is.
func (o options) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(o.begun).Seconds(), fmt.Sprintf(format, args...))
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchtenancy:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	short := os.Getenv("BENCH") == "short"
	sizes, length := "1,100,1000,10000", 1200*time.Millisecond
	if short {
		sizes, length = "1,100", 800*time.Millisecond
	}
	o.begun = time.Now()
	var ways []string
	for _, v := range allWays {
		ways = append(ways, v.key)
	}
	flags := flag.NewFlagSet("benchtenancy", flag.ContinueOnError)
	list := func(name, fallback, usage string, set func(text string) error) {
		if fallback != "" {
			_ = set(fallback)
		}
		flags.Func(name, usage+", separated by commas (default "+fallback+")", set)
	}
	texts := func(target *[]string) func(string) error {
		return func(text string) error { *target = strings.Split(text, ","); return nil }
	}
	numbers := func(target *[]int) func(string) error {
		return func(text string) error {
			*target = nil
			for _, one := range strings.Split(text, ",") {
				n, err := strconv.Atoi(one)
				if err != nil || n < 1 {
					return fmt.Errorf("%q is no number of things", one)
				}
				*target = append(*target, n)
			}
			return nil
		}
	}
	flags.IntVar(&o.groups, "groups", 0, "affinity groups (default: as the app does)")
	flags.IntVar(&o.conns, "conns", 0, "connections of each group (default: as the app does)")
	flags.IntVar(&o.statements, "statements", 0, "prepared statements that a connection of the tenancy driver keeps (default: its own)")
	flags.IntVar(&o.recycle, "recycle", 0, "tenants after which a connection of the tenancy driver is replaced (default: its own)")
	list("tenants", sizes, "sizes of the world, growing", numbers(&o.sizes))
	list("ways", strings.Join(ways, ","), "ways to compare", texts(&o.ways))
	list("op", "read", "read, write, transaction", texts(&o.ops))
	list("dist", "uniform", "uniform, zipf", texts(&o.dists))
	list("clients", "16", "numbers of clients", numbers(&o.clients))
	list("tables", "one", "one, all", texts(&o.tables))
	flags.IntVar(&o.rounds, "rounds", 3, "rounds of each way in each cell")
	flags.DurationVar(&o.length, "length", length, "of a round")
	flags.DurationVar(&o.warm, "warm", 0, "warm-up of each way in each cell (default: longer for more tenants)")
	flags.StringVar(&o.buffers, "shared-buffers", "2GB", "of the server")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "op", "dist", "clients", "tables":
			o.chosen = true
		}
	})
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, n := range o.sizes {
		if err := w.grow(ctx, n); err != nil {
			return err
		}
		if _, err := w.reads(ctx); err != nil {
			return err
		}
	}
	return nil
}
