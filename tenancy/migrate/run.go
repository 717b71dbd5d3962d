package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/fleet"
)

// run is one call of Run.
type run struct {
	*Runner
	o        Options
	progress func(Event)
	registry registry

	asOf    map[string]time.Time // when the run began, by each cluster's clock
	met     map[place]bool       // schemas that this run knows
	losses  []*schema            // that have failed
	workers map[*fleet.Cluster][]*worker

	mu       sync.Mutex // of what follows
	report   Report
	wave     *Wave
	budget   int
	queues   []*queue
	again    bool // the attempts at the end of the run
	stopping bool
}

type place struct{ cluster, schema string }

func (s *schema) place() place { return place{s.Cluster, s.Schema} }

// Run brings every schema that is behind up to the set. One that fails does not stop the others; the failures come back
// joined, with ErrStopped if a wave had too many. progress, which may be nil, is called for each schema, never at the same
// time.
func (r *Runner) Run(ctx context.Context, o Options, progress func(Event)) (Report, error) {
	begun := time.Now()
	x := r.begin(o, progress)
	defer x.close()
	err := x.everything(ctx)
	x.registry.wait.Wait()
	if ctx.Err() == nil {
		err = errors.Join(err, r.heal(ctx))
	}
	for _, s := range x.losses {
		x.report.Failures = append(x.report.Failures, Failure{Slug: s.Slug, Cluster: s.Cluster, Schema: s.Schema, Version: s.Version, Failure: s.err.Error()})
		err = errors.Join(err, fmt.Errorf("tenant %s: %w", s.Slug, s.err))
	}
	x.report.NotBegun = x.report.Total - x.report.Migrated - x.report.Elsewhere - x.report.Failed
	x.report.Seconds = time.Since(begun).Seconds()
	return x.report, errors.Join(err, ctx.Err())
}

func (r *Runner) begin(o Options, progress func(Event)) *run {
	return &run{
		Runner: r, o: o.complete(), progress: progress, met: map[place]bool{}, asOf: map[string]time.Time{},
		workers: map[*fleet.Cluster][]*worker{}, registry: registry{main: r.fleet.Main().Owner()},
		report: Report{Target: len(r.set), Waves: []Wave{}, Failures: []Failure{}},
	}
}

func (x *run) close() {
	for _, ws := range x.workers {
		for _, w := range ws {
			w.close()
		}
	}
}

// everything runs the waves, and what has come to be behind meanwhile: processes of the release before make new schemas.
func (x *run) everything(ctx context.Context) error {
	var away error
	for range 3 {
		l, err := x.list(ctx, x.o.Slug)
		if err != nil {
			return err
		}
		away = l.away
		todo := slices.DeleteFunc(l.schemas, func(s *schema) bool { return x.met[s.place()] })
		if len(todo) == 0 {
			break
		}
		for _, s := range todo {
			x.met[s.place()] = true
		}
		for name, at := range l.asOf {
			if _, known := x.asOf[name]; !known {
				x.asOf[name] = at
			}
		}
		x.report.Total += len(todo)
		for _, w := range x.o.waves(todo, l.standing) {
			if err := x.oneWave(ctx, w); err != nil {
				return errors.Join(away, err)
			}
		}
	}
	return errors.Join(away, x.onceMore(ctx))
}

// oneWave is over when each of its schemas is migrated or has failed, in whichever process.
func (x *run) oneWave(ctx context.Context, w wave) error {
	begun := time.Now()
	x.mu.Lock()
	// A second round goes into the account of the first.
	i := slices.IndexFunc(x.report.Waves, func(known Wave) bool { return known.Name == w.name })
	if i < 0 {
		i = len(x.report.Waves)
		x.report.Waves = append(x.report.Waves, Wave{Name: w.name})
	}
	x.wave, x.budget = &x.report.Waves[i], w.budget
	x.wave.Total += len(w.schemas)
	x.mu.Unlock()
	defer func() { x.wave.Seconds += time.Since(begun).Seconds() }()

	pause := 50 * time.Millisecond
	for pending := w.schemas; len(pending) > 0; {
		left, err := x.revisit(ctx, x.pass(ctx, pending))
		if err != nil {
			return err
		}
		if x.stopping {
			break
		}
		if len(left) == len(pending) {
			pause = min(2*pause, time.Second)
		}
		if pending = left; len(pending) > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Run says it
		}
	}
	if x.stopping {
		x.report.Stopped = fmt.Sprintf("in wave %s: %d of %d failed, the budget is %d", x.wave.Name, x.wave.Failed, x.wave.Total, x.budget)
		return fmt.Errorf("%w %s", ErrStopped, x.report.Stopped)
	}
	return nil
}

