package modules_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryTextIsInBothLanguages looks at every place where a text for people is written: one of the two languages may be left empty
// there, or be a copy of the other, without the compiler's noticing.
func TestEveryTextIsInBothLanguages(t *testing.T) {
	t.Parallel()
	files, seen := token.NewFileSet(), map[string]int{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			kind, id, en := bilingual(n)
			if kind == "" {
				return true
			}
			seen[kind]++
			if id == nil || en == nil {
				t.Errorf("%s: in one language only", files.Position(n.Pos()))
				return true
			}
			a, b := literal(id), literal(en)
			if a == nil || b == nil { // put together: each part is looked at where it is written
				return true
			}
			if strings.TrimSpace(*a) == "" || strings.TrimSpace(*b) == "" || *a == *b {
				t.Errorf("%s: %q and %q", files.Position(n.Pos()), *a, *b)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind, least := range map[string]int{"in": 60, "New": 40, "WithField": 40, "Text": 30} {
		if seen[kind] < least {
			t.Errorf("only %d of %s: the test looks at the wrong place", seen[kind], kind)
		}
	}
}

// bilingual returns the two texts of a node that is a text in both languages: a call of a letter's in, of fault.New or WithField, or
// a locale.Text.
func bilingual(n ast.Node) (kind string, id, en ast.Expr) {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.Ident:
			if f.Name == "in" && len(n.Args) == 2 {
				return "in", n.Args[0], n.Args[1]
			}
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok && x.Name == "fault" && f.Sel.Name == "New" && len(n.Args) == 4 {
				return "New", n.Args[2], n.Args[3]
			}
			if f.Sel.Name == "WithField" && len(n.Args) == 3 {
				return "WithField", n.Args[1], n.Args[2]
			}
		}
	case *ast.CompositeLit:
		name, ok := n.Type.(*ast.SelectorExpr)
		if !ok || name.Sel.Name != "Text" || len(n.Elts) == 0 {
			return "", nil, nil
		}
		if x, ok := name.X.(*ast.Ident); !ok || x.Name != "locale" {
			return "", nil, nil
		}
		for i, e := range n.Elts {
			pair, keyed := e.(*ast.KeyValueExpr)
			switch {
			case !keyed && i == 0, keyed && pair.Key.(*ast.Ident).Name == "ID":
				id = value(e)
			default:
				en = value(e)
			}
		}
		return "Text", id, en
	}
	return "", nil, nil
}

func value(e ast.Expr) ast.Expr {
	if pair, ok := e.(*ast.KeyValueExpr); ok {
		return pair.Value
	}
	return e
}

// literal returns the text of a literal, nil for what is none.
func literal(e ast.Expr) *string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return nil
	}
	text, err := strconv.Unquote(l.Value)
	if err != nil {
		return nil
	}
	return &text
}
