package identity

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// The letters that tell an owner that something about their second factor has changed.
const (
	letterTwoFactorOn      = "two_factor_on"
	letterTwoFactorOff     = "two_factor_off"
	letterRecoveryCodeUsed = "recovery_code_used"
	letterRecoveryCodesNew = "recovery_codes_new"
	letterPasskeyAdded     = "passkey_added"
	letterPasskeyRemoved   = "passkey_removed"
)

// notify queues a letter to the user, in the transaction ctx carries. Left is how many recovery codes there are still. Each is sent:
// whoever did it may have counted on an earlier one holding it back.
func (s *Service) notify(ctx context.Context, letter string, to uuid.UUID, left int) error {
	m := s.telling(ctx, letter, to)
	m.Left = left
	return s.queueEach(ctx, m)
}

// writeSecondFactor returns one of them; false for any other.
func (s *Service) writeSecondFactor(m sendMail, u user) (mail.Letter, bool) {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	letter := mail.Letter{Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+",")}
	brand := s.Brand.Name
	ended := in("Sesi lain dan perangkat yang diingat telah diakhiri.", "Other sessions and remembered devices have been ended.")
	switch m.Letter {
	case letterTwoFactorOn:
		letter.Subject = in("Verifikasi dua langkah telah aktif", "Two-factor authentication is on")
		letter.Body = []string{in("Aplikasi autentikator telah dipasang pada akun "+brand+" Anda. Kode darinya diminta setiap kali Anda masuk.",
			"An authenticator app has been set up for your "+brand+" account. You will be asked for a code from it when you sign in."), ended}
	case letterTwoFactorOff:
		letter.Subject = in("Aplikasi autentikator telah dilepas", "The authenticator app has been removed")
		letter.Body = []string{in("Aplikasi autentikator telah dilepas dari akun "+brand+" Anda. Kode darinya tidak diminta lagi.",
			"The authenticator app has been removed from your "+brand+" account. You will not be asked for its codes any more."), ended}
	case letterRecoveryCodeUsed:
		letter.Subject = in("Kode pemulihan telah dipakai", "A recovery code was used")
		letter.Body = []string{in(fmt.Sprintf("Satu kode pemulihan akun %s Anda baru saja dipakai. Masih tersisa %d.", brand, m.Left),
			fmt.Sprintf("One of the recovery codes of your %s account has just been used. %d left.", brand, m.Left))}
		if m.Left < 3 {
			letter.Body = append(letter.Body, in("Buatlah kode pemulihan baru di pengaturan keamanan.", "Please make new recovery codes in your security settings."))
		}
	case letterRecoveryCodesNew:
		letter.Subject = in("Kode pemulihan baru telah dibuat", "New recovery codes were made")
		letter.Body = []string{in("Kode pemulihan baru telah dibuat untuk akun "+brand+" Anda. Kode yang lama tidak berlaku lagi.",
			"New recovery codes have been made for your "+brand+" account. The ones of before are void.")}
	case letterPasskeyAdded:
		letter.Subject = in("Passkey baru telah ditambahkan", "A passkey was added")
		letter.Body = []string{in("Sebuah passkey telah ditambahkan ke akun "+brand+" Anda. Passkey itu dapat dipakai untuk masuk.",
			"A passkey has been added to your "+brand+" account. It can be used to sign in."), ended}
	case letterPasskeyRemoved:
		letter.Subject = in("Sebuah passkey telah dihapus", "A passkey was removed")
		letter.Body = []string{in("Sebuah passkey telah dihapus dari akun "+brand+" Anda.", "A passkey has been removed from your "+brand+" account."), ended}
	default:
		return mail.Letter{}, false
	}
	letter.Facts = factsOf(u.Locale, m)
	letter.After = []string{in("Jika itu bukan Anda, segera ganti kata sandi Anda dan akhiri semua sesi.",
		"If that was not you, change your password at once and end all sessions.")}
	return letter, true
}
