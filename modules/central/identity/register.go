package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
)

type registerInput struct {
	Body struct {
		Name     string `json:"name"`
		Email    string `json:"email"`
		Password string `json:"password"`
		Locale   string `json:"locale,omitempty" enum:"id,en" doc:"Language of mails; the request's if absent."`
	}
}

// Accepted is what register and resend answer for every address.
type Accepted struct {
	Status string `json:"status" enum:"accepted"`
}

var accepted = Accepted{Status: "accepted"}

func (s *Service) handleRegister(ctx context.Context, in *registerInput) (*api.Data[Accepted], error) {
	language, ok := locale.Parse(in.Body.Locale)
	if !ok {
		language = locale.From(ctx)
	}
	if err := s.Register(ctx, in.Body.Name, in.Body.Email, in.Body.Password, language); err != nil {
		return nil, err
	}
	return api.Accepted(accepted), nil
}

// reregisterPause is how long an unverified address rests before it is registered yet again.
const reregisterPause = time.Minute

// Register makes an account and queues the mail that verifies its address. An address that is known already is told so by mail;
// the caller learns nothing of it, from the answer or from the time it takes.
func (s *Service) Register(ctx context.Context, name, email, password string, language locale.Language) error {
	made, err := s.newUser(ctx, name, email, password, language)
	if err != nil {
		return err
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		created := s.DB.Gorm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoNothing: true}).Create(&made)
		if created.Error != nil {
			return created.Error
		}
		if created.RowsAffected == 0 {
			return s.registerAgain(ctx, made)
		}
		if err := s.record(ctx, Event{Type: eventRegistered, Outcome: outcomeSuccess, UserID: made.ID, Identifier: made.Email}); err != nil {
			return err
		}
		link, err := s.keepVerifyLink(ctx, made.ID, made.Email)
		if err != nil {
			return err
		}
		return s.queueMail(ctx, sendMail{Letter: letterVerify, UserID: made.ID, LinkID: link})
	})
	return wrap(err, "register")
}

// registerAgain is for an address that has an account. If it is verified, its owner is told. If not, nobody has shown yet that the
// address is theirs: the name and the password now given are kept with a link of their own, and whoever opens a link in that mailbox
// chooses by it. So nobody can take an address by registering it first and waiting for its owner.
func (s *Service) registerAgain(ctx context.Context, given user) error {
	var known user
	err := s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("email = ?", given.Email).Take(&known).Error
	if err != nil {
		return err
	}
	if known.EmailVerifiedAt != nil || known.DisabledAt != nil {
		return s.queueMail(ctx, sendMail{Letter: letterKnown, UserID: known.ID})
	}
	now := s.now()
	var recent int64
	err = s.DB.Gorm(ctx).Model(&mailLink{}).Where("user_id = ? and password_hash is not null and created_at > ?", known.ID, now.Add(-reregisterPause)).
		Count(&recent).Error
	if err != nil || recent > 0 {
		return err
	}
	link := mailLink{ID: newID(), UserID: known.ID, Purpose: purposeVerify, Email: known.Email, Name: &given.Name, PasswordHash: given.PasswordHash,
		CreatedAt: now, ExpiresAt: now.Add(s.Config.VerifyLinkTTL)}
	if err := s.DB.Gorm(ctx).Create(&link).Error; err != nil {
		return err
	}
	return s.queueMail(ctx, sendMail{Letter: letterVerifyAgain, UserID: known.ID, LinkID: link.ID})
}

// newUser checks what is given, all of it before refusing, and returns the account it would make. It hashes the password.
func (s *Service) newUser(ctx context.Context, name, email, password string, language locale.Language) (user, error) {
	refusal := fault.ValidationFailed
	name = strings.TrimSpace(name)
	if !validName(name) {
		refusal = refusal.WithField("name", "Isi nama dengan 1 sampai 120 karakter.", "Give a name of 1 to 120 characters.")
	}
	email, err := normaliseEmail(email)
	if err != nil {
		refusal = refusal.WithField("email", "Alamat email tidak valid.", "The e-mail address is not valid.")
	}
	refusal = s.checkPassword(refusal, "password", password)
	if len(refusal.Fields()) > 0 {
		return user{}, refusal
	}
	hash, err := s.passwords.Hash(ctx, password)
	if err != nil {
		return user{}, err
	}
	now := s.now()
	return user{ID: newID(), Name: name, Email: email, PasswordHash: &hash, PasswordSetAt: &now, Locale: language, CreatedAt: now, UpdatedAt: now}, nil
}

// checkPassword adds to refusal what is wrong with a new password. Length is all that is asked (NIST SP 800-63B §3.1.1).
func (s *Service) checkPassword(refusal *fault.Fault, field, password string) *fault.Fault {
	characters, fits := crypto.PasswordLength(password)
	if least := s.Config.PasswordMinLength; characters < least {
		return refusal.WithField(field, fmt.Sprintf("Kata sandi minimal %d karakter.", least), fmt.Sprintf("The password needs at least %d characters.", least))
	}
	if !fits {
		return refusal.WithField(field, fmt.Sprintf("Kata sandi maksimal %d byte.", crypto.MaxPasswordBytes), fmt.Sprintf("The password may have %d bytes at most.", crypto.MaxPasswordBytes))
	}
	return refusal
}

const maxName = 120

func validName(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= 1 && n <= maxName && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
		})
}
