package identity_test

import (
	"strings"
	"testing"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestLandingPages(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	for language, pages := range map[string]map[string][]string{
		"id": {
			"/account/reset":      {"Tetapkan kata sandi baru", "Kata sandi, minimal 12 karakter", "Tautan ini tidak lengkap."},
			"/account/invitation": {"Terima undangan", "Nama Anda", "Kata sandi, minimal 12 karakter", "Tautan ini tidak lengkap."},
			"/account/not-me":     {"Ini bukan saya", "Amankan akun saya", "Tautan ini tidak lengkap."},
		},
		"en": {
			"/account/reset":      {"Set a new password", "Password, at least 12 characters", "This link is not complete."},
			"/account/invitation": {"Accept the invitation", "Your name", "Password, at least 12 characters", "This link is not complete."},
			"/account/not-me":     {"This was not me", "Secure my account", "This link is not complete."},
		},
	} {
		for page, texts := range pages {
			t.Run(page+" speaks "+language+" and does not repeat the token", func(t *testing.T) {
				t.Parallel()
				body := string(a.On("").Get(t, "/"+page+"?token=rahasia", "Accept", "text/html", "Accept-Language", language).Want(t, 200).Raw)
				for _, text := range append(texts, `lang="`+language+`"`) {
					if !strings.Contains(body, text) {
						t.Errorf("%q is missing in\n%s", text, body)
					}
				}
				if strings.Contains(body, "rahasia") {
					t.Error("the token is part of the page")
				}
			})
		}
	}
}
