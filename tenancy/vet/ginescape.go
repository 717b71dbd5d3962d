package vet

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// GinEscape reports goroutines that hold a request after its handler may have returned.
var GinEscape = &analysis.Analyzer{
	Name:     "ginescape",
	Doc:      "reports goroutines that hold a *gin.Context or a handler's *http.Request",
	Requires: []*analysis.Analyzer{Allow},
	Run:      runGinEscape,
}

const ginPath = "github.com/gin-gonic/gin"

type ginChecker struct {
	*analysis.Pass
	origins
	requests map[types.Object]bool // the parameters by which handlers are given a request
}

func runGinEscape(pass *analysis.Pass) (any, error) {
	c := ginChecker{pass, findOrigins(pass), map[types.Object]bool{}}
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncType); ok {
				c.findRequests(f)
			}
			return true
		})
	}
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				c.goroutine(n.Call.Fun, n.Call.Args)
			case *ast.CallExpr:
				if f := callee(pass, n); len(n.Args) > 0 && startsGoroutine(f) {
					c.goroutine(n.Args[len(n.Args)-1], nil)
				}
			}
			return true
		})
	}
	return nil, nil
}

// findRequests takes a *http.Request among the parameters for a handler's, unless the function answers it as a client does.
func (c ginChecker) findRequests(f *ast.FuncType) {
	if f.Results != nil {
		for _, result := range f.Results.List {
			if isType(c.TypesInfo.TypeOf(result.Type), "net/http", "Response") {
				return
			}
		}
	}
	for _, parameter := range f.Params.List {
		for _, name := range parameter.Names {
			if obj := c.TypesInfo.Defs[name]; obj != nil && isType(obj.Type(), "net/http", "Request") {
				c.requests[obj] = true
			}
		}
	}
}

func startsGoroutine(f *types.Func) bool {
	return isMethod(f, "golang.org/x/sync/errgroup", "Group") && (f.Name() == "Go" || f.Name() == "TryGo") ||
		isMethod(f, "sync", "WaitGroup") && f.Name() == "Go" ||
		isFunc(f, "time", "AfterFunc") || isFunc(f, "context", "AfterFunc")
}

// goroutine looks at a function that runs on its own, and at what it is given.
func (c ginChecker) goroutine(fun ast.Expr, args []ast.Expr) {
	if method, ok := ast.Unparen(fun).(*ast.SelectorExpr); ok {
		args = append([]ast.Expr{method.X}, args...)
	}
	for _, arg := range args {
		if what := c.held(arg); what != "" {
			c.escaped(arg, what)
			return
		}
	}
	if name, ok := ast.Unparen(fun).(*ast.Ident); ok && len(c.origins[c.TypesInfo.ObjectOf(name)]) == 1 {
		fun = c.origins[c.TypesInfo.ObjectOf(name)][0]
	}
	literal, ok := ast.Unparen(fun).(*ast.FuncLit)
	if !ok {
		return
	}
	done := false // once for each goroutine
	ast.Inspect(literal.Body, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok || done {
			return !done
		}
		if root := rootOf(e); root != nil {
			obj := c.TypesInfo.Uses[root]
			outside := obj != nil && (obj.Pos() < literal.Pos() || obj.Pos() > literal.End())
			if what := c.held(e); outside && what != "" {
				c.escaped(e, what)
				done = true
			}
		}
		return !done
	})
}

// rootOf returns the variable that e, a variable or a field of a field of one, begins with.
func rootOf(e ast.Expr) *ast.Ident {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return rootOf(e.X)
	}
	return nil
}

// held says which of a handler's things e is, or "".
func (c ginChecker) held(e ast.Expr) string {
	t := c.TypesInfo.TypeOf(e)
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		obj := c.TypesInfo.Uses[e]
		if _, ok := obj.(*types.Var); !ok {
			return ""
		}
		switch {
		case isType(t, ginPath, "Context") && !c.isCopy(obj):
			return "*gin.Context"
		case c.requests[obj]:
			return "*http.Request"
		}
	case *ast.SelectorExpr:
		if _, ok := c.TypesInfo.Uses[e.Sel].(*types.Var); !ok {
			return ""
		}
		switch {
		case isType(t, ginPath, "Context"):
			return "*gin.Context"
		case isType(t, "net/http", "Request") && isType(c.TypesInfo.TypeOf(e.X), ginPath, "Context"):
			return "*http.Request"
		}
	}
	return ""
}

// isCopy reports whether everything assigned to the variable is the result of a gin context's Copy.
func (c ginChecker) isCopy(obj types.Object) bool {
	for _, origin := range c.origins[obj] {
		call, ok := origin.(*ast.CallExpr)
		if !ok {
			return false
		}
		if f := callee(c.Pass, call); !isMethod(f, ginPath, "Context") || f.Name() != "Copy" {
			return false
		}
	}
	return len(c.origins[obj]) > 0
}

func (c ginChecker) escaped(e ast.Expr, what string) {
	why := "which is the next request's once the handler has returned: pass it values, or c.Copy()"
	if what == "*http.Request" {
		why = "which ends with the handler: pass it values"
	}
	report(c.Pass, e.Pos(), "a goroutine holds the handler's %s, %s", what, why)
}
