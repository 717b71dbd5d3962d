package identity

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// letterSecured brings the link that sets a password, after an account was secured.
const letterSecured = "secured"

// Warn mails the owner of an account what looked suspicious, with the link "this was not me". An address that nobody has verified gets
// nothing: it may be somebody else's. Where the mail cannot be sent now, it returns an error and may be called again.
func (s *Service) Warn(ctx context.Context, w Warning) error {
	var u user
	err := s.DB.Gorm(ctx).Where("id = ?", w.UserID).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) || err == nil && (u.EmailVerifiedAt == nil || u.DisabledAt != nil) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read account %s: %w", w.UserID, err)
	}
	message, err := s.Brand.Render(u.Email, s.writeWarning(w, u))
	if err != nil {
		return err
	}
	err = s.Mail.Send(ctx, message)
	var permanent *mail.PermanentError
	if errors.As(err, &permanent) {
		s.Log.WarnContext(ctx, "a warning was refused by the mail server", "user_id", u.ID)
		return nil
	}
	return err
}

func (s *Service) writeWarning(w Warning, u user) mail.Letter {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	letter := mail.Letter{
		Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+","),
		Subject: in("Aktivitas yang tidak biasa pada akun Anda", "Unusual activity on your account"),
		Action:  &mail.Action{Label: in("Ini bukan saya", "This was not me"), URL: s.notMeURL(u, w.At)},
		After: []string{
			in("Jika itu Anda, abaikan email ini. Jika bukan, buka tautan di atas: semua sesi diakhiri dan Anda menetapkan kata sandi baru. Membuka tautan saja belum mengubah apa pun.",
				"If it was you, ignore this e-mail. If not, open the link above: every session is ended and you set a new password. Opening the link alone changes nothing."),
			goodFor(u.Locale, notMeFor),
		},
	}
	if len(w.Kinds) == 1 && w.Kinds[0] == "new_device" {
		letter.Subject = in("Masuk dari perangkat baru", "Sign-in from a new device")
	}
	for _, kind := range w.Kinds {
		letter.Body = append(letter.Body, suspicion(kind).In(u.Locale))
	}
	for _, f := range []mail.Fact{
		{Label: in("Waktu", "Time"), Value: w.At.UTC().Format("2006-01-02 15:04 UTC")},
		{Label: in("Perangkat", "Device"), Value: w.Device},
		{Label: in("Alamat IP", "IP address"), Value: w.IP},
		{Label: in("Lokasi", "Location"), Value: w.Place},
	} {
		if f.Value != "" {
			letter.Facts = append(letter.Facts, f)
		}
	}
	return letter
}

// suspicion is what a letter says of a signal.
func suspicion(kind string) locale.Text {
	switch kind {
	case "new_device":
		return locale.Text{ID: "Akun Anda dimasuki dari perangkat baru.", EN: "Your account was signed in to from a new device."}
	case "new_country":
		return locale.Text{ID: "Akun Anda dimasuki dari negara yang baru.", EN: "Your account was signed in to from a new country."}
	case "impossible_travel":
		return locale.Text{ID: "Akun Anda dimasuki dari dua tempat yang terlalu jauh untuk ditempuh dalam waktu sesingkat itu.",
			EN: "Your account was signed in to from two places too far apart to travel between in that time."}
	case "success_after_failures":
		return locale.Text{ID: "Akun Anda berhasil dimasuki setelah beberapa kali kata sandi salah.", EN: "Your account was signed in to after several wrong passwords."}
	case "refresh_reuse":
		return locale.Text{ID: "Sebuah sesi Anda dipakai dari dua tempat, sehingga kami akhiri.", EN: "A session of yours was in use in two places, so we ended it."}
	case "credential_stuffing":
		return locale.Text{ID: "Sebuah alamat yang mencoba banyak akun juga mencoba akun Anda.", EN: "An address that tries many accounts tried yours too."}
	case "totp_bruteforce":
		return locale.Text{ID: "Setelah kata sandi yang benar, kode verifikasi yang salah dimasukkan berulang kali.",
			EN: "After the right password, wrong verification codes were entered again and again."}
	case "dormant_account":
		return locale.Text{ID: "Akun Anda dimasuki setelah lama tidak dipakai.", EN: "Your account was signed in to after a long time without use."}
	default:
		return locale.Text{ID: "Ada aktivitas yang tidak biasa pada akun Anda.", EN: "There was unusual activity on your account."}
	}
}

// writeSecured is the letter with the link that sets a new password.
func (s *Service) writeSecured(u user, l mailLink) mail.Letter {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	return mail.Letter{
		Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+","),
		Subject: in("Tetapkan kata sandi baru", "Set a new password"),
		Body: []string{in("Demi keamanan, semua sesi akun Anda diakhiri dan kata sandi Anda tidak berlaku lagi. Tetapkan yang baru untuk masuk kembali.",
			"For safety, every session of your account was ended and your password is no longer accepted. Set a new one to sign in again.")},
		Action: &mail.Action{Label: in("Tetapkan kata sandi", "Set a password"), URL: s.pageURL(s.Config.ResetURL, resetPage, s.links.encode(l))},
		After: []string{goodFor(u.Locale, s.Config.ResetLinkTTL) + " " + in("Setelah itu, mintalah tautan baru lewat \"Lupa kata sandi\" di halaman masuk.",
			"After that, ask for a new link with \"Forgot password\" on the sign-in page.")},
	}
}
