package identity

import (
	"context"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type forgotInput struct {
	Body struct {
		Email string `json:"email" maxLength:"320"`
	}
}

func (s *Service) handleForgot(ctx context.Context, in *forgotInput) (*api.Data[Accepted], error) {
	if err := s.ForgotPassword(ctx, in.Body.Email); err != nil {
		return nil, err
	}
	return api.Accepted(accepted), nil
}

// ForgotPassword queues a mail with a link that sets a new password, at most one a minute. It answers alike for every address, and does
// the same work. An address that is not verified gets one too: so its owner takes the account from whoever registered it first.
func (s *Service) ForgotPassword(ctx context.Context, email string) error {
	email, err := normaliseEmail(email)
	if err != nil {
		return fault.ValidationFailed.WithField("email", "Alamat email tidak valid.", "The e-mail address is not valid.")
	}
	if err := s.admit(ctx, throttleForgot, email, uuid.Nil); err != nil {
		return err
	}
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return err
	}
	// As in resend.go: buries how long a row and a job take.
	if _, _, err := s.passwords.Verify(ctx, "", email); err != nil {
		return err
	}
	if u == nil || u.DisabledAt != nil {
		return nil
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error { return s.offerReset(ctx, *u, letterReset) })
	return wrap(err, "offer to reset a password")
}

// offerReset queues a letter with a link that sets the account's password, in the transaction that ctx carries.
func (s *Service) offerReset(ctx context.Context, u user, letter string) error {
	link, err := s.keepLink(ctx, u.ID, u.Email, purposeReset)
	if err != nil {
		return err
	}
	return s.queueMail(ctx, sendMail{Letter: letter, UserID: u.ID, LinkID: link})
}
