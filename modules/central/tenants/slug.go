package tenants

import (
	_ "embed"
	"slices"
	"strings"
)

// SlugPattern is what a workspace name looks like: a DNS label (RFC 1123) of lower-case ASCII, so that no two look alike
// by their letters' script, and none is an internationalised name (RFC 5890: no hyphens in third and fourth place).
const SlugPattern = `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`

//go:embed reserved.txt
var reservedText string

// reserved reports whether a slug must not be given to anybody: names of the platform's own hosts, words that would let a
// tenant pass for the platform, and profanity.
func reserved(slug string) bool {
	if strings.Contains(slug, "--") {
		return true
	}
	plain := strings.ReplaceAll(slug, "-", "")
	for line := range strings.Lines(reservedText) {
		word := strings.TrimSpace(line)
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case strings.HasPrefix(word, "*"): // anywhere, as a word of its own or glued together
			if w := word[1:]; plain == w || slices.Contains(strings.Split(slug, "-"), w) {
				return true
			}
		case plain == word:
			return true
		}
	}
	return false
}
