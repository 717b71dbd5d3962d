package vet

import (
	"bytes"
	"fmt"
	"go/token"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Allow reports a //homecore:allow that names no rule or gives no reason, and tells the rules where the others are.
var Allow = &analysis.Analyzer{
	Name:       "allow",
	Doc:        "reports //homecore:allow comments without a rule or a reason",
	Run:        runAllow,
	ResultType: reflect.TypeFor[allowances](),
}

type allowance struct {
	file string
	line int
	rule string
}

type allowances map[allowance]bool

var rules = []string{"tenantctx", "tenantschema", "tenantset", "ginescape"}

func runAllow(pass *analysis.Pass) (any, error) {
	found := allowances{}
	for _, file := range pass.Files {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				text, ok := strings.CutPrefix(comment.Text, "//homecore:allow")
				if !ok {
					continue
				}
				rule, reason, _ := strings.Cut(strings.TrimSpace(text), " ")
				switch {
				case !slices.Contains(rules, rule):
					pass.Reportf(comment.Pos(), "homecore:allow names no rule: it is one of %s", strings.Join(rules, ", "))
				case strings.TrimSpace(reason) == "":
					pass.Reportf(comment.Pos(), "homecore:allow %s gives no reason", rule)
				default:
					at := pass.Fset.Position(comment.Pos())
					alone, err := isAlone(pass, comment.Pos())
					if err != nil {
						return nil, err
					}
					if alone {
						at.Line++
					}
					found[allowance{at.Filename, at.Line, rule}] = true
				}
			}
		}
	}
	return found, nil
}

// isAlone reports whether nothing but space stands before pos on its line.
func isAlone(pass *analysis.Pass, pos token.Pos) (bool, error) {
	file := pass.Fset.File(pos)
	content, err := pass.ReadFile(file.Name())
	if err != nil {
		return false, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	start := file.Offset(file.LineStart(file.Line(pos)))
	return len(bytes.TrimSpace(content[start:file.Offset(pos)])) == 0, nil
}

// report reports unless an allowance says otherwise.
func report(pass *analysis.Pass, pos token.Pos, format string, args ...any) {
	at := pass.Fset.Position(pos)
	if !pass.ResultOf[Allow].(allowances)[allowance{at.Filename, at.Line, pass.Analyzer.Name}] {
		pass.Reportf(pos, format, args...)
	}
}
