// Package names judges what people call themselves and their workspaces: it ends up in mails, lists and other people's screens.
package names

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Valid reports whether s is one line of least to most characters with something to see in it, and nothing that rearranges what
// stands around it. Blanks at its ends are the caller's to trim.
func Valid(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return n >= least && n <= most && utf8.ValidString(s) && strings.ContainsFunc(s, visible) && !strings.ContainsFunc(s, disruptive)
}

func visible(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.IsMark(r) }

func disruptive(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}
