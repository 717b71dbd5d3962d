package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/names"
)

type registerInput struct {
	Body struct {
		Name     string `json:"name"`
		Email    string `json:"email"`
		Password string `json:"password"`
		Locale   string `json:"locale,omitempty" enum:"id,en" doc:"Language of mails; the request's if absent."`
	}
}

// Accepted is what register, forgot and resend answer for every address.
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

// reregisterPause is how long an unverified address rests before one network can register it yet again.
const (
	reregisterPause = time.Minute
	reregisterMost  = 5 // within that time, from whatever networks
)

// Register makes an account and queues the mail that verifies its address. An address that is known already is told so by mail;
// the caller learns nothing of it, from the answer or from the time it takes.
func (s *Service) Register(ctx context.Context, name, email, password string, language locale.Language) error {
	if identifier, err := normaliseEmail(email); err == nil {
		if err := s.admit(ctx, throttleRegister, identifier, uuid.Nil); err != nil {
			return err
		}
	}
	made, err := s.newUser(ctx, name, email, password, language)
	if err != nil {
		return err
	}
	link := s.registration(ctx, made)
	made.PasswordClaimed, made.ClaimID = true, &link.ID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		created := s.DB.Gorm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoNothing: true}).Create(&made)
		if created.Error != nil {
			return created.Error
		}
		if created.RowsAffected == 0 {
			return s.registerAgain(ctx, made, link)
		}
		if err := s.record(ctx, Event{Type: eventRegistered, Outcome: outcomeSuccess, UserID: made.ID, Identifier: made.Email}); err != nil {
			return err
		}
		if err := s.DB.Gorm(ctx).Create(&link).Error; err != nil {
			return err
		}
		return s.queueMail(ctx, sendMail{Letter: letterVerify, UserID: made.ID, LinkID: link.ID})
	})
	return wrap(err, "register")
}

// registration is the link that verifies the address of an account, with what was given to register it.
func (s *Service) registration(ctx context.Context, given user) mailLink {
	client := api.ClientFrom(ctx)
	return mailLink{ID: newID(), UserID: given.ID, Purpose: purposeVerify, Email: given.Email, Name: &given.Name, PasswordHash: given.PasswordHash,
		ClaimedFrom: networkFrom(ctx), ClaimedDevice: deviceName("", client.UserAgent),
		CreatedAt: given.CreatedAt, ExpiresAt: given.CreatedAt.Add(s.Config.VerifyLinkTTL)}
}

// registerAgain is for an address that has an account. If it is verified, its owner is told. If not, nobody has shown yet that the
// address is theirs: the name and the password now given are kept with a link of their own, and what is opened in that mailbox
// decides (claims.go). So nobody can take an address by registering it first and waiting for its owner.
func (s *Service) registerAgain(ctx context.Context, given user, link mailLink) error {
	var known user
	err := s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("email = ?", given.Email).Take(&known).Error
	if err != nil {
		return err
	}
	err = s.record(ctx, Event{Type: eventRegistered, Outcome: outcomeFailure, Reason: "known_account", UserID: known.ID, Identifier: known.Email})
	if err != nil {
		return err
	}
	if known.EmailVerifiedAt != nil || known.DisabledAt != nil {
		return s.queueMail(ctx, sendMail{Letter: letterKnown, UserID: known.ID})
	}
	// Of one network, and of all together: a stranger who registers an address over and over must not keep its owner from doing it once.
	var recent []string
	err = s.DB.Gorm(ctx).Model(&mailLink{}).Where("user_id = ? and password_hash is not null and created_at > ? and id is distinct from ?",
		known.ID, s.now().Add(-reregisterPause), known.ClaimID).Limit(reregisterMost).Pluck("claimed_from", &recent).Error
	if err != nil || len(recent) == reregisterMost || slices.Contains(recent, link.ClaimedFrom) {
		return err
	}
	link.UserID = known.ID
	if err := s.DB.Gorm(ctx).Create(&link).Error; err != nil {
		return err
	}
	return s.queueEach(ctx, sendMail{Letter: letterVerifyAgain, UserID: known.ID, LinkID: link.ID})
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
	refusal = s.checkPassword(refusal, "password", password, user{Name: name, Email: email})
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

const maxName = 120

func validName(s string) bool { return names.Valid(s, 1, maxName) }
