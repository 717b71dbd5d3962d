package vet

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/types/typeutil"
)

const (
	home         = "garment.id/homecore/"
	gormPath     = "gorm.io/gorm"
	tenancyPath  = home + "tenancy"
	databasePath = home + "platform/database"
)

// Analyzers returns all rules, and the one that holds their exceptions to a reason.
func Analyzers() []*analysis.Analyzer {
	return []*analysis.Analyzer{Allow, TenantCtx, TenantSchema, TenantSet, GinEscape}
}

// inTest reports whether pos is in a test's file.
func inTest(pass *analysis.Pass, pos token.Pos) bool {
	return strings.HasSuffix(pass.Fset.File(pos).Name(), "_test.go")
}

// production returns the package's files without its tests.
func production(pass *analysis.Pass) []*ast.File {
	var files []*ast.File
	for _, f := range pass.Files {
		if !inTest(pass, f.FileStart) {
			files = append(files, f)
		}
	}
	return files
}

// callee returns the function or method that call names, or nil if it is a value, a conversion or a builtin.
func callee(pass *analysis.Pass, call *ast.CallExpr) *types.Func {
	f, _ := typeutil.Callee(pass.TypesInfo, call).(*types.Func)
	return f
}

// isFunc reports whether f is the function or method of that package with one of those names.
func isFunc(f *types.Func, pkg string, names ...string) bool {
	if f == nil || f.Pkg() == nil || f.Pkg().Path() != pkg {
		return false
	}
	for _, name := range names {
		if f.Name() == name {
			return true
		}
	}
	return false
}

// isType reports whether t is the named type of that package, or a pointer to it.
func isType(t types.Type, pkg, name string) bool {
	if t == nil {
		return false
	}
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == pkg && named.Obj().Name() == name
}

func isGorm(t types.Type) bool { return isType(t, gormPath, "DB") }

// isMethod reports whether f is a method of the named type.
func isMethod(f *types.Func, pkg, name string) bool {
	return f != nil && f.Signature().Recv() != nil && isType(f.Signature().Recv().Type(), pkg, name)
}

// opensHandle reports whether f is Gorm or Tx of tenancy.DB or database.DB, or of an interface that these satisfy.
func opensHandle(f *types.Func) bool {
	if f == nil || f.Signature().Recv() == nil {
		return false
	}
	in, out := f.Signature().Params(), f.Signature().Results()
	if in.Len() == 0 || out.Len() != 1 || !isType(in.At(0).Type(), "context", "Context") {
		return false
	}
	switch f.Name() {
	case "Gorm":
		return in.Len() == 1 && isGorm(out.At(0).Type())
	case "Tx":
		_, fn := in.At(in.Len() - 1).Type().Underlying().(*types.Signature)
		return in.Len() == 2 && fn
	}
	return false
}

// forTenants reports whether the package's SQL runs, or may run, as a tenant.
func forTenants(pass *analysis.Pass) bool {
	path, _, _ := strings.Cut(pass.Pkg.Path(), " ") // a package compiled for its tests says so behind a space
	if path == tenancyPath || strings.HasPrefix(path, tenancyPath+"/") {
		return false // it is what enters
	}
	if strings.HasPrefix(path, home+"modules/tenant/") {
		return true
	}
	for _, used := range pass.TypesInfo.Uses {
		switch used := used.(type) {
		case *types.TypeName:
			if isType(used.Type(), tenancyPath, "DB") {
				return true
			}
		case *types.Func:
			if opensHandle(used) && !isMethod(used, databasePath, "DB") {
				return true
			}
		}
	}
	return false
}

// origins has, for each variable of the package, what is assigned to it; nil for what comes from elsewhere, as parameters,
// what is ranged over and zero values do. So a variable with one origin is not made of itself.
type origins map[types.Object][]ast.Expr

func findOrigins(pass *analysis.Pass) origins {
	found := origins{}
	assign := func(target ast.Expr, i, targets int, values []ast.Expr) {
		name, ok := target.(*ast.Ident)
		if !ok {
			return
		}
		var value ast.Expr
		switch len(values) {
		case 0:
		case targets:
			value = values[i]
		default: // a call with several results
			value = values[0]
		}
		if obj := pass.TypesInfo.ObjectOf(name); obj != nil {
			found[obj] = append(found[obj], ast.Unparen(value))
		}
	}
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for i, target := range n.Lhs {
					assign(target, i, len(n.Lhs), n.Rhs)
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					assign(name, i, len(n.Names), n.Values)
				}
			case *ast.RangeStmt:
				assign(n.Key, 0, 1, nil)
				assign(n.Value, 0, 1, nil)
			case *ast.Field:
				for _, name := range n.Names {
					assign(name, 0, 1, nil)
				}
			}
			return true
		})
	}
	return found
}

// isPackageVar reports whether obj is a variable of a package, not of a function.
func isPackageVar(obj types.Object) bool {
	v, ok := obj.(*types.Var)
	return ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope()
}
