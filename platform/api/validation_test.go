package api_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestValidation(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const fine = `"name":"Budi","email":"budi@example.id"`

	for _, c := range []struct {
		rule, body string
		field      string
		id, en     string
	}{
		{"a field that is missing", `{"email":"a@b.id"}`, "name", "Wajib diisi.", "Is required."},
		{"a text too short", `{"name":"X","email":"a@b.id"}`, "name", "Minimal 3 karakter.", "Must have at least 3 characters."},
		{"a text too long", `{"name":"` + strings.Repeat("é", 21) + `","email":"a@b.id"}`, "name", "Maksimal 20 karakter.", "Must have at most 20 characters."},
		{"an email address", `{"name":"Budi","email":"rahasia"}`, "email", "Alamat email tidak valid.", "Is not a valid email address."},
		{"an email address with a name", `{"name":"Budi","email":"Budi <budi@example.id>"}`, "email", "Alamat email tidak valid.", "Is not a valid email address."},
		{"one of a few", `{` + fine + `,"kind":"rahasia"}`, "kind", "Harus salah satu dari: satu, dua.", "Must be one of: satu, dua."},
		{"a pattern", `{` + fine + `,"code":"rahasia"}`, "code", "Formatnya tidak sesuai.", "Does not have the right format."},
		{"a date", `{` + fine + `,"due":"rahasia"}`, "due", "Harus berupa tanggal, misalnya 2026-03-03.", "Must be a date, such as 2026-03-03."},
		{"a UUID", `{` + fine + `,"supplier":"rahasia"}`, "supplier", "Harus berupa UUID.", "Must be a UUID."},
		{"a minimum within a list", `{` + fine + `,"lines":[{"sku":"a","quantity":0}]}`, "lines.0.quantity", "Minimal 1.", "Must be at least 1."},
		{"an empty text within a list", `{` + fine + `,"lines":[{"sku":"a","quantity":1},{"sku":"","quantity":1}]}`, "lines.1.sku", "Wajib diisi.", "Is required."},
		{"a missing field within a list", `{` + fine + `,"lines":[{"sku":"a"}]}`, "lines.0.quantity", "Wajib diisi.", "Is required."},
		{"a list too long", `{` + fine + `,"lines":[` + strings.Repeat(`{"sku":"a","quantity":1},`, 3) + `{"sku":"a","quantity":1}]}`, "lines", "Maksimal berisi 3.", "Must hold at most 3."},
		{"a list of unique items", `{` + fine + `,"tags":["rahasia","rahasia"]}`, "tags", "Tidak boleh berisi nilai yang sama.", "Must not hold the same value twice."},
		{"a number", `{` + fine + `,"lines":[{"sku":"a","quantity":"rahasia"}]}`, "lines.0.quantity", "Harus berupa bilangan bulat.", "Must be a whole number."},
		{"a whole number", `{` + fine + `,"lines":[{"sku":"a","quantity":1.5}]}`, "lines.0.quantity", "Harus berupa bilangan bulat.", "Must be a whole number."},
		{"a number that fits", `{` + fine + `,"lines":[{"sku":"a","quantity":99999999999999999999}]}`, "lines.quantity", "Nilai tidak valid.", "Is not valid."},
		{"a truth", `{` + fine + `,"active":"rahasia"}`, "active", "Harus berupa true atau false.", "Must be true or false."},
		{"a text", `{"name":5,"email":"a@b.id"}`, "name", "Harus berupa teks.", "Must be text."},
		{"a list", `{` + fine + `,"lines":{}}`, "lines", "Harus berupa daftar.", "Must be a list."},
		{"an object", `["rahasia"]`, "body", "Harus berupa objek.", "Must be an object."},
		{"a field nobody knows", `{` + fine + `,"rahasiah":1}`, "rahasiah", "Kolom tidak dikenal.", "Is not a known field."},
		{"a field in the wrong case", `{` + fine + `,"NAME":"x"}`, "NAME", "Kolom tidak dikenal.", "Is not a known field."},
	} {
		t.Run("refuses what is not "+c.rule, func(t *testing.T) {
			t.Parallel()
			for lang, want := range map[string]string{"id": c.id, "en": c.en} {
				a := e.request(t, "POST /api/v1/drafts?lang="+lang, c.body).want(t, 422, "validation.failed")
				if got := a.body.Errors; len(got) != 1 || len(got[c.field]) != 1 || got[c.field][0] != want {
					t.Errorf("errors %q, want %s: %q", got, c.field, want)
				}
				if bytes.Contains(bytes.ReplaceAll(a.raw, []byte("rahasiah"), nil), []byte("rahasia")) {
					t.Errorf("repeats the value: %s", a.raw)
				}
			}
		})
	}

	t.Run("names every wrong field at once, of the query too", func(t *testing.T) {
		t.Parallel()
		a := e.request(t, "POST /api/v1/drafts?page=1", `{"name":"X","email":"x","surprise":1,"lines":[{}]}`).want(t, 422, "validation.failed")
		for _, f := range []string{"page", "name", "email", "surprise", "lines.0.sku", "lines.0.quantity"} {
			if len(a.body.Errors[f]) != 1 {
				t.Errorf("%s is missing from %s", f, a.raw)
			}
		}
	})
	t.Run("judges the query by its parameters' names", func(t *testing.T) {
		t.Parallel()
		for query, field := range map[string]string{
			"limit=0": "limit", "limit=101": "limit", "limit=x": "limit", "filter[kind]=tiga": "filter[kind]",
			"filter%5Bkind%5D=tiga": "filter[kind]", "filter[other]=1": "filter[other]", "page=2": "page", "q=%00": "q", "q=%ff": "q",
		} {
			a := e.request(t, "GET /api/v1/lists?"+query, "").want(t, 422, "validation.failed")
			if len(a.body.Errors) != 1 || len(a.body.Errors[field]) != 1 {
				t.Errorf("%s: %s", query, a.raw)
			}
		}
		e.request(t, "GET /api/v1/lists?filter[kind]=dua&limit=100&lang=en&q=a&sort=-name", "").want(t, 200, "ok")
		e.request(t, "GET /api/v1/hello?lang=en", "").want(t, 200, "ok")
		e.request(t, "GET /api/v1/hello?x=1", "").want(t, 422, "validation.failed")
		e.request(t, "GET /api/v1/lists?q=%zz", "").want(t, 400, "request.malformed")
	})
	t.Run("keeps its answer short for a body wrong all over", func(t *testing.T) {
		t.Parallel()
		var b strings.Builder
		b.WriteString(`{"x":0`)
		for i := range 20_000 {
			fmt.Fprintf(&b, `,"%s%d":0`, strings.Repeat("k", 30), i)
		}
		b.WriteString(`}`)
		a := e.request(t, "POST /api/v1/drafts", b.String()).want(t, 422, "validation.failed")
		if len(a.body.Errors) > 100 {
			t.Errorf("%d fields", len(a.body.Errors))
		}
	})
}
