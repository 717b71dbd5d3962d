package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// mailWish is a mail that anybody may ask for, for any address: its throttle, its event and its letter.
type mailWish struct{ throttle, event, letter string }

var (
	wishReset  = mailWish{throttleForgot, eventResetAsked, letterReset}
	wishVerify = mailWish{throttleResend, eventVerifyAsked, letterVerifyResent}
)

type mailWishInput struct {
	Body struct {
		Email string `json:"email" maxLength:"320"`
	}
}

func (s *Service) handleForgot(ctx context.Context, in *mailWishInput) (*api.Data[Accepted], error) {
	if err := s.wish(ctx, wishReset, in.Body.Email); err != nil {
		return nil, err
	}
	return api.Accepted(accepted), nil
}

func (s *Service) handleResend(ctx context.Context, in *mailWishInput) (*api.Data[Accepted], error) {
	if err := s.wish(ctx, wishVerify, in.Body.Email); err != nil {
		return nil, err
	}
	return api.Accepted(accepted), nil
}

// wish queues a mail to an address, at most one of a kind in a minute. For an address without an account it does all of the same, about
// nobody: whether there is a mail to send, and which, is the job's to find out (wished), so that neither the answer nor its time tells.
func (s *Service) wish(ctx context.Context, w mailWish, email string) error {
	email, err := normaliseEmail(email)
	if err != nil {
		return fault.ValidationFailed.WithField("email", "Alamat email tidak valid.", "The e-mail address is not valid.")
	}
	if err := s.admit(ctx, w.throttle, email, uuid.Nil); err != nil {
		return err
	}
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return err
	}
	to := s.nobody(email)
	e := Event{Type: w.event, Outcome: outcomeFailure, Reason: "unknown_account", Identifier: email}
	if u != nil {
		to, e = u.ID, Event{Type: w.event, Outcome: outcomeSuccess, Identifier: email, UserID: u.ID}
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.record(ctx, e); err != nil {
			return err
		}
		return s.queueMail(ctx, sendMail{Letter: w.letter, UserID: to})
	})
	return wrap(err, "ask for a mail")
}

// nobody is an id for an address without an account: always the same one, which says nothing of it.
func (s *Service) nobody(email string) uuid.UUID {
	return uuid.UUID(s.throttle.key("nobody", "identifier", []byte(email))[:16])
}

// wished returns the letter that was asked for, and its link: none to an account that is disabled or not there. One that is verified already is
// told so. One that is not gets a link to set a password all the same: so its owner takes it from whoever registered it first.
func (s *Service) wished(ctx context.Context, m sendMail) (letter string, u user, l mailLink, err error) {
	err = s.DB.Gorm(ctx).Where("id = ?", m.UserID).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) || err == nil && u.DisabledAt != nil {
		return "", user{}, mailLink{}, nil
	}
	if err != nil {
		return "", user{}, mailLink{}, fmt.Errorf("read account %s: %w", m.UserID, err)
	}
	purpose := purposeReset
	if m.Letter == letterVerifyResent {
		if purpose = purposeVerify; u.EmailVerifiedAt != nil {
			return letterVerified, u, mailLink{}, nil
		}
	}
	id, err := s.keepLink(ctx, u.ID, u.Email, purpose)
	if err != nil {
		return "", user{}, mailLink{}, err
	}
	l, u, err = s.findLink(ctx, id)
	return m.Letter, u, l, err
}

// offerReset queues a letter with a link that sets the account's password, in the transaction that ctx carries.
func (s *Service) offerReset(ctx context.Context, u user, letter string) error {
	link, err := s.keepLink(ctx, u.ID, u.Email, purposeReset)
	if err != nil {
		return err
	}
	return s.queueMail(ctx, sendMail{Letter: letter, UserID: u.ID, LinkID: link})
}
