package identity

import (
	"context"
	"fmt"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type googleLinkInput struct {
	BrowserCookie
	Body struct {
		GoogleProof
		LinkToken    string `json:"link_token,omitempty" maxLength:"512" doc:"From data of auth.google_link_required."`
		ExchangeCode string `json:"exchange_code,omitempty" maxLength:"512" doc:"The code a page gets after GET /auth/google/redirect; with code_verifier where it gave a code_challenge."`
	}
}

// handleGoogleLink links Google to the caller's account. It wants a fresh step-up: being signed in is not enough to add a way in.
func (s *Service) handleGoogleLink(ctx context.Context, in *googleLinkInput) (_ *api.Data[GoogleLink], err error) {
	if err := s.google.configured(); err != nil {
		return nil, err
	}
	p := api.MustPrincipal(ctx)
	if err := s.requireStepUp(ctx, p); err != nil {
		return nil, err
	}
	defer func() {
		err = s.refused(ctx, err, Event{Type: eventGoogleLinked, UserID: p.UserID, SessionID: p.SessionID})
	}()
	who, err := s.toLink(ctx, in)
	if err != nil {
		return nil, err
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockUser(ctx, &user{ID: p.UserID})
		if err != nil {
			return err
		}
		// Nothing is added to an account before somebody has shown that its address is theirs: it would outlive the day its owner comes.
		if err := requireOwner(u); err != nil {
			return err
		}
		var linked []string
		if err := s.DB.Gorm(ctx).Raw("select subject from google_identities where user_id = ?", u.ID).Scan(&linked).Error; err != nil {
			return fmt.Errorf("read what is linked to account %s: %w", u.ID, err)
		}
		if len(linked) > 0 {
			if linked[0] == who.Subject {
				return nil // again: nothing to do
			}
			return googleLinked
		}
		if _, _, err := s.linkGoogle(ctx, u, who, p.SessionID); err != nil {
			return err
		}
		return s.queueEach(ctx, s.telling(ctx, letterGoogleLinked, u.ID))
	})
	if err != nil {
		return nil, wrap(err, "link Google")
	}
	s.AccountChanged(p.UserID)
	return api.OK(GoogleLink{Linked: true, Email: who.Email}), nil
}

// GoogleLink says whether an account is linked to Google, and to whom there.
type GoogleLink struct {
	Linked bool   `json:"linked"`
	Email  string `json:"email,omitempty" doc:"The address of the Google account."`
}

// toLink returns whom the caller proves to be at the provider, in one of the three ways.
func (s *Service) toLink(ctx context.Context, in *googleLinkInput) (person, error) {
	b := in.Body
	switch {
	case b.LinkToken != "" && b.ExchangeCode == "" && b.IDToken == "" && b.Code == "":
		id, err := s.flows.decode(tokenLink, b.LinkToken)
		if err != nil {
			return person{}, googleRefused
		}
		f, ok, err := s.takeFlow(ctx, flowProof, id)
		if err != nil || !ok {
			return person{}, orRefused(err)
		}
		return person{Subject: f.Subject, Email: f.Email, Name: f.Name}, nil
	case b.ExchangeCode != "" && b.LinkToken == "" && b.IDToken == "" && b.Code == "":
		return s.redeem(ctx, b.ExchangeCode, b.CodeVerifier, in.BrowserCookie)
	case b.LinkToken != "" || b.ExchangeCode != "":
		return person{}, fault.ValidationFailed.WithField("link_token", "Kirimkan satu bukti saja.", "Send one proof only.")
	default:
		return s.proved(ctx, b.GoogleProof)
	}
}

// handleGoogleUnlink takes Google away as a way in, unless it is the only one.
func (s *Service) handleGoogleUnlink(ctx context.Context, _ *struct{}) (*api.Data[GoogleLink], error) {
	p := api.MustPrincipal(ctx)
	if err := s.requireStepUp(ctx, p); err != nil {
		return nil, err
	}
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockUser(ctx, &user{ID: p.UserID})
		if err != nil {
			return err
		}
		if u.GoogleLinkedAt == nil {
			return googleUnlinked
		}
		other, err := s.otherWaysIn(ctx, u)
		if err != nil {
			return err
		}
		if !other {
			return lastCredential
		}
		db := s.DB.Gorm(ctx)
		if err := db.Exec("delete from google_identities where user_id = ?", u.ID).Error; err != nil {
			return fmt.Errorf("unlink Google from account %s: %w", u.ID, err)
		}
		u.GoogleLinkedAt = nil
		if err := db.Model(&u).Select("google_linked_at").Updates(u).Error; err != nil {
			return fmt.Errorf("unlink Google from account %s: %w", u.ID, err)
		}
		if err := s.record(ctx, Event{Type: eventGoogleUnlinked, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, SessionID: p.SessionID}); err != nil {
			return err
		}
		return s.queueEach(ctx, s.telling(ctx, letterGoogleUnlinked, u.ID))
	})
	if err != nil {
		return nil, s.refused(ctx, wrap(err, "unlink Google"), Event{Type: eventGoogleUnlinked, UserID: p.UserID, SessionID: p.SessionID})
	}
	s.AccountChanged(p.UserID)
	return api.OK(GoogleLink{}), nil
}

// otherWaysIn reports whether the account can be signed in to without Google: with a password that is its owner's, or a passkey.
func (s *Service) otherWaysIn(ctx context.Context, u user) (bool, error) {
	if u.PasswordHash != nil && !u.PasswordClaimed {
		return true, nil
	}
	var passkey bool
	if err := s.DB.Gorm(ctx).Raw("select exists (select from passkeys where user_id = ?)", u.ID).Scan(&passkey).Error; err != nil {
		return false, fmt.Errorf("read the passkeys of account %s: %w", u.ID, err)
	}
	return passkey, nil
}
