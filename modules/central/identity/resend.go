package identity

import (
	"context"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type resendInput struct {
	Body struct {
		Email string `json:"email"`
	}
}

func (s *Service) handleResend(ctx context.Context, in *resendInput) (*api.Data[Accepted], error) {
	if err := s.ResendVerification(ctx, in.Body.Email); err != nil {
		return nil, err
	}
	return api.Accepted(accepted), nil
}

// ResendVerification queues the mail that verifies an address once more, at most one a minute. It answers alike where there is
// nothing to verify, and does the same work: a verified address is told so by mail.
func (s *Service) ResendVerification(ctx context.Context, email string) error {
	email, err := normaliseEmail(email)
	if err != nil {
		return fault.ValidationFailed.WithField("email", "Alamat email tidak valid.", "The e-mail address is not valid.")
	}
	if err := s.admit(ctx, throttleResend, email, uuid.Nil); err != nil {
		return err
	}
	u, err := s.findByEmail(ctx, email)
	if err != nil {
		return err
	}
	// Writing a row and a job takes longer than finding nothing to do. A hash, which register makes too, buries the difference.
	if _, _, err := s.passwords.Verify(ctx, "", email); err != nil {
		return err
	}
	if u == nil || u.DisabledAt != nil {
		return nil
	}
	if u.EmailVerifiedAt != nil {
		return wrap(s.queueMail(ctx, sendMail{Letter: letterVerified, UserID: u.ID}), "resend a verification")
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		link, err := s.keepLink(ctx, u.ID, u.Email, purposeVerify)
		if err != nil {
			return err
		}
		return s.queueMail(ctx, sendMail{Letter: letterVerifyResent, UserID: u.ID, LinkID: link})
	})
	return wrap(err, "resend a verification")
}
