package identity

import (
	"bytes"
	_ "embed" // for the page
	"html/template"
	"net/http"
	"net/url"
	"strconv"

	"garment.id/homecore/platform/locale"
)

// A link in a mail is opened by browsers, and by scanners. Where it is to do more than show that it was read, it leads to a page with a
// form, and the form's POST does it: a frontend's page where one is configured, or else one of these. They know nothing of the token.
const (
	resetPage  = "/account/reset"
	invitePage = "/account/invitation"
)

var (
	//go:embed landing.html
	landingHTML string
	//go:embed landing.css
	landingCSS []byte
	//go:embed landing.js
	landingJS []byte

	landing = template.Must(template.New("landing").Parse(landingHTML))
)

const landingPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// pageURL returns where a link leads that is answered by a form: the configured page, or our own on the configured origin.
func (s *Service) pageURL(configured, own, token string) string {
	if target, err := url.Parse(configured); configured != "" && err == nil {
		q := target.Query()
		q.Set("token", token)
		target.RawQuery = q.Encode()
		return target.String()
	}
	return s.Issuer + own + "?token=" + url.QueryEscape(token)
}

// Pages adds the pages that links in mails lead to.
func (s *Service) Pages(mux *http.ServeMux) {
	mux.HandleFunc("GET "+resetPage, func(w http.ResponseWriter, r *http.Request) {
		s.showForm(w, r, "/api/v1/auth/password/reset", asking{password: true},
			locale.Text{ID: "Tetapkan kata sandi baru", EN: "Set a new password"},
			locale.Text{ID: "Setelah disimpan, semua perangkat dikeluarkan.", EN: "Once it is saved, every device is signed out."},
			locale.Text{ID: "Simpan", EN: "Save"},
			locale.Text{ID: "Kata sandi disimpan. Silakan masuk.", EN: "The password is saved. You can sign in now."})
	})
	mux.HandleFunc("GET "+invitePage, func(w http.ResponseWriter, r *http.Request) {
		s.showForm(w, r, "/api/v1/auth/invitations/accept", asking{name: true, password: true},
			locale.Text{ID: "Terima undangan", EN: "Accept the invitation"},
			locale.Text{ID: "Jika Anda sudah memiliki akun, biarkan kolom di bawah kosong.", EN: "If you have an account already, leave the fields below empty."},
			locale.Text{ID: "Terima", EN: "Accept"},
			locale.Text{ID: "Undangan diterima. Silakan masuk.", EN: "The invitation is accepted. You can sign in now."})
	})
	mux.HandleFunc("GET "+notMePage, func(w http.ResponseWriter, r *http.Request) {
		s.showForm(w, r, "/api/v1/auth/not-me", asking{},
			locale.Text{ID: "Ini bukan saya", EN: "This was not me"},
			locale.Text{ID: "Semua sesi akun Anda diakhiri, kata sandi Anda tidak berlaku lagi, dan Anda menerima email untuk menetapkan yang baru.",
				EN: "Every session of your account is ended, your password is no longer accepted, and you get an e-mail to set a new one."},
			locale.Text{ID: "Amankan akun saya", EN: "Secure my account"},
			locale.Text{ID: "Akun Anda aman. Periksa email Anda untuk menetapkan kata sandi baru.", EN: "Your account is secured. Check your e-mail to set a new password."})
	})
	mux.HandleFunc("GET /account/link.css", static("text/css; charset=utf-8", landingCSS))
	mux.HandleFunc("GET /account/link.js", static("text/javascript; charset=utf-8", landingJS))
}

func static(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(content) // a reader who left
	}
}

// asking is what a form asks for beside the press of its button.
type asking struct{ name, password bool }

func (s *Service) showForm(w http.ResponseWriter, r *http.Request, post string, ask asking, title, lead, button, done locale.Text) {
	language, least := locale.From(r.Context()), strconv.Itoa(s.Config.PasswordMinLength)
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(language) }
	var page bytes.Buffer
	err := landing.Execute(&page, map[string]any{
		"Lang": language, "Brand": s.Brand.Name, "Post": post, "AskName": ask.name, "AskPassword": ask.password,
		"Title": title.In(language), "Lead": lead.In(language), "Button": button.In(language), "Done": done.In(language),
		"NameLabel":     in("Nama Anda", "Your name"),
		"PasswordLabel": in("Kata sandi, minimal "+least+" karakter", "Password, at least "+least+" characters"),
		"Incomplete":    in("Tautan ini tidak lengkap. Buka tautan di email Anda sekali lagi.", "This link is not complete. Open the one in your e-mail once more."),
		"Failed":        in("Tidak terkirim. Coba lagi.", "Not sent. Try again."),
		"NoScript":      in("Halaman ini memerlukan JavaScript.", "This page needs JavaScript."),
	})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", landingPolicy)
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(page.Bytes()) // a reader who left
}
