package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/fleet"
)

// provision is how long it took to make, take or drop tenants' schemas, beside tenants that were there already.
type provision struct {
	What     string  `json:"what"`     // make, claim, drop, onboard
	How      string  `json:"how"`      // homecore, bare; onboard: cold, warm
	Existing int     `json:"existing"` // tenants
	AtOnce   int     `json:"at_once"`
	Count    int     `json:"count"`
	P50      float64 `json:"p50_ms"`
	P95      float64 `json:"p95_ms"`
	Rate     float64 `json:"rate"` // a second
}

// made is a schema that is to go again.
type made struct{ schema, role string }

// provisioning measures at the world's size, with commits that survive a crash. What it made is gone when it returns.
func (w *world) provisioning(ctx context.Context, existing int) (out []provision, err error) {
	if err := w.durable(ctx, true); err != nil {
		return nil, err
	}
	if err := w.bareFunction(ctx); err != nil {
		return nil, err
	}
	var built, bare []made
	for _, atOnce := range []int{1, 4, 8} {
		n := max(8, w.options.provisions*atOnce/4)
		if atOnce == 1 {
			n = w.options.provisions
		}
		ids, err := w.registered(ctx, n)
		if err != nil {
			return nil, err
		}
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("bare_%d_%d_%d", existing, atOnce, i)
			bare = append(bare, made{schema: names[i]})
		}
		two, err := w.sideBySide(ctx, provision{What: "make", Existing: existing, AtOnce: atOnce}, n,
			func(ctx context.Context, i int) error { return w.fleet.Build(ctx, ids[i]) },
			func(ctx context.Context, i int) error {
				_, err := w.owner.Exec(ctx, "select bench_make('"+names[i]+"')", pgx.QueryExecModeSimpleProtocol)
				return err
			})
		if err != nil {
			return nil, err
		}
		out = append(out, two...)
		warm, claimed, err := w.claims(ctx, provision{What: "claim", Existing: existing, AtOnce: atOnce}, n)
		if err != nil {
			return nil, err
		}
		out = append(out, warm...)
		places, err := w.places(ctx, ids)
		if err != nil {
			return nil, err
		}
		built = append(append(built, places...), claimed...)
	}
	dropped, err := w.drops(ctx, existing, built, bare)
	if err != nil {
		return nil, err
	}
	return append(out, dropped...), w.durable(ctx, false)
}

// bareFunction makes the yardstick: the same DDL in one function of the server, without a role, rights or a ledger.
func (w *world) bareFunction(ctx context.Context) error {
	var body strings.Builder
	for _, m := range set(w.versions) {
		for _, s := range m.Statements {
			body.WriteString("execute $ddl$" + strings.TrimSuffix(s, ";") + "$ddl$;\n")
		}
	}
	_, err := w.owner.Exec(ctx, `create or replace function bench_make(name text) returns void language plpgsql as $body$ begin
		execute format('create schema %I', name);
		perform set_config('search_path', format('%I, pg_temp', name), true);
		`+body.String()+`end $body$`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("make the bare function: %w", err)
	}
	return nil
}

// registered puts n tenants into the registry that have no schema.
func (w *world) registered(ctx context.Context, n int) ([]uuid.UUID, error) {
	added, ids := make([]*tenant, n), make([]uuid.UUID, n)
	for i := range added {
		ids[i] = uuid.New()
		added[i] = &tenant{id: ids[i]}
	}
	return ids, w.register(ctx, added)
}

