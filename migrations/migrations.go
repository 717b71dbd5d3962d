// Package migrations holds the ordered sets of plain SQL: central, which makes schema "central"; cluster, which makes what
// every cluster keeps of its tenants; and tenant, which makes each tenant's schema. A file is NNNNN_<module>_<what>.sql; table
// names in it are unqualified, since the runner sets the search path. In the tenant set it may begin with the line
//
//	-- homecore: no transaction
//
// for steps that Postgres refuses in one (CREATE INDEX CONCURRENTLY, a backfill that commits on the way). Such a file runs
// statement by statement and must be safe to run twice: IF NOT EXISTS and the like. A new schema runs it in a transaction
// nevertheless, since nobody waits there; Migration.Fresh says how.
// A statement ends with ";" at the end of a line; a body that has such lines of its own (a function) stands between the
// lines "-- +goose StatementBegin" and "-- +goose StatementEnd", as in goose.
//
// Numbers of the central set may be skipped: each module is given some, and they need not land in order. What has been applied
// is known one by one.
//
// There is no way down: a release expands, a later one contracts.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed central/*.sql cluster/*.sql tenant/*.sql
var files embed.FS

// Set is one of the sequences.
type Set string

const (
	Central Set = "central" // schema "central"
	Cluster Set = "cluster" // schema "tenancy" of every cluster: what it holds of its tenants
	Tenant  Set = "tenant"  // every tenant's schema
)

// Migration is one file, ready to run.
type Migration struct {
	Version       int
	Name          string   // the file's name without .sql
	Statements    []string // in order, each sent by itself
	NoTransaction bool
}

// Load reads a set in order. It fails on a badly named file or a number that is used twice, or skipped outside the central set.
func Load(set Set) ([]Migration, error) { return load(files, string(set)) }

// Newest returns the number of the last of them, 0 of none.
func Newest(set []Migration) int {
	if len(set) == 0 {
		return 0
	}
	return set[len(set)-1].Version
}

func load(fsys fs.FS, dir string) ([]Migration, error) {
	entries, err := fs.ReadDir(fsys, dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read migrations %s: %w", dir, err)
	}
	var out []Migration
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".sql")
		number, _, ok := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if !ok || len(number) != 5 || err != nil {
			return nil, fmt.Errorf("migration %s/%s: want NNNNN_<module>_<what>.sql", dir, e.Name())
		}
		if next := Newest(out) + 1; version < next || version > next && Set(dir) != Central {
			return nil, fmt.Errorf("migration %s/%s: number %d is expected here", dir, e.Name(), next)
		}
		text, err := fs.ReadFile(fsys, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("migration %s/%s: %w", dir, e.Name(), err)
		}
		m := Migration{Version: version, Name: name}
		m.Statements, m.NoTransaction, err = split(string(text))
		if err != nil {
			return nil, fmt.Errorf("migration %s/%s: %w", dir, e.Name(), err)
		}
		out = append(out, m)
	}
	return out, nil
}

func split(text string) (statements []string, noTransaction bool, err error) {
	var b strings.Builder
	inBody := false
	flush := func() {
		if s := strings.TrimSpace(b.String()); s != "" {
			statements = append(statements, s)
		}
		b.Reset()
	}
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "-- homecore: no transaction":
			noTransaction = true
		case trimmed == "-- +goose StatementBegin":
			inBody = true
		case trimmed == "-- +goose StatementEnd":
			inBody = false
			flush()
		case !inBody && (trimmed == "" || strings.HasPrefix(trimmed, "--")):
		default:
			b.WriteString(line)
			if code, _, _ := strings.Cut(trimmed, " --"); !inBody && strings.HasSuffix(strings.TrimSpace(code), ";") {
				flush()
			}
		}
	}
	if inBody {
		return nil, false, fmt.Errorf("StatementBegin without StatementEnd")
	}
	if strings.TrimSpace(b.String()) != "" {
		return nil, false, fmt.Errorf("the last statement does not end with ;")
	}
	return statements, noTransaction, nil
}
