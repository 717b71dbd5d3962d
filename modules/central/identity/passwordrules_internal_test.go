package identity

import (
	"slices"
	"testing"
)

func TestAuth02_TheListIsWhole(t *testing.T) {
	t.Parallel()
	list := commonPasswords()
	if len(list) < 100_000 || !slices.IsSorted(list) {
		t.Fatalf("%d passwords, sorted: %t", len(list), slices.IsSorted(list))
	}
	for _, s := range list {
		if s == "" || fold(s) != s {
			t.Fatalf("%q is not as passwords are looked up", s)
		}
	}
}

func TestIsCommon(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"123456", "password", "qwertyqwerty", "1q2w3e4r5t6y", "123456789012", "abcdefghijklmn", "zyxwvutsrqpo", "aaaaaaaaaaaa",
		"abcabcabcabca", "passwordpassword", "password2024!", "motherfucker"} {
		if !isCommon(fold(s)) {
			t.Errorf("%q is not common", s)
		}
	}
	for _, s := range []string{"", "kata sandi yang panjang", "correct horse battery staple", "rT7#mQ2!xZ9@", "benang merah di gudang", "пароль на складе ткани"} {
		if isCommon(fold(s)) {
			t.Errorf("%q is common", s)
		}
	}
}

func TestIsPersonal(t *testing.T) {
	t.Parallel()
	u := user{Name: "Budi Santoso", Email: "budi.santoso88@rapijahit.co.id"}
	for _, s := range []string{"BudiSantoso2024!", "budi.santoso88@rapijahit.co.id", "santoso-budi-88", "RapiJahit12345", "garment.id garment.id", "homecore123456", "homecore1234567890", "password-budi-santoso",
		"ｂｕｄｉ santoso 1", "budi_santoso_kata"} {
		if !isPersonal(s, u, "Garment.id") {
			t.Errorf("%q is not personal", s)
		}
	}
	for _, s := range []string{"rumah budi di tepi sawah", "kata sandi yang panjang", "garment dari pekalongan utara", "benang budi.santoso88 di laci kanan", "homecore di tepi sawah hijau"} {
		if isPersonal(s, u, "Garment.id") {
			t.Errorf("%q is personal", s)
		}
	}
}
