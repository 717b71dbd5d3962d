package modules_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPagesAreTrue holds the pages that say what is shown by which test against the code: every file and every test that they
// name is there. Behind a slash stands a part of the test, by the words it is run under.
func TestPagesAreTrue(t *testing.T) {
	t.Parallel()
	declared, part := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)\w*)\(`), regexp.MustCompile(`"([^"\n]+)"`)
	in := map[string]map[string]bool{} // what is in quotes in the file that a test stands in
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		quoted := map[string]bool{}
		for _, words := range part.FindAllSubmatch(text, -1) {
			quoted[string(words[1])] = true
		}
		for _, name := range declared.FindAllSubmatch(text, -1) {
			in[string(name[1])] = quoted
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, most := range map[string]int{"security.md": 40, "tenancy.md": 90} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../docs/" + page)
			if err != nil {
				t.Fatal(err)
			}
			named := 0
			for _, word := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(string(text), -1) {
				name, words, hasPart := strings.Cut(word[1], "/")
				switch {
				case regexp.MustCompile(`^(Test|Fuzz|Example|Benchmark)\w*$`).MatchString(name):
					named++
					quoted, ok := in[name]
					if !ok {
						t.Errorf("there is no test %s", name)
					} else if hasPart && !quoted[words] {
						t.Errorf("test %s has no part %q", name, words)
					}
				case strings.HasSuffix(word[1], ".go") || strings.HasSuffix(word[1], ".sql"):
					if _, err := os.Stat(filepath.Join("..", word[1])); err != nil {
						t.Errorf("there is no file %s", word[1])
					}
				}
			}
			if named < most {
				t.Errorf("only %d tests are named: the test looks at the wrong place", named)
			}
		})
	}
}
