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
	provisions          int // schemas made one at a time, for each comparison
	migrationRounds     int
	phases              []string
	reportOnly          bool

	partial bool // the page is left as it is
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
	sizes, length, provisions, rounds := "1,100,1000,10000", 1200*time.Millisecond, 24, 3
	if short {
		sizes, length, provisions, rounds = "1,100", 300*time.Millisecond, 8, 2
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
	list("phases", "reads,provisioning,onboarding,migrations", "what is measured at each size", texts(&o.phases))
	flags.IntVar(&o.provisions, "provisions", provisions, "schemas made one at a time, for each comparison")
	flags.IntVar(&o.migrationRounds, "migrations", 4, "rounds of migrations that count")
	flags.BoolVar(&o.reportOnly, "report-only", false, "measures nothing: makes the page and its plots from the results of an earlier run")
	list("tenants", sizes, "sizes of the world, growing", numbers(&o.sizes))
	list("ways", strings.Join(ways, ","), "ways to compare", texts(&o.ways))
	list("op", "read", "read, write, transaction", texts(&o.ops))
	list("dist", "uniform", "uniform, zipf", texts(&o.dists))
	list("clients", "16", "numbers of clients", numbers(&o.clients))
	list("tables", "one", "one, all", texts(&o.tables))
	flags.IntVar(&o.rounds, "rounds", rounds, "rounds of each way in each cell")
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
		case "report-only":
		default:
			o.partial = true
		}
	})
	o.partial = o.partial || o.chosen
	return o, nil
}

func run(ctx context.Context, o options) error {
	if o.reportOnly {
		r, err := again()
		if err != nil {
			return err
		}
		return r.publish()
	}
	r, err := measureAll(ctx, o)
	if err != nil {
		return err
	}
	r.Setting.Seconds = time.Since(o.begun).Seconds()
	r.Targets = r.judge()
	for _, t := range r.Targets {
		is := "is " + number(t.Is)
		if t.Verdict == "not measured" {
			is = ""
		}
		if is != "" || !o.partial {
			fmt.Printf("%-12s  %-75s %s  %s\n", t.Verdict, t.Name, t.Want, is)
		}
	}
	if o.partial {
		return nil
	}
	return errors.Join(r.save(), r.publish())
}

// measureAll lets a world grow, and at each size measures what was asked for.
func measureAll(ctx context.Context, o options) (_ *report, err error) {
	w, err := newWorld(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	r, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range o.sizes {
		if err := w.grow(ctx, n); err != nil {
			return nil, err
		}
		if err := w.measure(ctx, n, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// measure does what is worth doing at the size: schemas and migrations cost much, and with a hundred tenants as with one.
func (w *world) measure(ctx context.Context, n int, r *report) error {
	o := w.options
	few, last := n < 100, n == o.sizes[len(o.sizes)-1]
	for _, phase := range o.phases {
		var err error
		switch phase {
		case "reads":
			err = w.readPhase(ctx, r)
		case "provisioning":
			if few || n >= 1000 || last {
				err = add(&r.Provisions)(w.provisioning(ctx, beside(n)))
			}
		case "onboarding":
			if few || n >= 1000 || last {
				err = add(&r.Provisions)(w.onboarding(ctx, beside(n)))
			}
		case "migrations":
			if n >= 1000 || last {
				var m migration
				m, err = w.migrations(ctx)
				r.Migrations = append(r.Migrations, m)
			}
		default:
			err = fmt.Errorf("there is no phase %q", phase)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
	}
	return nil
}

func (w *world) readPhase(ctx context.Context, r *report) (err error) {
	if r.RoundTrips == nil {
		if r.RoundTrips, err = w.roundTrips(ctx); err != nil {
			return err
		}
		if r.AsRole, err = w.entersAsRole(ctx); err != nil {
			return err
		}
	}
	if err := add(&r.Reads)(w.reads(ctx)); err != nil {
		return err
	}
	r.Enter, err = w.enterCost(ctx)
	return err
}

// beside is how many tenants are there, in words that do not split hairs: one is none.
func beside(n int) int {
	if n == 1 {
		return 0
	}
	return n
}

// add appends what was measured.
func add[T any](to *[]T) func(more []T, err error) error {
	return func(more []T, err error) error { *to = append(*to, more...); return err }
}
