package identity

import (
	"strings"
	"testing"
)

func TestNormaliseEmail(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"siti@example.com":          "siti@example.com",
		"  Siti@Example.COM\t":      "siti@example.com",
		"A@x":                       "a@x",
		"siti+konveksi@example.com": "siti+konveksi@example.com",
		"ｓｉｔｉ@ｅｘａｍｐｌｅ．ｃｏｍ":               "siti@example.com", // full width
		"siti@BÜCHER.example":            "siti@xn--bcher-kva.example",
		"siti@xn--bcher-kva.example":     "siti@xn--bcher-kva.example",
		"jose\u0301@example.com":         "jos\u00e9@example.com",
		"o'brien@example.co.id":          "o'brien@example.co.id",
		strings.Repeat("a", 64) + "@b.c": strings.Repeat("a", 64) + "@b.c",
	} {
		if got, err := normaliseEmail(given); err != nil || got != want {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
	for _, given := range []string{
		"", "@", "siti", "siti@", "@example.com", "siti example@x.com", "siti@exam ple.com", "siti@@example.com", "a@b@example.com",
		".siti@example.com", "siti.@example.com", "si..ti@example.com", "siti@.com", "siti@example..com", "siti@example.com.", "siti@-x.com",
		"siti\x00@example.com", "siti\r\nBcc: x@example.com", "Siti <siti@example.com>", `"siti"@example.com`, "siti@[127.0.0.1]", "siti@exa_mple.com",
		"siti,budi@example.com", strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("b", 64) + ".com", "a@" + strings.Repeat("b.", 127) + "com",
		"siti\u200b@example.com", "\u202esiti@example.com", "siti@example\u2024.com\x00",
	} {
		if got, err := normaliseEmail(given); err == nil {
			t.Errorf("took %q as %q", given, got)
		}
	}
}

func FuzzNormaliseEmail(f *testing.F) {
	for _, seed := range []string{"Siti@Example.com", "ﬁ@ｘ.com", "İ@x.y", "ß@ß.de", "a@xn--a", "\u1e9e@x", "Σ@ΟΔΟΣ.gr"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := normaliseEmail(s)
		if err != nil {
			return
		}
		if twice, err := normaliseEmail(once); err != nil || twice != once {
			t.Errorf("%q → %q → %q (%v): not one form", s, once, twice, err)
		}
		if again, err := normaliseEmail("  " + s + "\n"); err != nil || again != once {
			t.Errorf("%q: blanks around it matter", s)
		}
		if strings.ContainsAny(once, " \r\n\t\x00<>,;:\"") || strings.Count(once, "@") != 1 {
			t.Errorf("%q → %q is no address", s, once)
		}
	})
}
