package transfer_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/transfer"
)

func TestMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, other{name: "timur", server: server(t)}, other{name: "barat"}, other{name: "sebar", kind: fleet.Citus})

	t.Run("every row and sequence arrives, on any kind of cluster, and comes back", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "pindah")
		before := w.shape(t, "pindah")
		_, there := w.export(t, "pindah")
		for _, to := range []string{"timur", "sebar", "barat", "barat", "sebar", "main"} {
			moved, err := w.Move(t.Context(), "pindah", to, quiet)
			if err != nil {
				t.Fatalf("to %s: %v", to, err)
			}
			if cluster, _, status := w.place(t, "pindah"); cluster != to || status != "active" {
				t.Errorf("it is %s on %s, want active on %s", status, cluster, to)
			}
			if _, now := w.export(t, "pindah"); content(now) != content(there) || moved.Rows != there.Rows() {
				t.Errorf("to %s: %d rows of %d, or not the same", to, moved.Rows, there.Rows())
			}
			w.consistent(t, "pindah", id, 1)
			if err := w.Undo(t.Context(), "pindah"); !errors.Is(err, transfer.NotNow) {
				t.Errorf("a move undone: %v", err)
			}
			if err := w.Accept(t.Context(), "pindah"); err != nil {
				t.Fatal(err)
			}
			w.consistent(t, "pindah", id, 0)
		}
		if after := w.shape(t, "pindah"); after != before {
			t.Errorf("the structure was\n%s\nand is\n%s", before, after)
		}
	})

	t.Run("an archive is restored where the tenant is now", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "pulih")
		path, archived := w.export(t, "pulih")
		for _, at := range []string{"sebar", "timur"} {
			w.moved(t, "pulih", at)
			w.as(t, "pulih", "delete from words")
			if _, err := w.Restore(t.Context(), "pulih", path, quiet); err != nil {
				t.Fatal(err)
			}
			if _, now := w.export(t, "pulih"); content(now) != content(archived) {
				t.Errorf("on %s it is not what was archived", at)
			}
			w.consistent(t, "pulih", id, 1)
			if err := w.Undo(t.Context(), "pulih"); err != nil {
				t.Fatal(err)
			}
			w.consistent(t, "pulih", id, 1)
			if err := w.Accept(t.Context(), "pulih"); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("a tenant keeps its status, and its gate with it, also where the move is killed", func(t *testing.T) {
		t.Parallel()
		p, _ := w.process(t, w.config)
		for _, action := range []fleet.Action{fleet.Suspend, fleet.Maintenance, fleet.Archive, fleet.ReadOnly} {
			slug := "tetap-" + string(action)
			id := w.tenant(t, slug)
			if err := w.Change(t.Context(), id, action, fleet.Order{By: "test"}); err != nil {
				t.Fatal(err)
			}
			_, _, status := w.place(t, slug)
			p.Step(killedAt("copied"))
			if _, err := p.Move(t.Context(), slug, "timur", quiet); !errors.Is(err, transfer.ErrKilled) {
				t.Fatal(err)
			}
			w.exec(t, "timur", "update tenancy.schemas set created_at = now() - interval '2 hours' where tenant_id = '"+id.String()+"'")
			if n, err := w.Sweep(t.Context()); n != 0 || err != nil {
				t.Errorf("%d schemas swept that are being filled (%v)", n, err)
			}
			if err := w.HealTenant(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			w.consistent(t, slug, id, 0)
			for _, to := range []string{"timur", "sebar", "main"} {
				w.moved(t, slug, to)
				if _, _, now := w.place(t, slug); now != status {
					t.Errorf("%s is now %s", status, now)
				}
				w.consistent(t, slug, id, 0)
			}
		}
	})

	t.Run("an operator who suspends it meanwhile is heard", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "ditengah")
		p, _ := w.process(t, w.config)
		p.Step(func(step string) error {
			if step == "copied" {
				return w.Change(t.Context(), id, fleet.Suspend, fleet.Order{By: "test", Reason: "unpaid"})
			}
			return nil
		})
		if _, err := p.Move(t.Context(), "ditengah", "timur", quiet); err != nil {
			t.Fatal(err)
		}
		if cluster, _, status := w.place(t, "ditengah"); cluster != "timur" || status != "suspended" {
			t.Errorf("it is %s on %s", status, cluster)
		}
		w.consistent(t, "ditengah", id, 1)
	})

	t.Run("of two at once, one does it and the other is told", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "berebut")
		path, _ := w.export(t, "berebut")
		var wait sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for i := range 4 {
			wait.Go(func() {
				p, _ := w.process(t, w.config)
				var err error
				if i%2 == 0 {
					_, err = p.Move(t.Context(), "berebut", "barat", quiet)
				} else {
					_, err = p.Restore(t.Context(), "berebut", path, quiet)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case !errors.Is(err, transfer.Busy) && !errors.Is(err, transfer.Unaccepted):
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if done != 1 {
			t.Errorf("%d did it", done)
		}
		w.consistent(t, "berebut", id, 1)
	})

	t.Run("a transaction under way is waited for, and what it writes arrives", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "menunggu")
		tx := w.enter(t, "menunggu")
		if _, err := tx.Exec(t.Context(), "insert into words (word, lang) values ('sempat', 'id')"); err != nil {
			t.Fatal(err)
		}
		p, _ := w.process(t, w.config)
		shut := make(chan struct{})
		p.Step(func(step string) error {
			if step == "shut" {
				close(shut)
			}
			return nil
		})
		moved := make(chan error, 1)
		go func() {
			_, err := p.Move(t.Context(), "menunggu", "timur", quiet)
			moved <- err
		}()
		<-shut
		// It goes on with another table: nobody holds anything against it.
		if _, err := tx.Exec(t.Context(), "insert into heads values (7, 10)"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-moved; err != nil {
			t.Fatal(err)
		}
		_, schema, _ := w.place(t, "menunggu")
		if n := one[int](t, w, "timur", fmt.Sprintf(`select count(*) from %q.words where word = 'sempat'`, schema)); n != 1 {
			t.Errorf("%d rows of what was committed", n)
		}
		w.consistent(t, "menunggu", id, 1)
	})

	t.Run("one that entered in time and writes too late is refused, not lost", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "terlambat")
		tx := w.enter(t, "terlambat") // has entered, and touched nothing yet
		if _, err := w.Move(t.Context(), "terlambat", "timur", quiet); err != nil {
			t.Fatal(err)
		}
		_, err := tx.Exec(t.Context(), "insert into words (word, lang) values ('hilang', 'id')")
		if err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("it writes to the old place: %v", err)
		}
		w.consistent(t, "terlambat", id, 1)
	})
}

