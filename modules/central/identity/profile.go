package identity

import (
	"context"
	"fmt"
	"strings"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/patch"
)

type updateMeInput struct {
	Body struct {
		Name   patch.Field[string] `json:"name,omitempty"`
		Locale patch.Field[string] `json:"locale,omitempty" doc:"Language of mails: id or en."`
	}
}

func (s *Service) handleUpdateMe(ctx context.Context, in *updateMeInput) (*api.Data[Me], error) {
	p := api.MustPrincipal(ctx)
	if err := s.updateProfile(ctx, p, in.Body.Name, in.Body.Locale); err != nil {
		return nil, err
	}
	me, err := s.me(ctx, p)
	if err != nil {
		return nil, err
	}
	return api.OK(me), nil
}

// updateProfile changes what of a user is theirs to say. The address is not: it is who they are.
func (s *Service) updateProfile(ctx context.Context, p api.Principal, name, language patch.Field[string]) error {
	set, columns, refusal := user{UpdatedAt: s.now()}, []string{"updated_at"}, fault.ValidationFailed
	if name.Given {
		set.Name, columns = strings.TrimSpace(name.Value), append(columns, "name")
		if !validName(set.Name) {
			refusal = refusal.WithField("name", "Isi nama dengan 1 sampai 120 karakter.", "Give a name of 1 to 120 characters.")
		}
	}
	if language.Given {
		set.Locale, columns = locale.Language(language.Value), append(columns, "locale")
		if set.Locale != locale.ID && set.Locale != locale.EN {
			refusal = refusal.WithField("locale", "Pilih id atau en.", "Choose id or en.")
		}
	}
	if len(refusal.Fields()) > 0 {
		return refusal
	}
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.DB.Gorm(ctx).Model(&user{}).Where("id = ?", p.UserID).Select(columns).Updates(set).Error; err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventProfile, Outcome: outcomeSuccess, UserID: p.UserID, SessionID: p.SessionID})
	})
	if err != nil {
		return fmt.Errorf("update the profile of %s: %w", p.UserID, err)
	}
	s.AccountChanged(p.UserID)
	return nil
}
