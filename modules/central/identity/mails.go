package identity

import (
	"fmt"
	"time"

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
)

// write returns a letter to u in their language; l is the link it carries, if it carries one.
func (s *Service) write(name string, u user, l mailLink) (mail.Letter, error) {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	brand := s.Brand.Name
	letter := mail.Letter{Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+",")}
	verify := &mail.Action{Label: in("Verifikasi email", "Verify e-mail")}
	hours := int(s.Config.VerifyLinkTTL / time.Hour)
	good := in(fmt.Sprintf("Tautan ini berlaku %d jam.", hours), fmt.Sprintf("The link is good for %d hours.", hours))
	if hours < 1 {
		good = in("Tautan ini hanya berlaku sebentar.", "The link is good for a short while only.")
	}
	ignore := in("Jika Anda tidak mendaftar, abaikan email ini.", "If you did not register, ignore this e-mail.")

	switch name {
	case letterVerify, letterVerifyResent:
		verify.URL = s.verifyURL(l)
		letter.Subject = in("Verifikasi alamat email Anda", "Verify your e-mail address")
		letter.Body = []string{in("Terima kasih telah mendaftar di "+brand+". Pastikan bahwa alamat email ini milik Anda.",
			"Thank you for registering with "+brand+". Please confirm that this address is yours.")}
		letter.Action, letter.After = verify, []string{good, ignore}
	case letterVerifyAgain:
		verify.URL = s.verifyURL(l)
		letter.Greeting = in("Halo,", "Hello,")
		letter.Subject = in("Alamat email ini didaftarkan kembali", "This e-mail address was registered again")
		letter.Body = []string{
			in("Alamat ini sudah terdaftar di "+brand+" tetapi belum diverifikasi, dan baru saja didaftarkan kembali dengan kata sandi baru.",
				"This address is registered with "+brand+" but not verified yet, and has just been registered again with a new password."),
			in("Jika itu Anda, tautan di bawah memverifikasi alamat ini dan menetapkan kata sandi yang terakhir Anda masukkan.",
				"If that was you, the link below verifies the address and sets the password you entered last."),
		}
		letter.Action = verify
		letter.After = []string{good, in("Jika itu bukan Anda, jangan buka tautan ini.", "If it was not you, do not open the link.")}
	case letterKnown:
		letter.Subject = in("Anda sudah memiliki akun", "You already have an account")
		letter.Body = []string{in("Seseorang, mungkin Anda, mencoba mendaftar di "+brand+" dengan alamat email ini. Alamat ini sudah memiliki akun; tidak ada yang berubah.",
			"Somebody, perhaps you, tried to register with "+brand+" using this e-mail address. It already has an account; nothing has changed.")}
		letter.After = []string{in("Jika itu Anda, masuklah dengan kata sandi Anda. Jika bukan, abaikan email ini.",
			"If it was you, sign in with your password. If not, ignore this e-mail.")}
	default:
		return mail.Letter{}, fmt.Errorf("there is no letter %q", name)
	}
	return letter, nil
}
