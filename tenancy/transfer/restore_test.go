package transfer_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"garment.id/homecore/tenancy/transfer"
)

func TestExportAndRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)

	t.Run("every row and sequence comes back as it was, and the structure too", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "rapi-jahit")
		before := w.shape(t, "rapi-jahit")
		path, m := w.export(t, "rapi-jahit")
		w.as(t, "rapi-jahit", "delete from words; update things set amount = 0; insert into empty values (gen_random_uuid()); select nextval('lonely')")
		if _, err := w.Restore(t.Context(), "rapi-jahit", path, quiet); err != nil {
			t.Fatal(err)
		}
		_, again := w.export(t, "rapi-jahit")
		if content(again) != content(m) {
			t.Errorf("exported\n%s\nrestored\n%s", content(m), content(again))
		}
		if after := w.shape(t, "rapi-jahit"); after != before {
			t.Errorf("the structure was\n%s\nand is\n%s", before, after)
		}
		w.consistent(t, "rapi-jahit", id, 1)
		w.as(t, "rapi-jahit", "insert into things (code) values ('next')")
		cluster, schema, _ := w.place(t, "rapi-jahit")
		if n := one[int64](t, w, cluster, `select id * 1000 + serial_no from "`+schema+`".things where code = 'next'`); n != 501*1000+501 {
			t.Errorf("the sequences go on with %d", n)
		}
	})

	t.Run("the old state is kept until it is accepted, and can be returned to, and forth", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "kembali")
		path, archived := w.export(t, "kembali")
		w.as(t, "kembali", "insert into words values ('baru', 'id')")
		_, newer := w.export(t, "kembali")
		if err := w.Undo(t.Context(), "kembali"); !errors.Is(err, transfer.NothingKept) {
			t.Errorf("with nothing to undo: %v", err)
		}
		if _, err := w.Restore(t.Context(), "kembali", path, quiet); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Restore(t.Context(), "kembali", path, quiet); !errors.Is(err, transfer.Unaccepted) {
			t.Errorf("a second restore before the first is accepted: %v", err)
		}
		for i, want := range []*transfer.Manifest{newer, archived, newer} {
			if err := w.Undo(t.Context(), "kembali"); err != nil {
				t.Fatal(err)
			}
			w.consistent(t, "kembali", id, 1)
			if _, now := w.export(t, "kembali"); content(now) != content(want) {
				t.Errorf("after %d times undo it is another state", i+1)
			}
		}
		if err := w.Accept(t.Context(), "kembali"); err != nil {
			t.Fatal(err)
		}
		w.consistent(t, "kembali", id, 0)
		if err := w.Accept(t.Context(), "kembali"); !errors.Is(err, transfer.NothingKept) {
			t.Errorf("accepted twice: %v", err)
		}
		if _, err := w.Restore(t.Context(), "kembali", path, quiet); err != nil {
			t.Errorf("restored anew: %v", err)
		}
	})

	t.Run("an archive of an older release is migrated before anybody sees it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		config := w.config
		config.Set = set[:1]
		old, f := w.process(t, config)
		before := *w
		before.Porter, before.Fleet = old, f
		id := before.tenant(t, "lama")
		path, m := before.export(t, "lama")
		if m.SchemaVersion != 1 {
			t.Fatalf("of migration %d", m.SchemaVersion)
		}
		if _, err := w.Restore(t.Context(), "lama", path, quiet); err != nil {
			t.Fatal(err)
		}
		w.consistent(t, "lama", id, 1)
		_, schema, _ := w.place(t, "lama")
		if n := one[int](t, w, "main", `select count(*) from "`+schema+`".words where note = 'baru'`); n != 300 {
			t.Errorf("%d words of the new shape", n)
		}
		if v := one[int](t, w, "main", "select schema_version from central.tenants where slug = 'lama'"); v != 2 {
			t.Errorf("the registry says version %d", v)
		}
		if err := w.Undo(t.Context(), "lama"); err != nil {
			t.Fatal(err)
		}
		if v := one[int](t, w, "main", "select schema_version from central.tenants where slug = 'lama'"); v != 2 {
			t.Errorf("what was undone to is at version %d", v)
		}
		// And the other way round: an archive of a newer release.
		newer, _ := w.export(t, "lama")
		if _, err := old.Restore(t.Context(), "lama", newer, quiet); !errors.Is(err, transfer.ErrArchive) {
			t.Errorf("an older release restores it: %v", err)
		}
	})

	t.Run("others notice nothing", func(t *testing.T) {
		t.Parallel()
		w.tenant(t, "pelaku")
		w.tenant(t, "tetangga")
		path, _ := w.export(t, "pelaku")
		stop := make(chan struct{})
		stopped := make(chan struct{})
		var written atomic.Int64
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					w.as(t, "tetangga", "insert into empty values (gen_random_uuid())")
					written.Add(1)
				}
			}
		}()
		_, err := w.Restore(t.Context(), "pelaku", path, quiet)
		close(stop)
		<-stopped
		if err != nil {
			t.Fatal(err)
		}
		_, schema, _ := w.place(t, "tetangga")
		if n := one[int64](t, w, "main", `select count(*) from "`+schema+`".empty`); n != written.Load() || n == 0 {
			t.Errorf("%d rows of %d that were written", n, written.Load())
		}
	})

	t.Run("a suspended tenant stays shut", func(t *testing.T) {
		t.Parallel()
		id := w.tenant(t, "ditangguhkan")
		path, _ := w.export(t, "ditangguhkan")
		w.shut(t, "ditangguhkan", "suspended")
		if _, err := w.Restore(t.Context(), "ditangguhkan", path, quiet); err != nil {
			t.Fatal(err)
		}
		w.consistent(t, "ditangguhkan", id, 1)
	})
}

