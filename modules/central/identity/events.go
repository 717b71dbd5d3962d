package identity

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
)

// Event is something that happened to an account or was tried on one. It holds no secret.
type Event struct {
	Type       string // what: one of the words below, or of the flow's own file
	Outcome    string // "success" or "failure"
	Reason     string // of a failure, or what ended a session; a stable word
	UserID     uuid.UUID
	Identifier string // the normalised address that was given; to be kept as a keyed hash only, since it may be a mistyped secret
	TenantID   uuid.UUID
	SessionID  uuid.UUID
	DeviceID   uuid.UUID // the remembered device
	ActorID    uuid.UUID // who did it, where it was not the user
	AMR        string
	Note       string // what an operator said who did it
}

// Activity keeps events: every one, in the transaction that ctx carries where there is one.
type Activity interface {
	Record(ctx context.Context, e Event) error
	// Happened reports whether an event of this type succeeded for a user after a time.
	Happened(ctx context.Context, userID uuid.UUID, kind string, after time.Time) (bool, error)
}

// What an event's Outcome says.
const (
	outcomeSuccess = "success"
	outcomeFailure = "failure"
)

// Types of the events of this module's first flows.
const (
	eventRegistered     = "registered"
	eventEmailVerified  = "email_verified"
	eventVerifyAsked    = "verification_requested"
	eventResetAsked     = "password_reset_requested"
	eventLogin          = "login"
	eventLoginFailed    = "login_failed"
	eventLogout         = "logout"
	eventSessionEnded   = "session_ended"
	eventRefreshReused  = "refresh_reused"
	eventTenantSelected = "tenant_selected"
	eventRoleGranted    = "platform_role_granted"
	eventRoleRevoked    = "platform_role_revoked"
	eventNotMe          = "not_me_reported"
	eventImpersonated   = "impersonation_started"
	eventSessionsEnded  = "sessions_ended_by_operator"
	eventResetForced    = "password_reset_forced"
	eventDisabled       = "account_disabled"
)

// record keeps an event and writes it to the log, without the address, which may be of somebody unknown. A failure is recorded
// outside the transaction that it rolls back.
func (s *Service) record(ctx context.Context, e Event) error {
	attrs := []slog.Attr{slog.String("outcome", e.Outcome)}
	if e.Reason != "" {
		attrs = append(attrs, slog.String("reason", e.Reason))
	}
	for _, id := range []struct {
		name string
		id   uuid.UUID
	}{{"user_id", e.UserID}, {"tenant_id", e.TenantID}, {"session_id", e.SessionID}, {"device_id", e.DeviceID}, {"actor_id", e.ActorID}} {
		if id.id != uuid.Nil {
			attrs = append(attrs, slog.String(id.name, id.id.String()))
		}
	}
	attrs = append(attrs, slog.String("request_id", api.RequestID(ctx)))
	if ip := api.ClientFrom(ctx).IP; ip.IsValid() {
		attrs = append(attrs, slog.String("ip", ip.String()))
	}
	s.Log.LogAttrs(ctx, slog.LevelInfo, e.Type, attrs...)
	if s.Activity == nil { // at the command line, and until somebody keeps them
		return nil
	}
	if err := s.Activity.Record(ctx, e); err != nil {
		return fmt.Errorf("record event %s: %w", e.Type, err)
	}
	return nil
}
