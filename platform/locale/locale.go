// Package locale says in which of the two languages of HomeCore, Indonesian and English, a text is given.
//
// A text is written where it is used, in both languages at once ([Text]): a message that lacks a translation does not compile.
package locale

import (
	"context"

	"golang.org/x/text/language"
)

// Language is one of the two languages every text exists in, as a BCP 47 tag.
type Language string

const (
	ID Language = "id" // Indonesian, the default
	EN Language = "en" // English
)

var matcher = language.NewMatcher([]language.Tag{language.Indonesian, language.English})

// Parse returns the language named by tag ("id", "en", "en-GB"); ok is false for any other.
func Parse(tag string) (l Language, ok bool) {
	t, err := language.Parse(tag)
	if err != nil {
		return ID, false
	}
	switch base, _ := t.Base(); base.String() {
	case "id":
		return ID, true
	case "en":
		return EN, true
	}
	return ID, false
}

// Negotiate picks the language for an Accept-Language header (RFC 9110 §12.5.4); Indonesian where it names neither.
func Negotiate(acceptLanguage string) Language {
	tags, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil || len(tags) == 0 {
		return ID
	}
	if _, i, confidence := matcher.Match(tags...); i == 1 && confidence > language.No {
		return EN
	}
	return ID
}

// Text is one message in both languages.
type Text struct{ ID, EN string }

// In returns the text in l.
func (t Text) In(l Language) string {
	if l == EN {
		return t.EN
	}
	return t.ID
}

type contextKey struct{}

// With returns a context whose texts are in l.
func With(ctx context.Context, l Language) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// From returns the language ctx carries, or Indonesian.
func From(ctx context.Context) Language {
	if l, ok := ctx.Value(contextKey{}).(Language); ok {
		return l
	}
	return ID
}
