package vet

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// TenantCtx reports statements that have no context, or none of a caller, and handles that outlive theirs.
var TenantCtx = &analysis.Analyzer{
	Name:     "tenantctx",
	Doc:      "reports GORM statements without a caller's context, and handles kept beyond it",
	Requires: []*analysis.Analyzer{Allow},
	Run:      runTenantCtx,
}

// finishers are the methods of *gorm.DB that send a statement, and Raw, which only waits for one of them.
var finishers = []string{
	"AutoMigrate", "Begin", "Connection", "Count", "Create", "CreateInBatches", "Delete", "Exec", "Find", "FindInBatches", "First",
	"FirstOrCreate", "FirstOrInit", "Last", "Pluck", "Raw", "Row", "Rows", "Save", "Scan", "Take", "Transaction", "Update",
	"UpdateColumn", "UpdateColumns", "Updates",
}

type ctxChecker struct {
	*analysis.Pass
	origins
}

func runTenantCtx(pass *analysis.Pass) (any, error) {
	c := ctxChecker{pass, findOrigins(pass)}
	seen := map[token.Pos]bool{} // a chain is reported once
	for _, file := range production(pass) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				f := callee(pass, n)
				if isMethod(f, gormPath, "DB") && slices.Contains(finishers, f.Name()) && !seen[n.Pos()] && c.handle(n, nil) == bare {
					seen[n.Pos()] = true
					report(pass, n.Pos(), "a statement without a context: begin with Gorm(ctx), or WithContext(ctx)")
				}
				if (opensHandle(f) || isMethod(f, gormPath, "DB") && f.Name() == "WithContext") && len(n.Args) > 0 && c.rootless(n.Args[0], nil) {
					report(pass, n.Pos(), "%s is given a context that no caller gave: it has no tenant, joins no transaction and is never cancelled", f.Name())
				}
			case *ast.AssignStmt:
				for i, target := range n.Lhs {
					if i < len(n.Rhs) && c.outlives(target) {
						c.kept(n.Rhs[i])
					}
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) && isPackageVar(pass.TypesInfo.Defs[name]) {
						c.kept(n.Values[i])
					}
				}
			case *ast.CompositeLit:
				if _, ok := pass.TypesInfo.TypeOf(n).Underlying().(*types.Struct); ok {
					for _, value := range n.Elts {
						if field, ok := value.(*ast.KeyValueExpr); ok {
							value = field.Value
						}
						c.kept(value)
					}
				}
			}
			return true
		})
	}
	return nil, nil
}

// outlives reports whether what is assigned to target stays: a field or a package variable.
func (c ctxChecker) outlives(target ast.Expr) bool {
	switch target := ast.Unparen(target).(type) {
	case *ast.Ident:
		return isPackageVar(c.TypesInfo.ObjectOf(target))
	case *ast.SelectorExpr:
		return true // a field, or a variable of another package
	}
	return false
}

func (c ctxChecker) kept(value ast.Expr) {
	if isGorm(c.TypesInfo.TypeOf(value)) && c.handle(value, nil) == bound {
		report(c.Pass, value.Pos(), "a *gorm.DB with its context is kept, and outlives it: keep the handle, and call Gorm(ctx) for each use")
	}
}

// state is what is known of a *gorm.DB.
type state int

const (
	unknown state = iota // a parameter, or the result of somebody else's function
	bare                 // a field, a package variable or gorm.Open's result: without a context
	bound                // with a context
)

// handle says what is known of the *gorm.DB that e evaluates to. busy holds the variables that are being looked at.
func (c ctxChecker) handle(e ast.Expr, busy []types.Object) state {
	switch e := ast.Unparen(e).(type) {
	case *ast.CallExpr:
		f := callee(c.Pass, e)
		switch {
		case isFunc(f, gormPath, "Open"):
			return bare
		case opensHandle(f):
			return bound
		case !isMethod(f, gormPath, "DB"):
			return unknown
		case f.Name() == "WithContext" || f.Name() == "Session" && setsContext(e):
			return bound
		}
		on, ok := ast.Unparen(e.Fun).(*ast.SelectorExpr)
		switch {
		case !ok:
			return unknown
		case !isGorm(c.TypesInfo.TypeOf(on.X)):
			return bare // the method of an embedded *gorm.DB
		}
		return c.handle(on.X, busy)
	case *ast.SelectorExpr: // a field, or a variable of another package
		if _, ok := c.TypesInfo.Uses[e.Sel].(*types.Var); ok {
			return bare
		}
	case *ast.IndexExpr:
		return bare
	case *ast.StarExpr:
		return c.handle(e.X, busy)
	case *ast.Ident:
		obj := c.TypesInfo.ObjectOf(e)
		if isPackageVar(obj) {
			return bare
		}
		if slices.Contains(busy, obj) {
			return unknown
		}
		var worst state
		for _, origin := range c.origins[obj] {
			switch c.handle(origin, append(busy, obj)) {
			case bare:
				return bare
			case bound:
				worst = bound
			}
		}
		return worst
	}
	return unknown
}

// setsContext reports whether a call of Session gives a context.
func setsContext(call *ast.CallExpr) (found bool) {
	ast.Inspect(call, func(n ast.Node) bool {
		if field, ok := n.(*ast.KeyValueExpr); ok {
			key, ok := field.Key.(*ast.Ident)
			found = found || ok && key.Name == "Context"
		}
		return true
	})
	return found
}

// rootless reports whether the context e is made of nothing but context.Background or context.TODO.
func (c ctxChecker) rootless(e ast.Expr, busy []types.Object) bool {
	switch e := ast.Unparen(e).(type) {
	case *ast.CallExpr:
		f := callee(c.Pass, e)
		if isFunc(f, "context", "Background", "TODO") {
			return true
		}
		return f != nil && f.Pkg() != nil && f.Pkg().Path() == "context" && strings.HasPrefix(f.Name(), "With") && c.rootless(e.Args[0], busy)
	case *ast.Ident:
		obj := c.TypesInfo.ObjectOf(e)
		if slices.Contains(busy, obj) {
			return true // made of itself: the other origins decide
		}
		given := c.origins[obj]
		return len(given) > 0 && !slices.ContainsFunc(given, func(o ast.Expr) bool { return !c.rootless(o, append(busy, obj)) })
	}
	return false
}
