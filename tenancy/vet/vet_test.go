package vet

import (
	"reflect"
	"testing"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"
	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/tenancy"
)

func TestRules(t *testing.T) {
	t.Parallel()
	for _, rule := range []struct {
		analyzer *analysis.Analyzer
		packages []string
	}{
		{TenantCtx, []string{tenancyPath, databasePath, home + "modules/tenant/ctx"}},
		{TenantSchema, []string{tenancyPath, home + "modules/tenant/schema", home + "modules/central/reports", home + "modules/central/accounts", home + "platform/shared"}},
		{TenantSet, []string{tenancyPath, home + "modules/tenant/set", home + "modules/tenant/exceptions", home + "modules/central/accounts"}},
		{GinEscape, []string{"web"}},
		{Allow, []string{"exceptions"}},
	} {
		t.Run(rule.analyzer.Name, func(t *testing.T) {
			t.Parallel()
			analysistest.Run(t, analysistest.TestData(), rule.analyzer, rule.packages...)
		})
	}
}

// The rules know others by their names. Here the names are held to the real ones.
func TestNames(t *testing.T) {
	t.Parallel()
	handle := reflect.TypeFor[*gorm.DB]()
	for _, name := range append(finishers, "WithContext", "Session", "Table") {
		if _, ok := handle.MethodByName(name); !ok {
			t.Errorf("GORM has no %s", name)
		}
	}
	for path, db := range map[string]reflect.Type{
		gormPath: handle, tenancyPath: reflect.TypeFor[*tenancy.DB](), databasePath: reflect.TypeFor[*database.DB](),
	} {
		if db.Elem().PkgPath() != path {
			t.Errorf("%s is in %s", path, db.Elem().PkgPath())
		}
		if db == handle {
			continue
		}
		for _, name := range []string{"Gorm", "Tx"} {
			if _, ok := db.MethodByName(name); !ok {
				t.Errorf("%s has no %s", path, name)
			}
		}
	}
}
