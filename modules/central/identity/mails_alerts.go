package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// Warning is what an account's owner is told of something suspicious.
type Warning struct {
	ActivityID uuid.UUID
	UserID     uuid.UUID
	Kinds      []string // of the signals, the gravest first
	Device     string
	IP         string
	Place      string
	At         time.Time
}

// Warn mails the owner of an account what looked suspicious. An address that nobody has verified gets
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
		After:   []string{in("Jika itu Anda, abaikan email ini.", "If it was you, ignore this e-mail.")},
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
