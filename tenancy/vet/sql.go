package vet

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// dynamic stands for what a text has from a variable. In an identifier it is one more letter, as fmt's verbs are.
const dynamic = "%s"

// sqlText is SQL, or a part of a statement, as far as it is known before the program runs.
type sqlText struct {
	at  ast.Expr
	sql string
	to  *types.Func // the function of GORM or database/sql that it is given to; nil if it only begins like a statement
}

// sqlTexts returns the SQL of the package: what GORM and database/sql are given, and other texts that begin like it.
func sqlTexts(pass *analysis.Pass) []sqlText {
	var found []sqlText
	defined := findOrigins(pass)
	seen := map[ast.Node]bool{}
	add := func(e ast.Expr, to *types.Func) {
		text := sqlText{at: e, sql: known(pass, defined, e), to: to}
		ast.Inspect(e, func(n ast.Node) bool { seen[n] = true; return true })
		if to != nil || beginsLikeSQL(text.sql) {
			found = append(found, text)
		}
	}
	for _, file := range production(pass) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ImportSpec:
				return false
			case *ast.CallExpr:
				f := callee(pass, n)
				i := slices.IndexFunc(n.Args, func(a ast.Expr) bool { return isString(pass, a) })
				switch {
				case i < 0 || f == nil || f.Pkg() == nil:
				case f.Pkg().Path() == gormPath, f.Pkg().Path() == "database/sql":
					if !reportedWhereWritten(pass, defined, n.Args[i]) {
						add(n.Args[i], f)
					}
				case strings.HasPrefix(f.Pkg().Path(), "github.com/jackc/pgx/"):
					ast.Inspect(n.Args[i], func(n ast.Node) bool { seen[n] = true; return true })
				}
			case *ast.BasicLit, *ast.BinaryExpr:
				if e := n.(ast.Expr); !seen[n] && isString(pass, e) {
					add(e, nil)
				}
			}
			return true
		})
	}
	return found
}

func isString(pass *analysis.Pass, e ast.Expr) bool {
	t := pass.TypesInfo.TypeOf(e)
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsString != 0
}

// reportedWhereWritten reports whether e is the name of a text that begins like SQL, and so was looked at where the
// package writes it.
func reportedWhereWritten(pass *analysis.Pass, defined origins, e ast.Expr) bool {
	name, ok := ast.Unparen(e).(*ast.Ident)
	if !ok {
		return false
	}
	obj := pass.TypesInfo.ObjectOf(name)
	if _, ok := obj.(*types.Const); !ok && len(defined[obj]) != 1 {
		return false
	}
	return obj.Pkg() == pass.Pkg && !inTest(pass, obj.Pos()) && beginsLikeSQL(known(pass, defined, e))
}

// known returns the text of e, with dynamic in the place of what is not constant.
func known(pass *analysis.Pass, defined origins, e ast.Expr) string {
	if v := pass.TypesInfo.Types[e].Value; v != nil && v.Kind() == constant.String {
		return constant.StringVal(v)
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return known(pass, defined, e.X) + known(pass, defined, e.Y)
		}
	case *ast.CallExpr:
		if isFunc(callee(pass, e), "fmt", "Sprintf") {
			return known(pass, defined, e.Args[0])
		}
	case *ast.Ident:
		if obj := pass.TypesInfo.ObjectOf(e); len(defined[obj]) == 1 && isString(pass, defined[obj][0]) {
			return known(pass, defined, defined[obj][0])
		}
	}
	return dynamic
}

var tokens = regexp.MustCompile(`(?s)` + strings.Join([]string{
	`--[^\n]*`, `/\*.*?\*/`, // comments
	`'(?:[^']|'')*'`, `"(?:[^"]|"")*"`, // a value, a quoted name
	`(?:[\pL_]|` + verb + `)(?:[\pL\d_$]|` + verb + `)*`, // a word, which fmt may have a part in
	`\d[\w.]*`, `\$\w*\$?`, `\S`, // numbers, placeholders and the quotes of a DO block, signs
}, "|"))

const verb = `%(?:\[\d+\])?[svqdx]`

// lex returns the tokens of sql without its comments: words in lower case, quoted names without their quotes, and every
// value empty.
func lex(sql string) []string {
	var found []string
	for _, t := range tokens.FindAllString(sql, -1) {
		switch {
		case strings.HasPrefix(t, "--"), strings.HasPrefix(t, "/*"):
		case t[0] == '\'':
			found = append(found, "''")
		case t[0] == '"' && len(t) > 2:
			found = append(found, t[1:len(t)-1])
		default:
			found = append(found, strings.ToLower(t))
		}
	}
	return found
}

func isWord(t string) bool { return wordStart.MatchString(t) }

var wordStart = regexp.MustCompile(`^(?:[\pL_]|` + verb + `)`)

var statementStarts = []string{
	"alter", "create", "delete", "drop", "insert", "lock", "merge", "select", "truncate", "update", "with",
}

// beginsLikeSQL reports whether the first word of text is one that begins a statement.
func beginsLikeSQL(text string) bool {
	for _, t := range lex(text) {
		if t != "(" {
			return slices.Contains(statementStarts, t)
		}
	}
	return false
}
