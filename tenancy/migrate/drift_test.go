package migrate_test

import (
	"slices"
	"strings"
	"testing"

	"garment.id/homecore/tenancy/migrate"
)

func drifts(t *testing.T, r *migrate.Runner, slug string) (found []string, report migrate.DriftReport) {
	t.Helper()
	report, err := r.Drift(t.Context(), slug, func(d migrate.Difference) { found = append(found, d.String()) })
	if err != nil {
		t.Fatal(err)
	}
	return found, report
}

func TestDrift(t *testing.T) {
	t.Parallel()

	t.Run("names what was changed by hand, and where", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 3)
		runner := w.runner(t)
		if found, report := drifts(t, runner, ""); len(found) != 0 || report.Schemas != 3 {
			t.Fatalf("nothing was changed: %v, %+v", found, report)
		}
		one, where := n[1], " in "+n[1].Schema+" (tenant "+n[1].slug+")"
		for _, c := range []struct{ change, back, want string }{
			{"drop index SCHEMA.taxonomies_code_key", "create unique index taxonomies_code_key on SCHEMA.taxonomies (kind, lower(code))",
				"index taxonomies_code_key is missing" + where},
			{"alter table SCHEMA.taxonomies add column note int", "alter table SCHEMA.taxonomies drop column note",
				"column taxonomies.note is not expected" + where + ": integer"},
			{"alter table SCHEMA.taxonomies alter position set default 5", "alter table SCHEMA.taxonomies alter position set default 0",
				"column taxonomies.position differs" + where + ": it is integer not null default 5, and should be integer not null default 0"},
			{"alter table SCHEMA.taxonomies alter name drop not null", "alter table SCHEMA.taxonomies alter name set not null",
				"column taxonomies.name differs" + where + ": it is text, and should be text not null"},
			{"revoke update on SCHEMA.taxonomies from ROLE", "grant update on SCHEMA.taxonomies to ROLE",
				"grant taxonomies to the tenant differs" + where + ": it is delete, insert, select, and should be delete, insert, select, update"},
			{"revoke all on SCHEMA.members from ROLE", "grant select, insert, update, delete on SCHEMA.members to ROLE",
				"grant members to the tenant is missing" + where},
			{"grant select on SCHEMA.members to public", "revoke select on SCHEMA.members from public",
				"grant members to everybody is not expected" + where + ": select"},
			{"alter table SCHEMA.members drop constraint members_role_id_fkey",
				"alter table SCHEMA.members add constraint members_role_id_fkey foreign key (role_id) references SCHEMA.roles (id)",
				"constraint members.members_role_id_fkey is missing" + where},
			{"create table SCHEMA.orders (id bigserial primary key)", "drop table SCHEMA.orders", "table orders is not expected" + where},
			{"create function SCHEMA.one() returns int language sql as 'select 1'", "drop function SCHEMA.one()", "function one() is not expected" + where},
			{"alter default privileges in schema SCHEMA revoke delete on tables from ROLE", "alter default privileges in schema SCHEMA grant delete on tables to ROLE",
				"grant new tables to the tenant differs" + where + ": it is insert, select, update, and should be delete, insert, select, update"},
		} {
			fill := strings.NewReplacer("SCHEMA", one.Schema, "ROLE", one.Role)
			do(t, w.owner, fill.Replace(c.change))
			found, report := drifts(t, runner, "")
			if report.Different != 1 || !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
				t.Errorf("after %s: %q, want %q", c.change, found, c.want)
			}
			if of, report := drifts(t, runner, n[0].slug); len(of) != 0 || report.Schemas != 1 {
				t.Errorf("of another tenant: %q", of)
			}
			do(t, w.owner, fill.Replace(c.back))
			if found, _ := drifts(t, runner, ""); len(found) != 0 {
				t.Errorf("after %s: %q", c.back, found)
			}
		}
	})

	t.Run("a migrated schema is as a new one, and one that is behind is as it was", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 3)
		runner := w.runner(t, addNote,
			outside("create index concurrently if not exists taxonomies_position_idx on taxonomies (position);"),
			step("create type mood as enum ('good', 'bad');", "create table feelings (id bigserial primary key, mood mood not null default 'good', at timestamptz default now());",
				"create view good_feelings as select * from feelings where mood = 'good';", "create domain code as text check (value <> '');"))
		for _, slug := range []string{n[0].slug, n[1].slug} {
			if _, err := runner.Run(t.Context(), migrate.Options{Slug: slug}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if found, report := drifts(t, runner, ""); len(found) != 0 || report.Schemas != 3 {
			t.Errorf("%q, %+v", found, report)
		}
		if roles := ask[int](t, w.owner, "select count(*) from tenancy.schemas"); roles != 3 {
			t.Errorf("%d schemas are registered after it", roles)
		}
		do(t, w.owner, "alter type "+n[0].in("mood")+" add value 'mixed'")
		do(t, w.owner, "drop table "+n[1].in("feelings")+" cascade")
		found, _ := drifts(t, runner, "")
		for _, want := range []string{"type mood differs in " + n[0].Schema, "table feelings is missing in " + n[1].Schema, "view good_feelings is missing in " + n[1].Schema} {
			if !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("%q, want %q", found, want)
			}
		}
		if slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, "feelings.") }) {
			t.Errorf("the parts of a missing table are told too: %q", found)
		}
	})

	t.Run("a schema that is gone, and one of a newer binary, are found", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		n := w.tenants(t, 2)
		if _, err := w.runner(t, addNote).Run(t.Context(), migrate.Options{Slug: n[0].slug}, nil); err != nil {
			t.Fatal(err)
		}
		do(t, w.owner, "drop schema "+n[1].Schema+" cascade")
		found, _ := drifts(t, w.runner(t), "")
		if len(found) != 2 || !slices.ContainsFunc(found, func(s string) bool { return strings.HasPrefix(s, "schema "+n[1].Schema+" is missing") }) ||
			!slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, "newer than this binary's") }) {
			t.Errorf("%q", found)
		}
	})
}
