package modules_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "garment.id/homecore/"

// TestArchitecture holds the arrows of the README: cmd → modules → tenancy → platform, and no module to another.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for decoder.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range p.Imports {
			to, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			seen++
			if why := forbidden(from, to); why != "" {
				t.Errorf("%s imports %s: %s", from, to, why)
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d imports seen: the test looks at the wrong place", seen)
	}
}

func forbidden(from, to string) string {
	rank := func(path string) int {
		switch top, _, _ := strings.Cut(path, "/"); top {
		case "cmd":
			return 4
		case "modules":
			return 3
		case "tenancy":
			return 2
		case "platform":
			return 1
		default: // migrations, configs: data without imports
			return 0
		}
	}
	if rank(to) > rank(from) {
		return "an arrow against cmd → modules → tenancy → platform"
	}
	if rank(from) == 3 && rank(to) == 3 && moduleOf(from) != moduleOf(to) {
		return "a module never imports another"
	}
	return ""
}

// moduleOf returns modules/<surface>/<name>.
func moduleOf(path string) string {
	parts := strings.SplitN(path, "/", 4)
	return strings.Join(parts[:min(3, len(parts))], "/")
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		refused  bool
	}{
		{"cmd/homecore", "modules/tenant/members", false},
		{"modules/tenant/members", "tenancy", false},
		{"modules/tenant/members", "modules/tenant/taxonomies", true},
		{"modules/tenant/members", "modules/central/identity", true},
		{"tenancy", "modules/tenant/members", true},
		{"platform/api", "tenancy", true},
		{"platform/api", "platform/fault", false},
	} {
		if got := forbidden(c.from, c.to) != ""; got != c.refused {
			t.Errorf("%s → %s: refused = %v", c.from, c.to, got)
		}
	}
}
