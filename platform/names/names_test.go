package names_test

import (
	"strings"
	"testing"

	"garment.id/homecore/platform/names"
)

func TestValid(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Siti": true, "Ñandú O'Brien-de la Cruz": true, "李": true, "สมชาย": true, "می\u200cخواهم": true, "Toko 👗": true, strings.Repeat("é", 10): true,
		"": false, strings.Repeat("x", 25): false, "a\nb": false, "a\r\nBcc: x": false, "a\x00b": false, "a\tb": false, "a\u2028b": false,
		"\u202eabc": false, "\u200b": false, "\u00ad\ufeff": false, " \u00a0 ": false, "\u0301": false, "\xff": false,
	} {
		if got := names.Valid(name, 1, 24); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
	if names.Valid("x", 2, 24) {
		t.Error("too short")
	}
}
