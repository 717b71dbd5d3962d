package transfer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

// errand is what a process of its own shall do, to be killed on the way.
type errand struct {
	URL  string
	URLs map[string]string // of the other clusters
	What string            // restore, move or drop
	Slug string
	To   string // the archive, or the cluster
	Stop string // the step at which it waits for its end; empty: it does all of it
}

const errandVariable = "TRANSFER_TEST_ERRAND"

func TestMain(m *testing.M) {
	if text := os.Getenv(errandVariable); text != "" {
		if err := run(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func run(text string) error {
	ctx := context.Background()
	var e errand
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	owner, err := open(ctx, e.URL)
	if err != nil {
		return err
	}
	f, err := fleet.Load(ctx, fleet.Config{Owner: owner, URL: e.URL, Open: open, Set: set, Refer: func(ref string) string { return e.URLs[ref] }})
	if err != nil {
		return err
	}
	at := func(step string) error {
		if step == e.Stop {
			fmt.Fprintln(os.Stdout, step)
			select {}
		}
		return nil
	}
	p := transfer.New(f, slog.New(slog.DiscardHandler))
	p.Step(at)
	switch e.What {
	case "restore":
		_, err = p.Restore(ctx, e.Slug, e.To, quiet)
	case "move":
		_, err = p.Move(ctx, e.Slug, e.To, quiet)
	case "drop":
		_, err = f.Purge(ctx, func(_ string, left int) { _ = at(fmt.Sprint(left)) })
	}
	return err
}

func (w *world) send(t *testing.T, e errand) *exec.Cmd {
	t.Helper()
	e.URL, e.URLs = w.config.URL, w.urls
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), errandVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// kill has a process do the errand and kills it, as kill -9 does, when it has come to the step.
func (w *world) kill(t *testing.T, e errand) {
	t.Helper()
	cmd := w.send(t, e)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != e.Stop {
		t.Errorf("it did not come to %q: %q, %v", e.Stop, line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it was not killed: %v", err)
	}
}

// resume has the next process do the errand to its end. A server notices in its own time that a client is gone, and until then says
// that somebody is at work.
func (w *world) resume(t *testing.T, e errand) {
	t.Helper()
	apptest.Until(t, "the next process does it", func() bool {
		cmd := w.send(t, e)
		var said strings.Builder
		cmd.Stderr = &said
		err := cmd.Run()
		if err != nil && !strings.Contains(said.String(), transfer.Busy.Error()) {
			t.Fatalf("%v: %s", err, &said)
		}
		return err == nil
	})
}

// Processes are killed, not just stopped, and the next one goes on.
func TestKilledProcesses(t *testing.T) {
	t.Parallel()

	t.Run("restore", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		id := w.tenant(t, "pulih")
		path, archived := w.export(t, "pulih")
		w.as(t, "pulih", "insert into words values ('lebih baru', 'id')")
		_, newer := w.export(t, "pulih")
		for _, step := range []string{"made", "loaded", "migrated", "changed", "before the flip"} {
			w.kill(t, errand{What: "restore", Slug: "pulih", To: path, Stop: step})
			w.healed(t)
			w.consistent(t, "pulih", id, 0)
			if _, now := w.export(t, "pulih"); content(now) != content(newer) {
				t.Errorf("killed at %q, it has other rows", step)
			}
		}
		// Nobody heals: the next process does.
		w.kill(t, errand{What: "restore", Slug: "pulih", To: path, Stop: "loaded"})
		w.resume(t, errand{What: "restore", Slug: "pulih", To: path})
		w.consistent(t, "pulih", id, 1)
		if _, now := w.export(t, "pulih"); content(now) != content(archived) {
			t.Error("it is not restored")
		}
	})

	t.Run("move", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, other{name: "timur"})
		id := w.tenant(t, "pindah")
		_, before := w.export(t, "pindah")
		for _, step := range []string{"made", "shut", "locked", "loaded", "copied", "changed", "before the flip"} {
			w.kill(t, errand{What: "move", Slug: "pindah", To: "timur", Stop: step})
			w.healed(t)
			if cluster, _, status := w.place(t, "pindah"); cluster != "main" || status != "active" {
				t.Errorf("killed at %q, it is %s on %s", step, status, cluster)
			}
			w.consistent(t, "pindah", id, 0)
		}
		w.kill(t, errand{What: "move", Slug: "pindah", To: "timur", Stop: "copied"})
		w.resume(t, errand{What: "move", Slug: "pindah", To: "timur"})
		if cluster, _, status := w.place(t, "pindah"); cluster != "timur" || status != "active" {
			t.Errorf("it is %s on %s", status, cluster)
		}
		w.consistent(t, "pindah", id, 1)
		if _, now := w.export(t, "pindah"); content(now) != content(before) {
			t.Error("it has other rows")
		}
	})

	t.Run("drop", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, other{name: "timur"})
		for _, home := range []string{"main", "timur"} {
			slug := "tutup-" + home
			id := w.tenant(t, slug)
			if home != "main" {
				w.moved(t, slug, home)
			}
			w.as(t, slug, "do $$ begin for i in 1..120 loop execute format('create table banyak_%s (id int primary key)', i); end loop; end $$")
			cluster, schema, _ := w.place(t, slug)
			role := one[string](t, w, cluster, "select role_name from tenancy.schemas where schema_name = $1", schema)
			if err := w.Change(t.Context(), id, fleet.Drop, fleet.Order{By: "a test", Grace: time.Hour}); err != nil {
				t.Fatal(err)
			}
			w.exec(t, "main", "update central.tenants set drop_after = now() - interval '1 second' where id = $1", id)
			all := one[int](t, w, cluster, "select count(*) from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p')", schema)
			w.kill(t, errand{What: "drop", Stop: fmt.Sprint(all - 50)})
			apptest.Until(t, "the next process drops the rest", func() bool {
				if err := w.send(t, errand{What: "drop"}).Run(); err != nil {
					t.Fatal(err)
				}
				return one[bool](t, w, "main", "select status = 'dropped' from central.tenants where id = $1", id)
			})
			if n := one[int](t, w, cluster, `select (select count(*) from pg_namespace where nspname = $1) + (select count(*) from pg_roles where starts_with(rolname, $2))
				+ (select count(*) from tenancy.schemas where schema_name = $1)`, schema, role); n != 0 {
				t.Errorf("%d of schema, roles and rows are left on %s", n, cluster)
			}
		}
	})
}

// healed waits until nothing is left to be healed.
func (w *world) healed(t *testing.T) {
	t.Helper()
	apptest.Until(t, "it is healed", func() bool {
		if _, err := w.Porter.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		return one[int](t, w, "main", "select count(*) from central.transfers where phase <> 'done'") == 0
	})
}
