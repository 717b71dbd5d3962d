package vet

import (
	"go/ast"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// TenantSchema reports names of tables that say their schema, in SQL that runs as a tenant.
var TenantSchema = &analysis.Analyzer{
	Name:     "tenantschema",
	Doc:      "reports qualified table names and catalogs in tenants' SQL",
	Requires: []*analysis.Analyzer{Allow},
	Run:      runTenantSchema,
}

func runTenantSchema(pass *analysis.Pass) (any, error) {
	if !forTenants(pass) {
		return nil, nil
	}
	check := func(at ast.Expr, sql string) {
		for _, name := range foreignNames(sql) {
			report(pass, at.Pos(), "%s names a schema or a catalog: a tenant's tables are found on its search_path", name)
		}
	}
	for _, text := range sqlTexts(pass) {
		if text.to != nil && text.to.Name() == "Table" {
			text.sql = "from " + text.sql
		}
		check(text.at, text.sql)
	}
	for _, file := range production(pass) {
		for _, decl := range file.Decls {
			method, ok := decl.(*ast.FuncDecl)
			if !ok || method.Recv == nil || method.Name.Name != "TableName" || method.Body == nil {
				continue
			}
			ast.Inspect(method.Body, func(n ast.Node) bool {
				if answer, ok := n.(*ast.ReturnStmt); ok && len(answer.Results) == 1 && isString(pass, answer.Results[0]) {
					check(answer.Results[0], "from "+known(pass, nil, answer.Results[0]))
				}
				return true
			})
		}
	}
	return nil, nil
}

var (
	beforeTables = []string{"from", "join", "into", "update", "table", "truncate", "using", "references"}
	beforeLists  = []string{"from", "table", "truncate", "using"} // what follows may be several, with commas
	afterTables  = []string{"where", "group", "order", "having", "limit", "offset", "set", "values", "returning", "select", "union", "window", "for", "do"}
	betweenThem  = []string{"only", "lateral", "if", "not", "exists"}
	takeFrom     = []string{"extract", "substring", "trim", "overlay"} // functions whose arguments may have a "from"
)

// place is what is known of the place in a statement, for each open parenthesis.
type place struct {
	table    bool // a table's name comes next
	list     bool // and another after a comma
	function bool // these are arguments in which "from" means something else
}

// foreignNames returns the names in sql that say their schema where a table or a function is named, and the catalogs.
func foreignNames(sql string) (found []string) {
	t := lex(sql)
	at := func(i int) string {
		if i < 0 || i >= len(t) {
			return ""
		}
		return t[i]
	}
	here, outer := place{}, []place(nil)
	for i, word := range t {
		switch {
		case word == "(":
			inner := place{table: here.table, list: here.table, function: slices.Contains(takeFrom, at(i-1))}
			here.table = false
			here, outer = inner, append(outer, here)
		case word == ")" && len(outer) > 0:
			here, outer = outer[len(outer)-1], outer[:len(outer)-1]
		case word == ",":
			here.table = here.list
		case !isWord(word) || at(i-1) == ".":
			// the rest of a name was looked at with its beginning
		case word == "from" && (here.function || at(i-1) == "distinct"):
			// extract(… from …), is distinct from
		case slices.Contains(beforeTables, word):
			here.table, here.list = true, word == "join" && here.list || slices.Contains(beforeLists, word)
		case slices.Contains(afterTables, word):
			here.table, here.list = false, false
		case here.table && slices.Contains(betweenThem, word):
		default:
			if name := foreignName(t[i:], here.table); name != "" {
				found = append(found, name)
			}
			here.table = false
		}
	}
	return found
}

// foreignName returns the name t begins with, if it is one of another schema.
func foreignName(t []string, table bool) string {
	parts := 1
	for len(t) > 2*parts && t[2*parts-1] == "." && (isWord(t[2*parts]) || t[2*parts] == "*") {
		parts++
	}
	called := len(t) > 2*parts-1 && t[2*parts-1] == "("
	catalog := t[0] == "pg_catalog" || t[0] == "information_schema"
	switch {
	case parts == 1 && (called || !table || !strings.HasPrefix(t[0], "pg_")): // a table of pg_catalog is found without saying so
		return ""
	case parts == 2 && called && t[0] == "pg_catalog":
		return ""
	case parts == 2 && !called && !table && !catalog: // a column
		return ""
	}
	return strings.Join(t[:2*parts-1], "")
}
