package modules_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityPageIsTrue holds docs/security.md against the code: every file and every test that it names is there.
func TestSecurityPageIsTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, declared := map[string]bool{}, regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range declared.FindAllSubmatch(text, -1) {
			tests[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, word := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(page), -1) {
		name := word[1]
		switch {
		case strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz"):
			named++
			if !tests[name] {
				t.Errorf("there is no test %s", name)
			}
		case strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".sql"):
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("there is no file %s", name)
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d tests are named: the test looks at the wrong place", named)
	}
}
