package migrate

import (
	"fmt"
	"testing"
)

func TestWaves(t *testing.T) {
	t.Parallel()
	many := func(n int) (out []*schema) {
		for i := range n {
			out = append(out, &schema{Behind: Behind{Schema: fmt.Sprintf("t_%d", i), Slug: fmt.Sprint(i)}, isOpen: i%2 == 0, isCanary: i == 7})
		}
		return out
	}

	t.Run("one in a hundred, then one in ten, then the rest; those in use first", func(t *testing.T) {
		t.Parallel()
		ws := Options{Canaries: []string{"9"}}.waves(many(5000), 5000)
		sizes := map[string]int{}
		for _, w := range ws {
			sizes[w.name] = len(w.schemas)
			shut := false
			for _, s := range w.schemas {
				if shut && s.isOpen {
					t.Fatalf("in wave %s one in use comes after one that is not", w.name)
				}
				shut = !s.isOpen
			}
		}
		if len(ws) != 4 || sizes["canary"] != 2 || sizes["1 %"] < 25 || sizes["1 %"] > 100 || sizes["10 %"] < 350 || sizes["10 %"] > 650 {
			t.Errorf("sizes %v", sizes)
		}
		if ws[0].budget != 0 || ws[1].budget != 1 || ws[3].budget != len(ws[3].schemas)/100 {
			t.Errorf("budgets %d, %d, %d", ws[0].budget, ws[1].budget, ws[3].budget)
		}
	})

	t.Run("a schema's is the same, whatever else is left", func(t *testing.T) {
		t.Parallel()
		of := map[string]string{}
		for _, w := range (Options{}).waves(many(5000), 5000) {
			for _, s := range w.schemas {
				of[s.Schema] = w.name
			}
		}
		for _, w := range (Options{}).waves(many(5000)[4000:], 5000) {
			for _, s := range w.schemas {
				if of[s.Schema] != w.name {
					t.Fatalf("%s was in wave %s and is in %s", s.Schema, of[s.Schema], w.name)
				}
			}
		}
	})

	t.Run("few schemas are one wave after their canaries", func(t *testing.T) {
		t.Parallel()
		if ws := (Options{}).waves(many(20), 20); len(ws) != 2 || len(ws[0].schemas) != 1 || len(ws[1].schemas) != 19 {
			t.Errorf("%d waves", len(ws))
		}
		if ws := (Options{NoWaves: true}).waves(many(5000), 5000); len(ws) != 1 || len(ws[0].schemas) != 5000 || ws[0].name != "all" {
			t.Errorf("%d waves", len(ws))
		}
	})
}
