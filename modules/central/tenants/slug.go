package tenants

import (
	_ "embed"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
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

var slugPattern = regexp.MustCompile(SlugPattern)

// CheckNames says what is wrong with a slug or a name, for who does not come by HTTP. Empty ones are not looked at.
func CheckNames(slug, name string) error {
	if slug != "" && (len(slug) < 3 || len(slug) > 40 || !slugPattern.MatchString(slug)) {
		return errors.New("a slug is 3 to 40 lower-case letters, digits and hyphens, without a hyphen at its ends")
	}
	if n := utf8.RuneCountInString(name); name != "" && (n < 2 || n > 120 || strings.TrimSpace(name) == "") {
		return errors.New("a name has 2 to 120 characters")
	}
	return nil
}
