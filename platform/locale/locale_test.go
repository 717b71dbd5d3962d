package locale_test

import (
	"context"
	"testing"

	"garment.id/homecore/platform/locale"
)

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]locale.Language{
		"": locale.ID, "en": locale.EN, "en-GB,en;q=0.9": locale.EN, "id-ID,en;q=0.5": locale.ID,
		"en;q=0.2, id;q=0.9": locale.ID, "fr": locale.ID, "fr, en;q=0.1": locale.EN, ";;;": locale.ID,
	} {
		if got := locale.Negotiate(header); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]bool{"id": true, "en": true, "en-GB": true, "fr": false, "": false, "12": false} {
		if _, ok := locale.Parse(tag); ok != want {
			t.Errorf("%q is known: %v", tag, ok)
		}
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	text := locale.Text{ID: "ya", EN: "yes"}
	if got := text.In(locale.From(context.Background())); got != "ya" {
		t.Errorf("without a language: %s", got)
	}
	if got := text.In(locale.From(locale.With(t.Context(), locale.EN))); got != "yes" {
		t.Errorf("in English: %s", got)
	}
}
