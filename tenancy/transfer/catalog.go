package transfer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Table is a table as an archive describes it.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	Key     []string `json:"key"`    // the columns of the primary key; rows are in their order
	Rows    int64    `json:"rows"`   // how many there are
	Bytes   int64    `json:"bytes"`  // of data, as COPY writes it in text format
	SHA256  string   `json:"sha256"` // of these bytes

	collated map[string]bool // key columns whose order depends on the server's locale
	builtin  bool            // every type is one that all servers of a major version write the same way
}

// Column is a column as an archive describes it.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // as format_type writes it
}

// Sequence is where a sequence stands.
type Sequence struct {
	Name   string `json:"name"`
	Last   int64  `json:"last"`
	Called bool   `json:"called"` // Last was given out; if not, it comes next
}

// foreignKey is a constraint that is taken off while rows are loaded.
type foreignKey struct{ table, name, definition string }

// tables describes the tables of the schema that search_path begins with, by name. Columns that Postgres computes are left out.
func tables(ctx context.Context, tx pgx.Tx, schema string) ([]Table, error) {
	rows, err := tx.Query(ctx, `select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid::bigint < 10000
		from pg_namespace n join pg_class c on c.relnamespace = n.oid join pg_attribute a on a.attrelid = c.oid
		where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition
			and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
		order by c.relname collate "C", a.attnum`, schema)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	var out []Table
	var name string
	var column Column
	var builtin bool
	_, err = pgx.ForEachRow(rows, []any{&name, &column.Name, &column.Type, &builtin}, func() error {
		if len(out) == 0 || out[len(out)-1].Name != name {
			out = append(out, Table{Name: name, builtin: true, Key: []string{}, collated: map[string]bool{}})
		}
		t := &out[len(out)-1]
		t.Columns = append(t.Columns, column)
		t.builtin = t.builtin && builtin
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", schema, err)
	}
	return out, keys(ctx, tx, schema, out)
}

// keys adds the primary keys.
func keys(ctx context.Context, tx pgx.Tx, schema string, to []Table) error {
	rows, err := tx.Query(ctx, `select c.relname, a.attname, a.attcollation <> 0
		from pg_namespace n join pg_class c on c.relnamespace = n.oid join pg_index i on i.indrelid = c.oid and i.indisprimary
		join lateral unnest(i.indkey::smallint[]) with ordinality k (attnum, position) on true
		join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
		where n.nspname = $1 order by c.relname, k.position`, schema)
	if err != nil {
		return fmt.Errorf("read the keys of %s: %w", schema, err)
	}
	var table, column string
	var collated bool
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &collated}, func() error {
		if i := slices.IndexFunc(to, func(t Table) bool { return t.Name == table }); i >= 0 {
			to[i].Key = append(to[i].Key, column)
			to[i].collated[column] = collated
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the keys of %s: %w", schema, err)
	}
	return nil
}

// sequences reads where each sequence of the schema stands, those of serial and identity columns included.
func sequences(ctx context.Context, tx pgx.Tx, schema string) ([]Sequence, error) {
	rows, err := tx.Query(ctx, `select c.relname from pg_namespace n join pg_class c on c.relnamespace = n.oid
		where n.nspname = $1 and c.relkind = 'S' order by c.relname collate "C"`, schema)
	if err != nil {
		return nil, fmt.Errorf("read the sequences of %s: %w", schema, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the sequences of %s: %w", schema, err)
	}
	out := make([]Sequence, len(names))
	for i, name := range names {
		out[i].Name = name
		if err := tx.QueryRow(ctx, "select last_value, is_called from "+quote(schema, name)).Scan(&out[i].Last, &out[i].Called); err != nil {
			return nil, fmt.Errorf("read sequence %s.%s: %w", schema, name, err)
		}
	}
	return out, nil
}

// setSequences brings the sequences of the schema to where they stood elsewhere. Both sides have the same ones.
func setSequences(ctx context.Context, tx pgx.Tx, schema string, to []Sequence) error {
	there, err := sequences(ctx, tx, schema)
	if err != nil {
		return err
	}
	name := func(s Sequence) string { return s.Name }
	if have, want := names(there, name), names(to, name); have != want {
		return fmt.Errorf("sequences of %s: it has %s, the data has %s", schema, have, want)
	}
	for _, s := range to {
		if _, err := tx.Exec(ctx, "select setval($1::regclass, $2, $3)", quote(schema, s.Name), s.Last, s.Called); err != nil {
			return fmt.Errorf("set sequence %s.%s: %w", schema, s.Name, err)
		}
	}
	return nil
}

func names[T any](all []T, name func(T) string) string {
	out := make([]string, len(all))
	for i, x := range all {
		out[i] = name(x)
	}
	return "[" + strings.Join(out, " ") + "]"
}

// foreignKeys returns the schema's foreign keys, which search_path must begin with: the definitions then name no schema.
func foreignKeys(ctx context.Context, tx pgx.Tx, schema string) ([]foreignKey, error) {
	rows, err := tx.Query(ctx, `select c.relname, o.conname, pg_get_constraintdef(o.oid)
		from pg_namespace n join pg_constraint o on o.connamespace = n.oid join pg_class c on c.oid = o.conrelid
		where n.nspname = $1 and o.contype = 'f' and o.conparentid = 0 order by o.oid`, schema)
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys of %s: %w", schema, err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k foreignKey, err error) {
		err = row.Scan(&k.table, &k.name, &k.definition)
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys of %s: %w", schema, err)
	}
	return out, nil
}

// withoutForeignKeys runs load while the schema has no foreign key, and puts them back as they were: rows may then come in any
// order, and each key is checked once instead of row by row.
func withoutForeignKeys(ctx context.Context, tx pgx.Tx, schema string, load func() error) error {
	keys, err := foreignKeys(ctx, tx, schema)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := tx.Exec(ctx, "alter table "+quote(schema, k.table)+" drop constraint "+quote(k.name)); err != nil {
			return fmt.Errorf("take foreign key %s off: %w", k.name, err)
		}
	}
	if err := load(); err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := tx.Exec(ctx, "alter table "+quote(schema, k.table)+" add constraint "+quote(k.name)+" "+k.definition); err != nil {
			return fmt.Errorf("put foreign key %s back: %w", k.name, err)
		}
	}
	return nil
}

