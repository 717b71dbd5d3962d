package identity

import (
	"fmt"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// The letters of this module. Verify and resent are one text; they are counted apart, so that asking again right after registering
// gets a mail.
const (
	letterVerify       = "verify"
	letterVerifyResent = "verify_resent"
	letterVerifyAgain  = "verify_again"
	letterKnown        = "already_registered"
	letterVerified     = "already_verified"
)

// write returns a letter to u in their language; l is the link it carries, if it carries one.
func (s *Service) write(m sendMail, u user, l mailLink) (mail.Letter, error) {
	if letter, ok := s.writeAccount(m, u, l); ok {
		return letter, nil
	}
	if letter, ok := s.writeSecondFactor(m, u); ok {
		return letter, nil
	}
	if letter, ok := s.writeGoogle(m, u); ok {
		return letter, nil
	}
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	brand := s.Brand.Name
	letter := mail.Letter{Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+",")}
	if requireOwner(u) != nil {
		letter.Greeting = in("Halo,", "Hello,") // the name is whoever's who registered the address: a line of theirs in our mail
	}
	verify := &mail.Action{Label: in("Verifikasi email", "Verify e-mail")}
	good := goodFor(u.Locale, s.Config.VerifyLinkTTL)
	ignore := in("Jika Anda tidak mendaftar, abaikan email ini.", "If you did not register, ignore this e-mail.")

	// When and by what the address was registered: whoever reads it should know whether that was them.
	registered := sendMail{At: l.CreatedAt, Device: l.ClaimedDevice}

	switch m.Letter {
	case letterVerify, letterVerifyResent:
		verify.URL = s.verifyURL(l)
		letter.Subject = in("Verifikasi alamat email Anda", "Verify your e-mail address")
		letter.Body = []string{in("Terima kasih telah mendaftar di "+brand+". Pastikan bahwa alamat email ini milik Anda.",
			"Thank you for registering with "+brand+". Please confirm that this address is yours.")}
		letter.Action, letter.After = verify, []string{good, ignore}
		if m.Letter == letterVerify {
			letter.Facts = factsOf(u.Locale, registered)
		}
	case letterVerifyAgain:
		verify.URL = s.verifyURL(l)
		letter.Subject = in("Alamat email ini didaftarkan kembali", "This e-mail address was registered again")
		letter.Body = []string{
			in("Alamat ini sudah terdaftar di "+brand+" tetapi belum diverifikasi, dan baru saja didaftarkan kembali dengan kata sandi baru.",
				"This address is registered with "+brand+" but not verified yet, and has just been registered again with a new password."),
			in("Jika itu Anda, tautan di bawah memverifikasi alamat ini dan menetapkan kata sandi yang terakhir Anda masukkan.",
				"If that was you, the link below verifies the address and sets the password you entered last."),
		}
		letter.Facts, letter.Action = factsOf(u.Locale, registered), verify
		letter.After = []string{good, in("Jika itu bukan Anda, jangan buka tautan ini.", "If it was not you, do not open the link.")}
	case letterKnown:
		letter.Subject = in("Anda sudah memiliki akun", "You already have an account")
		letter.Body = []string{in("Seseorang, mungkin Anda, mencoba mendaftar di "+brand+" dengan alamat email ini. Alamat ini sudah memiliki akun; tidak ada yang berubah.",
			"Somebody, perhaps you, tried to register with "+brand+" using this e-mail address. It already has an account; nothing has changed.")}
		letter.After = []string{in("Jika itu Anda, masuklah dengan kata sandi Anda, atau pilih \"Lupa kata sandi\" untuk menetapkan yang baru. Jika bukan, abaikan email ini.",
			"If it was you, sign in with your password, or choose \"Forgot password\" to set a new one. If not, ignore this e-mail.")}
	case letterVerified:
		letter.Subject = in("Alamat email Anda sudah diverifikasi", "Your e-mail address is verified already")
		letter.Body = []string{in("Seseorang, mungkin Anda, meminta email verifikasi dari "+brand+" untuk alamat ini. Alamat ini sudah diverifikasi: Anda dapat langsung masuk.",
			"Somebody, perhaps you, asked "+brand+" for a verification mail to this address. It is verified already: you can sign in.")}
		letter.After = []string{in("Jika itu bukan Anda, abaikan email ini.", "If it was not you, ignore this e-mail.")}
	default:
		return mail.Letter{}, fmt.Errorf("there is no letter %q", m.Letter)
	}
	return letter, nil
}
