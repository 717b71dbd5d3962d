package vet

import (
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// TenantSet reports SQL that changes what entering a tenant set, or leaves something behind in the session.
var TenantSet = &analysis.Analyzer{
	Name:     "tenantset",
	Doc:      "reports SET, set_config, LISTEN, session locks and their like in tenants' SQL",
	Requires: []*analysis.Analyzer{Allow},
	Run:      runTenantSet,
}

func runTenantSet(pass *analysis.Pass) (any, error) {
	if !forTenants(pass) {
		return nil, nil
	}
	for _, text := range sqlTexts(pass) {
		whole := text.to == nil || takesStatement(text.to.Name())
		if what := sessionState(text.sql, whole); what != "" {
			report(pass, text.at.Pos(), "%s: path, role and session belong to package tenancy, and the connection to the next tenant", what)
		}
	}
	return nil, nil
}

// takesStatement reports whether a function of that name of GORM or database/sql takes a whole statement.
func takesStatement(name string) bool {
	return name == "Raw" || strings.HasPrefix(name, "Exec") || strings.HasPrefix(name, "Query") || strings.HasPrefix(name, "Prepare")
}

var sessionStatements = []string{"set", "reset", "discard", "listen", "unlisten", "notify"}

// sessionState returns what in sql, a whole statement or a part of one, is the session's, or "".
func sessionState(sql string, whole bool) string {
	t := lex(sql)
	for i, word := range t {
		begins := i == 0 && whole || i > 0 && t[i-1] == ";"
		switch {
		case begins && slices.Contains(sessionStatements, word) && i+1 < len(t):
			if word == "set" && t[i+1] == "constraints" {
				continue
			}
			return strings.ToUpper(word) + " " + t[i+1]
		case word == "set_config", word == "search_path", word == "pg_notify":
			return word
		case strings.Contains(word, "advisory_") && strings.HasPrefix(word, "pg_") && !strings.Contains(word, "_xact_"):
			return word
		}
	}
	return ""
}
