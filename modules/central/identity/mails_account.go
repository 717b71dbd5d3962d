package identity

import (
	"fmt"
	"time"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// The letters about an account's password.
const (
	letterReset           = "reset"            // asked for by forgot
	letterConfirm         = "confirm_password" // a sign-in by a password that is only a claim
	letterPasswordChanged = "password_changed"
)

// writeAccount returns one of them; false for any other.
func (s *Service) writeAccount(m sendMail, u user, l mailLink) (mail.Letter, bool) {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	brand := s.Brand.Name
	letter := mail.Letter{Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+",")}
	if requireOwner(u) != nil {
		letter.Greeting = in("Halo,", "Hello,") // the name is whoever's who registered the address
	}
	set := &mail.Action{Label: in("Tetapkan kata sandi", "Set a password")}
	good := goodFor(u.Locale, s.Config.ResetLinkTTL)

	switch m.Letter {
	case letterReset:
		set.URL = s.pageURL(s.Config.ResetURL, resetPage, s.links.encode(l))
		letter.Subject = in("Atur ulang kata sandi Anda", "Reset your password")
		letter.Body = []string{in("Seseorang, mungkin Anda, meminta untuk mengatur ulang kata sandi akun "+brand+" dengan alamat email ini.",
			"Somebody, perhaps you, asked to reset the password of the "+brand+" account with this e-mail address.")}
		letter.Action = set
		letter.After = []string{
			good + " " + in("Setelah kata sandi baru ditetapkan, semua perangkat dikeluarkan.", "Once a new password is set, every device is signed out."),
			in("Jika Anda tidak memintanya, abaikan email ini. Kata sandi Anda tidak berubah.", "If you did not ask for it, ignore this e-mail. Your password has not changed."),
		}
	case letterConfirm:
		set.URL = s.pageURL(s.Config.ResetURL, resetPage, s.links.encode(l))
		letter.Greeting = in("Halo,", "Hello,")
		letter.Subject = in("Tetapkan kata sandi Anda", "Set your password")
		letter.Body = []string{
			in("Seseorang masuk ke "+brand+" dengan alamat email ini dan kata sandi yang dipilih saat mendaftar, dari jaringan lain daripada tempat email verifikasi dibuka.",
				"Somebody signed in to "+brand+" with this e-mail address and the password chosen when registering, from another network than the one where the verification mail was opened."),
			in("Jika itu Anda, tetapkan kata sandi Anda dengan tautan di bawah. Sampai saat itu, kata sandi tersebut tidak berlaku.",
				"If that was you, set your password with the link below. Until then that password is not accepted."),
		}
		letter.Action = set
		letter.After = []string{good, in("Jika itu bukan Anda, abaikan email ini: orang itu tidak dapat masuk.", "If it was not you, ignore this e-mail: they cannot get in.")}
	case letterPasswordChanged:
		letter.Subject = in("Kata sandi Anda telah diubah", "Your password was changed")
		letter.Body = []string{in("Kata sandi akun "+brand+" Anda baru saja diubah. Perangkat lain telah dikeluarkan, dan perangkat yang diingat dilupakan.",
			"The password of your "+brand+" account has just been changed. Other devices were signed out, and remembered devices forgotten.")}
		letter.Facts = factsOf(u.Locale, m)
		letter.After = []string{in("Jika itu bukan Anda, segera atur ulang kata sandi Anda lewat \"Lupa kata sandi\" di halaman masuk.",
			"If it was not you, reset your password at once with \"Forgot password\" on the sign-in page.")}
	case letterSecured:
		return s.writeSecured(u, l), true
	default:
		return mail.Letter{}, false
	}
	return letter, true
}

// factsOf is the table of a letter that tells when, by what and from where something happened.
func factsOf(language locale.Language, m sendMail) []mail.Fact {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(language) }
	facts := []mail.Fact{{Label: in("Waktu", "Time"), Value: m.At.UTC().Format("2006-01-02 15:04 UTC")}}
	if m.Device != "" {
		facts = append(facts, mail.Fact{Label: in("Perangkat", "Device"), Value: m.Device})
	}
	if m.IP != "" {
		facts = append(facts, mail.Fact{Label: in("Alamat IP", "IP address"), Value: m.IP})
	}
	return facts
}

// goodFor says how long a link is good.
func goodFor(language locale.Language, d time.Duration) string {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(language) }
	switch days, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour), int(d/time.Minute); {
	case days > 1 && d%(24*time.Hour) == 0:
		return in(fmt.Sprintf("Tautan ini berlaku %d hari.", days), fmt.Sprintf("The link is good for %d days.", days))
	case hours == 1:
		return in("Tautan ini berlaku satu jam.", "The link is good for one hour.")
	case hours > 1:
		return in(fmt.Sprintf("Tautan ini berlaku %d jam.", hours), fmt.Sprintf("The link is good for %d hours.", hours))
	default:
		return in(fmt.Sprintf("Tautan ini berlaku %d menit.", minutes), fmt.Sprintf("The link is good for %d minutes.", minutes))
	}
}
