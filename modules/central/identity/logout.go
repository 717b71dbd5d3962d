package identity

import (
	"context"

	"garment.id/homecore/platform/api"
)

func (s *Service) handleLogout(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	if _, err := s.end(ctx, p.UserID, endedLogout, "id = ?", p.SessionID); err != nil {
		return nil, err
	}
	s.ended.add(p.SessionID) // also where another process has just ended it
	return api.Done(), nil
}

func (s *Service) handleLogoutAll(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.forgetDevices(ctx, p.UserID); err != nil {
			return err
		}
		_, err := s.end(ctx, p.UserID, endedLogout, "true")
		return err
	})
	if err != nil {
		return nil, wrap(err, "sign out everywhere")
	}
	s.ended.add(p.SessionID) // as above
	return api.Done(), nil
}
