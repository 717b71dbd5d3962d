package identity

import (
	"context"

	"garment.id/homecore/platform/api"
)

func (s *Service) handleLogout(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	if _, err := s.end(ctx, p.UserID, endedLogout, nil, "id = ?", p.SessionID); err != nil {
		return nil, err
	}
	s.ended.add(p.SessionID) // also where another process has just ended it
	return api.Done(), nil
}

func (s *Service) handleLogoutAll(ctx context.Context, _ *struct{}) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	forget := func(ctx context.Context) error { return s.forgetDevices(ctx, p.UserID) }
	if _, err := s.end(ctx, p.UserID, endedLogout, forget, "true"); err != nil {
		return nil, err
	}
	s.ended.add(p.SessionID) // as above
	return api.Done(), nil
}