func (w *world) shut(t testing.TB, slug, status string) {
	t.Helper()
	_, schema, _ := w.place(t, slug)
	c := w.Main()
	role := one[string](t, w, "main", "select role_name from tenancy.schemas where schema_name = $1", schema)
	group := one[int](t, w, "main", "select login_group from tenancy.schemas where schema_name = $1", schema)
	w.exec(t, "main", "revoke "+role+" from "+c.GroupRole(group))
	w.exec(t, "main", "update tenancy.schemas set is_open = false where schema_name = $1", schema)
	w.exec(t, "main", "update central.tenants set status = $2 where slug = $1", slug, status)
}

func TestArchivesThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.tenant(t, "asli")
	w.tenant(t, "lain")
	path, _ := w.export(t, "asli")
	foreign, _ := w.export(t, "lain")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, before := w.export(t, "asli")
	bad := map[string][]byte{"empty": {}, "of something else": []byte("PK\x03\x04 not an archive"), "with something behind": append(slices.Clone(whole), "more"...),
		"twice": append(slices.Clone(whole), whole...)}
	for name, at := range map[string]int{"at its first byte": 0, "in its header": 6, "at a quarter": len(whole) / 4, "in the middle": len(whole) / 2, "near its end": len(whole) - 40} {
		flipped := slices.Clone(whole)
		flipped[at] ^= 0x10
		bad["corrupted "+name] = flipped
		bad["cut off "+name] = whole[:at]
	}
	for name, data := range bad {
		file := filepath.Join(t.TempDir(), "x.tar.zst")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Restore(t.Context(), "asli", file, quiet); !errors.Is(err, transfer.ErrArchive) {
			t.Errorf("one %s: %v", name, err)
		}
	}
	if _, err := w.Restore(t.Context(), "asli", foreign, quiet); !errors.Is(err, transfer.ErrArchive) || !strings.Contains(err.Error(), "lain") {
		t.Errorf("another tenant's: %v", err)
	}
	if _, err := w.Restore(t.Context(), "asli", filepath.Join(w.dir, "none"), quiet); err == nil {
		t.Error("one that is not there was restored")
	}
	if _, err := w.Restore(t.Context(), "asli", w.dir, quiet); !errors.Is(err, transfer.ErrArchive) {
		t.Errorf("a folder: %v", err)
	}
	w.consistent(t, "asli", id, 0)
	if _, after := w.export(t, "asli"); content(after) != content(before) {
		t.Error("and the tenant is not what it was")
	}
}

func TestExportsThatFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tenant(t, "penuh")
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar.zst")
	if _, err := w.Export(t.Context(), "penuh", filepath.Join(dir, "none", "x.tar.zst"), quiet); err == nil {
		t.Error("into a folder that is not there")
	}
	if _, err := w.Export(t.Context(), "penuh", path, quiet); err != nil {
		t.Fatal(err)
	}
	earlier, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []int{0, 2000, len(earlier) - 500} {
		// What a kill leaves, and then what a full disk does.
		if err := os.WriteFile(filepath.Join(dir, ".x.tar.zst.123.partial"), earlier[:len(earlier)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		w.FillDisk(room)
		if _, err := w.Export(t.Context(), "penuh", path, quiet); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
		if left := files(t, dir); !slices.Equal(left, []string{"x.tar.zst"}) {
			t.Errorf("left %v", left)
		}
		if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, earlier) {
			t.Errorf("the earlier one is gone: %v", err)
		}
	}
}

func TestRestoresThatAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, other{name: "timur"})
	for _, home := range []string{"main", "timur"} {
		slug := "terbunuh-" + home
		id := w.tenant(t, slug)
		path, archived := w.export(t, slug)
		if home != "main" {
			if _, err := w.Move(t.Context(), slug, home, quiet); err != nil {
				t.Fatal(err)
			}
			if err := w.Accept(t.Context(), slug); err != nil {
				t.Fatal(err)
			}
		}
		w.as(t, slug, "insert into words values ('lebih baru', 'id')")
		_, newer := w.export(t, slug)
		for _, step := range []string{"made", "loaded", "migrated", "changed", "before the flip", "flipped"} {
			t.Run(home+", "+step, func(t *testing.T) {
				w.Step(killedAt(step))
				_, err := w.Restore(t.Context(), slug, path, quiet)
				if !errors.Is(err, transfer.ErrKilled) {
					t.Fatalf("it was not killed: %v", err)
				}
				w.heal(t, slug)
				_, now := w.export(t, slug)
				want, kept := newer, 0
				if step == "flipped" {
					want, kept = archived, 1
				}
				if content(now) != content(want) {
					t.Error("it is in the other state")
				}
				w.consistent(t, slug, id, kept)
				if kept == 0 {
					return
				}
				// Back, through a killed undo.
				w.Step(killedAt("before the flip"))
				if err := w.Undo(t.Context(), slug); !errors.Is(err, transfer.ErrKilled) {
					t.Fatalf("undo was not killed: %v", err)
				}
				w.heal(t, slug)
				w.consistent(t, slug, id, 1)
				if _, now := w.export(t, slug); content(now) != content(archived) {
					t.Error("a killed undo did half of it")
				}
				if err := w.Undo(t.Context(), slug); err != nil {
					t.Fatal(err)
				}
				if _, now := w.export(t, slug); content(now) != content(newer) {
					t.Error("undo did not go back")
				}
			})
		}
	}
}

// heal is what the next process does.
func (w *world) heal(t testing.TB, slug string) {
	t.Helper()
	w.Step(func(string) error { return nil })
	for range 2 { // it may be repeated
		if _, err := w.Porter.Heal(t.Context()); err != nil {
			t.Fatalf("heal %s: %v", slug, err)
		}
	}
}
