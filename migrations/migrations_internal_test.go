package migrations

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, set := range []Set{Central, Cluster, Tenant} {
		if all, err := Load(set); err != nil || len(all) == 0 {
			t.Errorf("%s: %d migrations, %v", set, len(all), err)
		}
	}
	good := func(name, text string) ([]Migration, error) {
		return load(fstest.MapFS{"set/" + name: {Data: []byte(text)}}, "set")
	}

	t.Run("splits at lines that end with a semicolon", func(t *testing.T) {
		t.Parallel()
		all, err := good("00001_a_b.sql", "-- why\ncreate table a (\n  id int -- not; here\n); -- the end\n\ncreate index on a (id);\n"+
			"-- +goose StatementBegin\ncreate function f() returns int language sql as $$\n select 1;\n$$;\n-- +goose StatementEnd\n")
		if err != nil || len(all) != 1 || len(all[0].Statements) != 3 {
			t.Fatalf("%v %v", all, err)
		}
	})

	t.Run("takes a skipped number in the central set alone", func(t *testing.T) {
		t.Parallel()
		for _, set := range []Set{Central, Tenant} {
			dir := string(set) + "/"
			one := &fstest.MapFile{Data: []byte("select 1;")}
			all, err := load(fstest.MapFS{dir + "00001_a_b.sql": one, dir + "00003_a_c.sql": one}, string(set))
			if set == Central && (err != nil || Newest(all) != 3) || set == Tenant && err == nil {
				t.Errorf("%s: %v %v", set, all, err)
			}
		}
	})

	t.Run("refuses files it would run wrongly", func(t *testing.T) {
		t.Parallel()
		for _, bad := range []struct{ name, text string }{
			{"1_a.sql", "select 1;"}, {"00002_a_b.sql", "select 1;"}, {"00001_a_b.sql", "select 1"},
			{"00001_a_b.sql", "-- +goose StatementBegin\nselect 1;"},
		} {
			if all, err := good(bad.name, bad.text); err == nil {
				t.Errorf("%s %q was accepted: %v", bad.name, bad.text, all)
			}
		}
	})
}

// A tenant's schema may stand on a cluster that distributes schemas: no trigger, a primary key on every table, and nothing
// that points out of it.
func TestTenantSetKeepsToItself(t *testing.T) {
	t.Parallel()
	all, err := Load(Tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, s := range m.Statements {
			for _, word := range []string{"create trigger", "references central", "create schema", "search_path"} {
				if containsFold(s, word) {
					t.Errorf("%s: %q in\n%s", m.Name, word, s)
				}
			}
			if containsFold(s, "create table") && !containsFold(s, "primary key") {
				t.Errorf("%s: no primary key in\n%s", m.Name, s)
			}
			if containsFold(s, "index concurrently") && (!m.NoTransaction || !containsFold(s, "if not exists") && !containsFold(s, "if exists")) {
				t.Errorf("%s: concurrently wants the line \"-- homecore: no transaction\" and IF [NOT] EXISTS in\n%s", m.Name, s)
			}
		}
	}
}

func containsFold(s, word string) bool {
	return strings.Contains(strings.ToLower(s), word)
}

func TestFresh(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ statement, want string }{
		{"create index concurrently if not exists a_idx on a (b);", "create index if not exists a_idx on a (b);"},
		{"CREATE UNIQUE INDEX\n  CONCURRENTLY concurrently_idx on a (b);", "CREATE UNIQUE INDEX concurrently_idx on a (b);"},
		{"drop index concurrently if exists a_idx;", "drop index if exists a_idx;"},
		{"reindex index concurrently a_idx;", "reindex index a_idx;"},
		{"refresh materialized view concurrently a;", "refresh materialized view a;"},
		{"alter table a detach partition b concurrently;", "alter table a detach partition b;"},
		{"insert into a values ('create index concurrently');", "insert into a values ('create index concurrently');"},
		{"do $$ begin loop exit when done();\n  commit;\nend loop; end $$;", "do $$ begin loop exit when done();\n  null;\nend loop; end $$;"},
		{"vacuum analyze a;", ""},
	} {
		m := Migration{Statements: []string{c.statement}, NoTransaction: true}
		if got := strings.Join(m.Fresh(), ""); got != c.want {
			t.Errorf("%q became %q, want %q", c.statement, got, c.want)
		}
		m.NoTransaction = false
		if got := m.Fresh(); len(got) != 1 || got[0] != c.statement {
			t.Errorf("in a transaction anyway, %q became %q", c.statement, got)
		}
	}
}
