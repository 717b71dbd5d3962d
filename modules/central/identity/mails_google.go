package identity

import (
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// Letters of signing in with Google.
const (
	letterGoogleLinked   = "google_linked"
	letterGoogleUnlinked = "google_unlinked"
)

// writeGoogle returns one of them; false for any other.
func (s *Service) writeGoogle(m sendMail, u user) (mail.Letter, bool) {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	brand := s.Brand.Name
	letter := mail.Letter{Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+","), Facts: factsOf(u.Locale, m)}
	switch m.Letter {
	case letterGoogleLinked:
		letter.Subject = in("Google terhubung dengan akun Anda", "Google is linked to your account")
		letter.Body = []string{in("Mulai sekarang Anda dapat masuk ke "+brand+" dengan akun Google Anda.", "From now on you can sign in to "+brand+" with your Google account.")}
	case letterGoogleUnlinked:
		letter.Subject = in("Google diputuskan dari akun Anda", "Google was unlinked from your account")
		letter.Body = []string{in("Akun Google Anda tidak lagi dapat dipakai untuk masuk ke "+brand+".", "Your Google account can no longer be used to sign in to "+brand+".")}
	default:
		return mail.Letter{}, false
	}
	letter.After = []string{in("Jika itu bukan Anda, ganti kata sandi Anda dan akhiri semua sesi sekarang juga.",
		"If that was not you, change your password and end all sessions right now.")}
	return letter, true
}
