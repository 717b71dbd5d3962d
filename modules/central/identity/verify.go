package identity

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type verifyInput struct {
	Token  string `query:"token" maxLength:"512" doc:"From the link in the mail."`
	Accept string `header:"Accept"`
}

// Verified is the answer of an opened link.
type Verified struct {
	Verified bool `json:"verified"`
}

// handleVerify answers a program with JSON. A browser goes on to the wizard, which says what came of it; the token stays behind.
func (s *Service) handleVerify(ctx context.Context, in *verifyInput) (*api.Data[Verified], error) {
	err := s.VerifyEmail(ctx, in.Token)
	_, refused := fault.From(err)
	if !acceptsHTML(in.Accept) || err != nil && !refused {
		if err != nil {
			return nil, err
		}
		return api.OK(Verified{Verified: true}), nil
	}
	api.Header(ctx).Set("Location", s.wizard(err == nil))
	answer := api.OK(Verified{Verified: err == nil})
	answer.Status = http.StatusSeeOther
	return answer, nil
}

// wizard returns where a browser goes after opening a link.
func (s *Service) wizard(verified bool) string {
	target, err := url.Parse(s.Config.WizardURL)
	if err != nil || s.Config.WizardURL == "" {
		target = &url.URL{Path: "/"}
		if base, err := url.Parse(s.Issuer); err == nil {
			target.Scheme, target.Host = base.Scheme, base.Host
		}
	}
	q := target.Query()
	q.Set("verified", "0")
	if verified {
		q.Set("verified", "1")
	}
	target.RawQuery = q.Encode()
	return target.String()
}

// acceptsHTML reports whether the client asks for a page, as browsers do and programs do not.
func acceptsHTML(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		if kind, params, err := mime.ParseMediaType(part); err == nil && kind == "text/html" && params["q"] != "0" {
			return true
		}
	}
	return false
}

// VerifyEmail takes a mailed link's word that its reader owns the account's address. What that means for the password is in claims.go. It
// may be called any number of times while the link is good, makes no session, and refuses anything else with auth.link_invalid.
func (s *Service) VerifyEmail(ctx context.Context, token string) (err error) {
	l, u, err := s.openLink(ctx, token, purposeVerify)
	defer func() { err = s.refused(ctx, err, Event{Type: eventEmailVerified, UserID: u.ID, Identifier: u.Email}) }()
	if err != nil {
		return wrap(err, "verify an address")
	}
	if settled(u, l) {
		return nil
	}
	var ended []uuid.UUID
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		now, err := s.lockUser(ctx, &u)
		if err != nil {
			return err
		}
		if now.Email != l.Email || now.DisabledAt != nil {
			return linkInvalid
		}
		// Read again under the lock: two readers may have come at once.
		if err := s.DB.Gorm(ctx).Where("id = ?", l.ID).Take(&l).Error; err != nil {
			return fmt.Errorf("read mail link %s: %w", l.ID, err)
		}
		if ended, err = s.opened(ctx, now, l); err != nil {
			return err
		}
		if now.EmailVerifiedAt != nil {
			return nil
		}
		return s.record(ctx, Event{Type: eventEmailVerified, Outcome: outcomeSuccess, UserID: u.ID, Identifier: now.Email})
	})
	if err != nil {
		return wrap(err, "verify an address")
	}
	s.ended.add(ended...)
	s.AccountChanged(u.ID)
	return nil
}

// RequireVerified returns the fault auth.email_unverified unless the user has verified their address.
func (s *Service) RequireVerified(ctx context.Context, userID uuid.UUID) error {
	var verified bool
	err := s.DB.Gorm(ctx).Raw("select exists (select from users where id = ? and email_verified_at is not null)", userID).Scan(&verified).Error
	if err != nil {
		return fmt.Errorf("ask whether %s has verified their address: %w", userID, err)
	}
	if !verified {
		return emailUnverified
	}
	return nil
}
