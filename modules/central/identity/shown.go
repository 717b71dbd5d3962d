package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// letIn returns the fault that keeps u out of a tenant whose policy the session does not meet: who has no second factor must set
// one up, and where no remembered device may stand in for it, who came by one must sign in with it.
func (m Membership) letIn(u user, in session) error {
	switch {
	case m.TwoFactorRequired && u.TwoFactorAt == nil:
		return twoFactorSetupRequired
	case m.RememberedDevicesForbidden && in.DeviceID != nil, m.TwoFactorRequired && in.DeviceID == nil && !in.multiple():
		return twoFactorRequired
	default:
		return nil
	}
}

// shown is what a session's row says of the factors that were shown in it.
type shown struct {
	session
	readAt time.Time
}

func newShown(accessTTL time.Duration) *otter.Cache[uuid.UUID, shown] {
	return otter.Must(&otter.Options[uuid.UUID, shown]{MaximumSize: maxKnown, ExpiryCalculator: otter.ExpiryWriting[uuid.UUID, shown](accessTTL)})
}

// judge returns what rule says of the session that u comes by. The token tells where it was issued after a second factor was shown; else the
// session's row does, since the token may be older than the proof. What a session has shown stays shown: a row that was good enough is
// remembered, and one that was not is read again after half a second.
func (s *Service) judge(ctx context.Context, p api.Principal, u user, rule func(session) error) error {
	byToken := session{AMR: strings.Join(p.AMR, " ")}
	if byToken.multiple() || u.TwoFactorAt == nil {
		return rule(byToken)
	}
	row, ok := s.shown.GetIfPresent(p.SessionID)
	if ok {
		if err := rule(row.session); err == nil || time.Since(row.readAt) < knownUnheard {
			return err
		}
	}
	row.readAt = time.Now()
	err := s.DB.Gorm(ctx).Select("id", "amr", "device_id").Where("id = ? and user_id = ?", p.SessionID, p.UserID).Take(&row.session).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return fault.Unauthorized
	}
	if err != nil {
		return fmt.Errorf("ask session %s for its second factor: %w", p.SessionID, err)
	}
	s.shown.Set(p.SessionID, row)
	return rule(row.session)
}

// requireTwoFactor returns the faults auth.two_factor_setup_required, where the caller has no second factor, and
// auth.two_factor_required, where the session was opened without it. It answers from memory, as of a second ago at most.
func (s *Service) requireTwoFactor(ctx context.Context, p api.Principal) error {
	of, err := s.known.get(ctx, p.UserID)
	if err != nil {
		return fmt.Errorf("read account %s: %w", p.UserID, err)
	}
	return s.judge(ctx, p, of.user, func(in session) error {
		return Membership{TwoFactorRequired: true, RememberedDevicesForbidden: true}.letIn(of.user, in)
	})
}

// RequireTwoFactor returns a fault unless the caller has a second factor, and proved it when signing in: who asks it of others has one.
func (s *Service) RequireTwoFactor(ctx context.Context, p api.Principal) error {
	return s.requireTwoFactor(ctx, p)
}

// TenantLetsIn returns the fault that keeps p out of the tenant of its token, where that asks for more of a sign-in than p's has shown: the
// policy may be younger than the token. It answers from memory, as of a second ago at most; whether p is a member still is asked elsewhere.
func (s *Service) TenantLetsIn(ctx context.Context, p api.Principal) error {
	if p.Impersonated() { // the operator's own sign-in has shown what operators must
		return nil
	}
	of, err := s.known.get(ctx, p.UserID)
	if err != nil {
		return fmt.Errorf("read account %s: %w", p.UserID, err)
	}
	m := of.membership(p.TenantID)
	if m == nil || !m.TwoFactorRequired && !m.RememberedDevicesForbidden {
		return nil
	}
	return s.judge(ctx, p, of.user, func(in session) error { return m.letIn(of.user, in) })
}