// enter is a transaction of the tenant's, as a request has it: logged in as its group, with its role and path.
func (w *world) enter(t testing.TB, slug string) pgx.Tx {
	t.Helper()
	_, schema, _ := w.place(t, slug)
	c := w.Main()
	role := one[string](t, w, "main", "select role_name from tenancy.schemas where schema_name = $1", schema)
	group := c.GroupRole(one[int](t, w, "main", "select login_group from tenancy.schemas where schema_name = $1", schema))
	config := c.Owner().Config().ConnConfig.Copy()
	config.User, config.Password = group, "secret of "+group
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select set_config('role', $1, true), set_config('search_path', $2, true)", role, schema); err != nil {
		t.Fatal(err)
	}
	return tx
}

func (w *world) moved(t testing.TB, slug, to string) {
	t.Helper()
	if _, err := w.Move(t.Context(), slug, to, quiet); err != nil {
		t.Fatal(err)
	}
	if err := w.Accept(t.Context(), slug); err != nil {
		t.Fatal(err)
	}
}

func TestMovesThatAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, other{name: "timur"})
	id := w.tenant(t, "terbunuh")
	_, before := w.export(t, "terbunuh")
	shape := w.shape(t, "terbunuh")
	for _, leg := range []struct{ from, to string }{{"main", "timur"}, {"timur", "main"}, {"main", "main"}, {"timur", "timur"}} {
		if cluster, _, _ := w.place(t, "terbunuh"); cluster != leg.from {
			w.moved(t, "terbunuh", leg.from)
		}
		for _, step := range []string{"made", "shut", "locked", "loaded", "copied", "changed", "before the flip", "flipped"} {
			t.Run(leg.from+" to "+leg.to+", "+step, func(t *testing.T) {
				w.Step(killedAt(step))
				if _, err := w.Move(t.Context(), "terbunuh", leg.to, quiet); !errors.Is(err, transfer.ErrKilled) {
					t.Fatalf("it was not killed: %v", err)
				}
				w.heal(t, "terbunuh")
				cluster, _, status := w.place(t, "terbunuh")
				if status != "active" {
					t.Errorf("it is %s", status)
				}
				kept := 0
				if step == "flipped" {
					kept = 1
				}
				if want := []string{leg.from, leg.to}[kept]; cluster != want {
					t.Errorf("it is on %s, want %s", cluster, want)
				}
				w.consistent(t, "terbunuh", id, kept)
				if _, now := w.export(t, "terbunuh"); content(now) != content(before) {
					t.Error("it has other rows")
				}
				if now := w.shape(t, "terbunuh"); now != shape {
					t.Errorf("the structure was\n%s\nand is\n%s", shape, now)
				}
				if kept == 1 {
					if err := w.Accept(t.Context(), "terbunuh"); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

// What is healed while the one who did the work still lives is his no more.
func TestMoveGivenUpByAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, other{name: "timur"})
	id := w.tenant(t, "direbut")
	_, before := w.export(t, "direbut")
	p, _ := w.process(t, w.config)
	p.Step(func(step string) error {
		if step != "copied" {
			return nil
		}
		// As if the connection that holds the tenant had been lost.
		w.exec(t, "main", "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			if n, err := w.Porter.Heal(t.Context()); err != nil || n > 0 {
				return err
			}
		}
		return errors.New("nobody healed it")
	})
	if _, err := p.Move(t.Context(), "direbut", "timur", quiet); err == nil {
		t.Error("it was moved although another had given it up")
	}
	if cluster, _, status := w.place(t, "direbut"); cluster != "main" || status != "active" {
		t.Errorf("it is %s on %s", status, cluster)
	}
	w.consistent(t, "direbut", id, 0)
	if _, now := w.export(t, "direbut"); content(now) != content(before) {
		t.Error("it has other rows")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, other{name: "timur"}, other{name: "barat"})
	choose := func(want string, statements ...string) {
		t.Helper()
		for _, s := range statements {
			w.exec(t, "main", s)
		}
		if got, err := w.Choose(t.Context()); got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, fleet.ErrFull) {
			t.Errorf("%v: chose %q, %v; want %q", statements, got, err, want)
		}
	}
	choose("main")
	choose("main", "update central.clusters set capacity = 1 where name = 'main'", "update central.clusters set accepts_new = true, capacity = 5 where name = 'timur'")
	w.exec(t, "main", "insert into central.tenants (id, slug, name, status, cluster) values ($1, 'a', 'a', 'active', 'main')", uuid.New())
	choose("timur")
	choose("barat", "update central.clusters set accepts_new = true, capacity = 6 where name = 'barat'")
	choose("timur", "update central.clusters set accepts_new = false where name = 'barat'")
	choose("", "update central.clusters set accepts_new = false")
	choose("main", "update central.clusters set accepts_new = true, capacity = null")
}
