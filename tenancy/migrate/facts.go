package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// factsOf is what the catalogue says of the schemas whose oids are $1, in words that are the same for every tenant: the
// schema's name is left out, its owner is nobody's business, its role is "the tenant". Who may only read a tenant has rights
// that come and go with its status, as has the right to use a schema on Citus; both are left out.
const factsOf = `
	with r as materialized (
		select c.oid, c.relname, c.relkind, c.relpersistence, c.reloptions, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
			n.nspname, n.nspowner, s.role_name
		from pg_class c join pg_namespace n on n.oid = c.relnamespace join tenancy.schemas s on s.schema_name = n.nspname
		where c.relnamespace = any($1::oid[])
	), acl (nspname, role_name, owner, object, part_of, acl) as (
		select nspname, role_name, relowner, relname, relname, relacl from r where relacl is not null
		union all
		select nspname, role_name, relowner, relname || '.' || a.attname, relname, a.attacl
		from r join pg_attribute a on a.attrelid = r.oid where r.relkind in ('r', 'p', 'v', 'm', 'f') and a.attacl is not null
		union all
		select n.nspname, s.role_name, p.proowner, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', null, p.proacl
		from pg_proc p join pg_namespace n on n.oid = p.pronamespace join tenancy.schemas s on s.schema_name = n.nspname
		where p.pronamespace = any($1::oid[]) and p.proacl is not null
		union all
		select n.nspname, s.role_name, n.nspowner, 'the schema', null, n.nspacl
		from pg_namespace n join tenancy.schemas s on s.schema_name = n.nspname where n.oid = any($1::oid[]) and $2
		union all
		select n.nspname, s.role_name, d.defaclrole, case d.defaclobjtype when 'r' then 'new tables' when 'S' then 'new sequences' else 'new ' || d.defaclobjtype::text end,
			null, d.defaclacl
		from pg_default_acl d join pg_namespace n on n.oid = d.defaclnamespace join tenancy.schemas s on s.schema_name = n.nspname
		where d.defaclnamespace = any($1::oid[])
	), said (nspname, kind, name, part_of, is_so) as (
		select nspname, case relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' when 'c' then 'type' else 'table' end, relname, null,
			concat_ws(', ', relkind, relpersistence, array_to_string(reloptions, ', '), case when relrowsecurity then 'row security' end,
				case when relforcerowsecurity then 'forced' end, case when relowner <> nspowner then 'owned by ' || pg_get_userbyid(relowner) end,
				case when relkind in ('v', 'm') then pg_get_viewdef(oid) end)
		from r where relkind in ('r', 'p', 'v', 'm', 'f', 'c')
		union all
		select r.nspname, 'column', r.relname || '.' || a.attname, r.relname,
			format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
			|| case when a.attcollation <> t.typcollation then ' collate ' || a.attcollation::regcollation::text else '' end
			|| case when a.attidentity <> '' then ' identity ' || a.attidentity::text else '' end
			|| coalesce(case when a.attgenerated <> '' then ' generated ' else ' default ' end || pg_get_expr(d.adbin, d.adrelid), '')
		from r join pg_attribute a on a.attrelid = r.oid join pg_type t on t.oid = a.atttypid
			left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		where r.relkind in ('r', 'p', 'v', 'm', 'f', 'c') and a.attnum > 0 and not a.attisdropped
		union all
		select r.nspname, 'index', r.relname, i.indrelid::regclass::text, pg_get_indexdef(r.oid) || case when i.indisvalid then '' else ', unfinished' end
			|| coalesce(' with ' || array_to_string(r.reloptions, ', '), '')
		from r join pg_index i on i.indexrelid = r.oid where r.relkind in ('i', 'I')
		union all
		select r.nspname, 'constraint', r.relname || '.' || c.conname, r.relname, pg_get_constraintdef(c.oid)
		from r join pg_constraint c on c.conrelid = r.oid where r.relkind in ('r', 'p', 'f') and c.contype <> 'n'
		union all
		select r.nspname, 'sequence', r.relname, null, format('%s from %s by %s between %s and %s, cache %s%s', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin,
			q.seqmax, q.seqcache, case when q.seqcycle then ', cycle' else '' end)
		from r join pg_sequence q on q.seqrelid = r.oid where r.relkind = 'S'
		union all
		select r.nspname, 'trigger', r.relname || '.' || t.tgname, r.relname, pg_get_triggerdef(t.oid) || case when t.tgenabled = 'O' then '' else ', ' || t.tgenabled::text end
		from r join pg_trigger t on t.tgrelid = r.oid where r.relkind in ('r', 'p', 'v', 'f') and not t.tgisinternal
		union all
		select r.nspname, 'policy', r.relname || '.' || p.polname, r.relname,
			concat_ws(', ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
		from r join pg_policy p on p.polrelid = r.oid where r.relkind in ('r', 'p')
		union all
		select n.nspname, 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', null,
			case when p.prokind = 'a' then 'aggregate' else pg_get_functiondef(p.oid) end
		from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.pronamespace = any($1::oid[])
		union all
		select n.nspname, 'type', t.typname, null, concat_ws(', ', t.typtype,
			(select string_agg(e.enumlabel, ', ' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid),
			case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) || case when t.typnotnull then ' not null' else '' end end, t.typdefault,
			(select string_agg(pg_get_constraintdef(c.oid), ', ' order by c.conname) from pg_constraint c where c.contypid = t.oid and c.contype <> 'n'))
		from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.typnamespace = any($1::oid[]) and t.typtype in ('e', 'd', 'r')
		union all
		select g.nspname, 'grant', g.object || ' to ' || g.whom, g.part_of, string_agg(lower(g.what), ', ' order by g.what)
		from (
			select acl.nspname, acl.object, acl.part_of, acl.role_name, x.privilege_type || case when x.is_grantable then ' with grant option' else '' end as what,
				case when x.grantee = 0 then 'everybody' when pg_get_userbyid(x.grantee) = acl.role_name then 'the tenant' else pg_get_userbyid(x.grantee)::text end as whom
			from acl, aclexplode(acl.acl) x where x.grantee <> acl.owner
		) g where g.whom <> g.role_name || '_ro'
		group by g.nspname, g.object, g.part_of, g.whom
	), facts as (
		select nspname, kind, replace(name, nspname || '.', '') as name, replace(part_of, nspname || '.', '') as part_of, replace(is_so, nspname || '.', '') as is_so from said
	)
`