// session makes what COPY writes and reads independent of the server's and the role's settings, and names the schema's own things
// without it.
func session(ctx context.Context, tx pgx.Tx, schema string) error {
	_, err := tx.Exec(ctx, `select set_config('search_path', $1, true), set_config('datestyle', 'ISO, YMD', true),
		set_config('intervalstyle', 'postgres', true), set_config('timezone', 'UTC', true), set_config('extra_float_digits', '1', true),
		set_config('bytea_output', 'hex', true), set_config('client_encoding', 'UTF8', true), set_config('statement_timeout', '0', true),
		set_config('idle_in_transaction_session_timeout', '0', true)`,
		quote(schema)+", pg_temp")
	if err != nil {
		return fmt.Errorf("prepare to copy %s: %w", schema, err)
	}
	return nil
}

// out is the query whose rows are the table's, always in the same order, on whatever server.
func (t Table) out(schema string) string {
	query := "select " + t.columns() + " from " + quote(schema, t.Name)
	if len(t.Key) > 0 {
		order := make([]string, len(t.Key))
		for i, k := range t.Key {
			order[i] = quote(k)
			if t.collated[k] {
				order[i] += ` collate "C"`
			}
		}
		query += " order by " + strings.Join(order, ", ")
	}
	return query
}

func (t Table) columns() string {
	out := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = quote(c.Name)
	}
	return strings.Join(out, ", ")
}

// in is the statement that loads rows.
func (t Table) in(schema, format string) string {
	return "copy " + quote(schema, t.Name) + " (" + t.columns() + ") from stdin (format " + format + ")"
}

func quote(name ...string) string { return pgx.Identifier(name).Sanitize() }