// claims fills the pool of warm schemas and has tenants take them. It returns no measure if they did not.
func (w *world) claims(ctx context.Context, p provision, n int) ([]provision, []made, error) {
	warm, err := warmUp(ctx, w.fleet, n)
	if err != nil {
		return nil, nil, err
	}
	ids, err := w.registered(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	took, elapsed, err := together(ctx, p.AtOnce, 0, n, func(ctx context.Context, i int) error { return w.fleet.Build(ctx, ids[i]) })
	if err != nil {
		return nil, nil, err
	}
	built, err := w.places(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	if all, err := w.taken(ctx, warm); err != nil || !all {
		return nil, built, errors.Join(err, w.discardWarm(ctx))
	}
	p.How = ours
	p.sum(took, elapsed)
	w.options.progress("  %s", p)
	return []provision{p}, built, nil
}

// discardWarm drops the schemas that wait for tenants.
func (w *world) discardWarm(ctx context.Context) error {
	rows, err := w.owner.Query(ctx, "select schema_name, role_name from tenancy.schemas where state = 'warm'")
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, scanMade)
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := w.drop(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) places(ctx context.Context, ids []uuid.UUID) ([]made, error) {
	rows, err := w.owner.Query(ctx, "select schema_name, role_name from central.tenants where id = any($1::uuid[])", texts(ids))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanMade)
}

func scanMade(row pgx.CollectableRow) (m made, err error) {
	err = row.Scan(&m.schema, &m.role)
	return m, err
}

func texts(ids []uuid.UUID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

// drops drops what was made, one at a time as the fleet does and as bare DDL; what is left, without being measured.
func (w *world) drops(ctx context.Context, existing int, built, bare []made) ([]provision, error) {
	n := min(len(built), len(bare), w.options.provisions)
	ourDrop := func(ctx context.Context, i int) error { return w.drop(ctx, built[i]) }
	bareDrop := func(ctx context.Context, i int) error {
		_, err := w.owner.Exec(ctx, "drop schema "+quote(bare[i].schema)+" cascade", pgx.QueryExecModeSimpleProtocol)
		return err
	}
	out, err := w.sideBySide(ctx, provision{What: "drop", Existing: existing, AtOnce: 1}, n, ourDrop, bareDrop)
	if err != nil {
		return nil, err
	}
	if _, ok := any(w.fleet.Main()).(dropper); !ok {
		w.options.progress("  the fleet drops nothing: what stands for homecore above is not measured")
		out = slices.DeleteFunc(out, func(p provision) bool { return p.How == ours })
	}
	if err := w.durable(ctx, false); err != nil {
		return nil, err
	}
	if _, _, err := together(ctx, 4, n, len(built), ourDrop); err != nil {
		return nil, err
	}
	_, _, err = together(ctx, 4, n, len(bare), bareDrop)
	return out, err
}

// dropper is a fleet's cluster that can drop schemas.
type dropper interface {
	DropPlace(ctx context.Context, p fleet.Place) (bool, error)
}

// drop drops as the fleet does. Where the fleet drops nothing, it only clears away: that is no measure of HomeCore.
func (w *world) drop(ctx context.Context, m made) error {
	main := w.fleet.Main()
	if d, ok := any(main).(dropper); ok {
		done, err := d.DropPlace(ctx, fleet.Place{Cluster: main.Name, Schema: m.schema, Role: m.role})
		if err == nil && !done {
			err = fmt.Errorf("schema %s is still there", m.schema)
		}
		return err
	}
	_, err := w.owner.Exec(ctx, "begin; drop schema "+quote(m.schema)+" cascade; drop role "+quote(m.role)+
		"; delete from tenancy.schemas where schema_name = '"+m.schema+"'; commit", pgx.QueryExecModeSimpleProtocol)
	return err
}

// warmUp makes n schemas that wait for tenants, and returns their names.
func warmUp(ctx context.Context, f *fleet.Fleet, n int) ([]string, error) {
	names := make([]string, n)
	for i := range names {
		p, err := f.Make(ctx, f.Main(), nil, "warm", len(f.Set()), true)
		if err != nil {
			return nil, err
		}
		names[i] = p.Schema
	}
	return names, nil
}

// taken says whether all of these are tenants' now. If not, tenants were given others, made for them: nothing warm was measured.
func (w *world) taken(ctx context.Context, warm []string) (bool, error) {
	var n int
	err := w.owner.QueryRow(ctx, "select count(*) from tenancy.schemas where schema_name = any($1) and state = 'current'", warm).Scan(&n)
	if err == nil && n < len(warm) {
		w.options.progress("  only %d of %d warm schemas were taken: not measured", n, len(warm))
	}
	return n == len(warm), err
}

// sideBySide does two things n times each, in turns of as many as are at once, and which goes first changes.
func (w *world) sideBySide(ctx context.Context, p provision, n int, our, bare func(ctx context.Context, i int) error) ([]provision, error) {
	both := []provision{p, p}
	both[0].How, both[1].How = ours, "bare"
	work := []func(ctx context.Context, i int) error{our, bare}
	took, elapsed := make([][]time.Duration, 2), make([]time.Duration, 2)
	for from := 0; from < n; from += p.AtOnce {
		for turn := range 2 {
			side := (turn + from/p.AtOnce) % 2
			t, e, err := together(ctx, p.AtOnce, from, min(n, from+p.AtOnce), work[side])
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", p.What, both[side].How, err)
			}
			took[side] = append(took[side], t...)
			elapsed[side] += e
		}
	}
	for i := range both {
		both[i].sum(took[i], elapsed[i])
		w.options.progress("  %s", both[i])
	}
	return both, nil
}

// together does the work for from (included) to (not included), so many at once.
func together(ctx context.Context, atOnce, from, to int, work func(ctx context.Context, i int) error) ([]time.Duration, time.Duration, error) {
	var (
		wait  sync.WaitGroup
		queue = make(chan int)
		took  = make([]time.Duration, max(0, to-from))
		mu    sync.Mutex
		first error
	)
	begun := time.Now()
	for range atOnce {
		wait.Go(func() {
			for i := range queue {
				one := time.Now()
				err := work(ctx, i)
				took[i-from] = time.Since(one)
				if err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for i := from; i < to; i++ {
		queue <- i
	}
	close(queue)
	wait.Wait()
	return took, time.Since(begun), first
}

func (p *provision) sum(took []time.Duration, elapsed time.Duration) {
	slices.Sort(took)
	p.Count, p.P50, p.P95 = len(took), percentile(took, 50), percentile(took, 95)
	p.Rate = float64(len(took)) / elapsed.Seconds()
}

func (p provision) String() string {
	return fmt.Sprintf("%-7s %-8s beside %5d, %d at once: p50 %6.1f  p95 %6.1f ms  %5.1f/s", p.What, p.How, p.Existing, p.AtOnce, p.P50, p.P95, p.Rate)
}