// pass tries each schema, and returns those that somebody else has or has done.
func (x *run) pass(ctx context.Context, schemas []*schema) (missed []*schema) {
	byCluster := map[*fleet.Cluster][]*schema{}
	for _, s := range schemas {
		byCluster[s.cluster] = append(byCluster[s.cluster], s)
	}
	var wait sync.WaitGroup
	var queues []*queue
	x.mu.Lock()
	for c, some := range byCluster {
		q, done := newQueue(ctx, some)
		defer done()
		queues = append(queues, q)
		for i := range min(x.o.Workers, len(some)) {
			if i == len(x.workers[c]) {
				x.workers[c] = append(x.workers[c], &worker{run: x, cluster: c})
			}
			w := x.workers[c][i]
			wait.Go(func() { w.work(ctx, q) })
		}
	}
	x.queues = queues
	x.mu.Unlock()
	wait.Wait()
	for _, q := range queues {
		missed = append(missed, q.missed...)
	}
	return missed
}

// revisit looks at what this process could not claim, by one query on each cluster: what others have done or failed at is
// settled; the rest comes back.
func (x *run) revisit(ctx context.Context, missed []*schema) (left []*schema, err error) {
	byCluster := map[*fleet.Cluster]map[string]*schema{}
	for _, s := range missed {
		if byCluster[s.cluster] == nil {
			byCluster[s.cluster] = map[string]*schema{}
		}
		byCluster[s.cluster][s.Schema] = s
	}
	for c, some := range byCluster {
		names := make([]string, 0, len(some))
		for name := range some {
			names = append(names, name)
		}
		rows, err := c.Owner().Query(ctx, `select schema_name, version, coalesce(failure, ''), failed_at >= $2 from tenancy.schemas
			where schema_name = any($1::text[]) and version < $3 and state <> 'dropping'`, names, x.asOf[c.Name], len(x.set))
		if err != nil {
			return nil, fmt.Errorf("look at what others migrate on cluster %s: %w", c.Name, err)
		}
		var name, failure string
		var version int
		var hasFailed *bool
		_, err = pgx.ForEachRow(rows, []any{&name, &version, &failure, &hasFailed}, func() error {
			s := some[name]
			delete(some, name)
			s.Version = version
			switch {
			case hasFailed != nil && *hasFailed:
				x.failed(s, errors.New(failure))
			default:
				left = append(left, s)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look at what others migrate on cluster %s: %w", c.Name, err)
		}
		for _, s := range some { // no longer behind, or no longer there
			x.elsewhere(s)
		}
	}
	return left, nil
}

// onceMore tries again what has failed.
func (x *run) onceMore(ctx context.Context) error {
	if len(x.losses) == 0 {
		return nil
	}
	losses := x.losses
	x.losses = nil
	x.again, x.budget = true, len(losses)
	for _, s := range losses {
		s.tries = x.o.Attempts - 1 // one attempt
	}
	missed := x.pass(ctx, losses)
	still, err := x.revisit(ctx, missed)
	for _, s := range still {
		x.failed(s, s.err)
	}
	// What was not come to, because the run was cut off, has failed as before.
	for _, s := range losses {
		if s.err != nil && !slices.Contains(x.losses, s) {
			x.losses = append(x.losses, s)
		}
	}
	return err
}

func (x *run) migrated(s *schema) {
	s.Version = len(x.set)
	if s.cluster != x.fleet.Main() && s.State == "current" {
		x.registry.tell(s)
	}
	x.settle(s, nil, false)
}

func (x *run) elsewhere(s *schema) { x.settle(s, nil, true) }

func (x *run) failed(s *schema, err error) { x.settle(s, err, false) }

// settle takes account of a schema and tells who watches.
func (x *run) settle(s *schema, err error, elsewhere bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w, r := x.wave, &x.report
	if x.again {
		w = &Wave{} // a wave's account says how it went when it was its turn
		r.Failed--
	}
	s.err = err
	switch {
	case err != nil:
		x.losses = append(x.losses, s)
		w.Failed++
		r.Failed++
	case elsewhere:
		w.Elsewhere++
		r.Elsewhere++
	default:
		w.Migrated++
		r.Migrated++
	}
	if w.Failed > x.budget {
		x.stopping = true
		for _, q := range x.queues {
			q.stop()
		}
	}
	if x.progress != nil {
		x.progress(Event{
			Behind: s.Behind, To: len(x.set), Err: err, Elsewhere: elsewhere, Again: x.again, Wave: x.wave.Name,
			Done: r.Migrated + r.Elsewhere + r.Failed, Failed: r.Failed, Total: r.Total,
		})
	}
}