// hashes is one line for each schema, facts one for each fact.
const (
	selectHashes = factsOf + `select nspname, md5(string_agg(kind || ' ' || name || ' ' || is_so, e'\n' order by kind collate "C", name collate "C", is_so collate "C")) from facts group by nspname`
	selectFacts  = factsOf + `select nspname, kind, name, coalesce(part_of, ''), is_so from facts`
)

// fact is one thing the catalogue says of a schema.
type fact struct {
	kind, name string
	partOf     string // the table, if it is a part of one
	is         string
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// oids are those of the schemas that exist.
func oids(ctx context.Context, q querier, schemas []string) ([]uint32, error) {
	rows, err := q.Query(ctx, "select oid from pg_namespace where nspname = any($1::text[])", schemas)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uint32])
}

// hashes returns a hash of the facts of each schema that exists.
func hashes(ctx context.Context, q querier, schemas []string, use bool) (map[string]string, error) {
	ids, err := oids(ctx, q, schemas)
	if err != nil {
		return nil, err
	}
	rows, err := q.Query(ctx, selectHashes, ids, use)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(schemas))
	var schema, hash string
	_, err = pgx.ForEachRow(rows, []any{&schema, &hash}, func() error { out[schema] = hash; return nil })
	return out, err
}

// factsAbout returns the facts of one schema; none if it does not exist.
func factsAbout(ctx context.Context, q querier, schema string, use bool) ([]fact, error) {
	ids, err := oids(ctx, q, []string{schema})
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	rows, err := q.Query(ctx, selectFacts, ids, use)
	if err != nil {
		return nil, err
	}
	var out []fact
	var f fact
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name, &f.kind, &f.name, &f.partOf, &f.is}, func() error { out = append(out, f); return nil })
	return out, err
}

// differences are what sets is apart from should, in order: what a missing or unknown table has with it is not told again.
func differences(is, should []fact) []Difference {
	type key struct{ kind, name string }
	index := func(facts []fact) map[key]fact {
		out := make(map[key]fact, len(facts))
		for _, f := range facts {
			out[key{f.kind, f.name}] = f
		}
		return out
	}
	have, want := index(is), index(should)
	table := func(facts map[key]fact, name string) bool {
		for _, kind := range []string{"table", "view", "materialized view", "foreign table", "type"} {
			if _, ok := facts[key{kind, name}]; ok {
				return true
			}
		}
		return false
	}
	var out []Difference
	for k, f := range want {
		got, ok := have[k]
		switch {
		case !ok && (f.partOf == "" || table(have, f.partOf)):
			out = append(out, Difference{Kind: f.kind, Name: f.name, Should: f.is})
		case ok && got.is != f.is:
			out = append(out, Difference{Kind: f.kind, Name: f.name, Is: got.is, Should: f.is})
		}
	}
	for k, f := range have {
		if _, ok := want[k]; !ok && (f.partOf == "" || table(want, f.partOf)) {
			out = append(out, Difference{Kind: f.kind, Name: f.name, Is: f.is})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return out
}

// Difference is something that is not as the migrations make it.
type Difference struct {
	Tenant  string `json:"tenant,omitempty"` // its slug; none for a warm schema
	Cluster string `json:"cluster"`
	Schema  string `json:"schema"`
	Version int    `json:"version"`
	Kind    string `json:"kind"` // table, column, index, constraint, sequence, function, grant, …
	Name    string `json:"name"`
	Is      string `json:"is,omitempty"`     // empty: it is missing
	Should  string `json:"should,omitempty"` // empty: it is not expected
}

// String says it in a sentence.
func (d Difference) String() string {
	where := d.Schema
	if d.Tenant != "" {
		where += " (tenant " + d.Tenant + ")"
	}
	switch {
	case d.Is == "":
		return fmt.Sprintf("%s %s is missing in %s", d.Kind, d.Name, where)
	case d.Should == "" && d.Kind == "table":
		return fmt.Sprintf("table %s is not expected in %s", d.Name, where)
	case d.Should == "":
		return fmt.Sprintf("%s %s is not expected in %s: %s", d.Kind, d.Name, where, d.Is)
	}
	return fmt.Sprintf("%s %s differs in %s: it is %s, and should be %s", d.Kind, d.Name, where, d.Is, d.Should)
}
