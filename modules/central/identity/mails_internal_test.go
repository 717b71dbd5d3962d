package identity

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// Words that stand in letters of the one language, and in none of the other.
var onlyIn = map[locale.Language][]string{
	locale.ID: {"Anda", "akun", "tidak", "telah", "sandi", "Tautan", "berlaku", "dengan", "Waktu", "Perangkat", "Alamat", "Oleh", "Alasan"},
	locale.EN: {"your", "you", "account", "password", "link", "with", "Time", "Device", "address", "By", "Reason"},
}

// TestLettersAreInBothLanguages writes every letter that the package declares in both, so that one that is added is asked too.
func TestLettersAreInBothLanguages(t *testing.T) {
	t.Parallel()
	key := crypto.NewKey()
	s := &Service{Deps: Deps{Brand: mail.Brand{Name: "Garment.id", URL: "https://garment.id"}, Issuer: "https://garment.id",
		Config: Config{VerifyLinkTTL: 24 * time.Hour, ResetLinkTTL: 30 * time.Minute, AccessTTL: 10 * time.Minute}},
		links: linkTokens{mac: key.Authenticator("links")}, notMe: notMeTokens{mac: key.Authenticator("not me")}}
	at := time.Date(2026, 3, 3, 16, 0, 16, 0, time.UTC)
	letters := map[string]func(u user) (mail.Letter, error){}
	for name, value := range constants(t) {
		switch {
		case strings.HasPrefix(name, "letter"):
			letters[name] = func(u user) (mail.Letter, error) {
				m := sendMail{Letter: value, UserID: u.ID, At: at, Device: "Firefox, Linux", IP: "192.0.2.10", Left: 2}
				return s.write(m, u, mailLink{ID: newID(), UserID: u.ID, Email: u.Email, CreatedAt: at})
			}
		case strings.HasPrefix(name, "notice") && name != "notice":
			letters[name] = func(u user) (mail.Letter, error) {
				return s.writeNotice(notice{What: value, UserID: u.ID, Reason: "#1207", Tenant: "Konveksi Rapi", At: at}, u, "Sari"), nil
			}
		}
	}
	for _, kind := range []string{"refresh_reuse", "totp_bruteforce", "impossible_travel", "credential_stuffing", "success_after_failures", "new_country",
		"dormant_account", "new_device", "one that a newer binary knows"} {
		letters["warning of "+kind] = func(u user) (mail.Letter, error) {
			return s.writeWarning(Warning{UserID: u.ID, Kinds: []string{kind}, Device: "Firefox, Linux", IP: "192.0.2.10", Place: "Bandung, ID", At: at}, u), nil
		}
	}
	if len(letters) < 27 {
		t.Errorf("only %d letters: the test looks at the wrong place", len(letters))
	}
	for name, write := range letters {
		texts := map[locale.Language][]string{}
		for _, language := range []locale.Language{locale.ID, locale.EN} {
			letter, err := write(user{ID: newID(), Name: "Siti", Email: "siti@example.com", Locale: language, EmailVerifiedAt: &at})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := s.Brand.Render("siti@example.com", letter); err != nil || letter.Lang != language {
				t.Errorf("%s: %v, in %q", name, err, letter.Lang)
			}
			texts[language] = sentences(letter)
		}
		if len(texts[locale.ID]) != len(texts[locale.EN]) {
			t.Errorf("%s says\n%q\nand\n%q", name, texts[locale.ID], texts[locale.EN])
			continue
		}
		for i, id := range texts[locale.ID] {
			if en := texts[locale.EN][i]; id == "" || en == "" || id == en {
				t.Errorf("%s: %q and %q", name, id, en)
			}
		}
		for language, foreign := range map[locale.Language][]string{locale.ID: onlyIn[locale.EN], locale.EN: onlyIn[locale.ID]} {
			words := strings.FieldsFunc(strings.Join(texts[language], " "), func(r rune) bool { return strings.ContainsRune(` .,:;"`, r) })
			for _, word := range foreign {
				if slices.Contains(words, word) {
					t.Errorf("%s in %s has the word %q: %q", name, language, word, texts[language])
				}
			}
		}
	}
}

func TestLettersSayHowLongALinkIsGood(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]locale.Text{
		30 * time.Minute:   {ID: "Tautan ini berlaku 30 menit.", EN: "The link is good for 30 minutes."},
		time.Hour:          {ID: "Tautan ini berlaku satu jam.", EN: "The link is good for one hour."},
		24 * time.Hour:     {ID: "Tautan ini berlaku 24 jam.", EN: "The link is good for 24 hours."},
		36 * time.Hour:     {ID: "Tautan ini berlaku 36 jam.", EN: "The link is good for 36 hours."},
		7 * 24 * time.Hour: {ID: "Tautan ini berlaku 7 hari.", EN: "The link is good for 7 days."},
	} {
		if got := (locale.Text{ID: goodFor(locale.ID, d), EN: goodFor(locale.EN, d)}); got != want {
			t.Errorf("%s: %v", d, got)
		}
	}
}

// A reset signs out every device, so its letter speaks of no other ones.
func TestTheLetterOfAResetSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	key := crypto.NewKey()
	s := &Service{Deps: Deps{Brand: mail.Brand{Name: "Garment.id"}, Issuer: "https://garment.id", Config: Config{ResetLinkTTL: 30 * time.Minute}},
		links: linkTokens{mac: key.Authenticator("links")}}
	for language, want := range map[locale.Language]string{locale.ID: "semua perangkat dikeluarkan.", locale.EN: "every device is signed out."} {
		letter, ok := s.writeAccount(sendMail{Letter: letterReset}, user{Name: "Siti", Locale: language}, mailLink{ID: newID()})
		if !ok || !strings.Contains(strings.Join(letter.After, " "), want) {
			t.Errorf("%q", letter.After)
		}
	}
}

// sentences is everything in a letter that depends on its language.
func sentences(l mail.Letter) []string {
	all := slices.Concat([]string{l.Subject, l.Greeting}, l.Body, l.After)
	for _, f := range l.Facts {
		all = append(all, f.Label)
	}
	if l.Action != nil {
		all = append(all, l.Action.Label)
	}
	return all
}

// constants returns the package's constants that are texts, by name.
func constants(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != len(spec.Names) {
				return true
			}
			for i, value := range spec.Values {
				if text, ok := value.(*ast.BasicLit); ok && text.Kind == token.STRING {
					found[spec.Names[i].Name], _ = strconv.Unquote(text.Value)
				}
			}
			return true
		})
	}
	return found
}
