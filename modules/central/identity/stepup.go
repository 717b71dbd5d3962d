package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// stepUpFor is how long a proof is good for what asks for a fresh one.
const stepUpFor = 15 * time.Minute

// requireStepUp returns the fault auth.step_up_required unless the caller has proved within fifteen minutes who they are: by the
// sign-in itself, or by confirming it later. A remembered device is no proof: where it stood in for the second factor, the sign-in
// does not count.
func (s *Service) requireStepUp(ctx context.Context, p api.Principal) error {
	var found struct {
		AuthTime    time.Time
		SteppedUpAt *time.Time
		DeviceID    *uuid.UUID
	}
	now := s.now()
	err := s.DB.Gorm(ctx).Model(&session{}).Select("auth_time", "stepped_up_at", "device_id").
		Where("id = ? and user_id = ? and revoked_at is null and expires_at > ?", p.SessionID, p.UserID, now).Take(&found).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return fault.Unauthorized
	}
	if err != nil {
		return fmt.Errorf("ask session %s for a fresh proof: %w", p.SessionID, err)
	}
	since := now.Add(-stepUpFor)
	if found.SteppedUpAt != nil && found.SteppedUpAt.After(since) || found.DeviceID == nil && found.AuthTime.After(since) {
		return nil
	}
	return s.refused(ctx, stepUpRequired, Event{Type: eventSteppedUp, UserID: p.UserID, SessionID: p.SessionID})
}

// stepUp notes that the caller has just proved who they are, by these methods.
func (s *Service) stepUp(ctx context.Context, p api.Principal, amr string) error {
	return s.DB.Tx(ctx, func(ctx context.Context) error {
		now := s.now()
		done := s.DB.Gorm(ctx).Model(&session{}).Where("id = ? and user_id = ? and revoked_at is null and expires_at > ?", p.SessionID, p.UserID, now).
			Update("stepped_up_at", now)
		if done.Error != nil {
			return fmt.Errorf("note a fresh proof on session %s: %w", p.SessionID, done.Error)
		}
		if done.RowsAffected == 0 {
			return fault.Unauthorized
		}
		return s.record(ctx, Event{Type: eventSteppedUp, Outcome: outcomeSuccess, UserID: p.UserID, SessionID: p.SessionID, AMR: amr})
	})
}
