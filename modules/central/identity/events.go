package identity

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
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
	eventRefreshed      = "refreshed"
	eventSteppedUp      = "step_up"
	eventProfile        = "profile_updated"
	eventDenied         = "access_denied"
	eventKeyRotated     = "signing_key_rotated"
	eventKeyRevoked     = "signing_key_revoked"
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

// refusedAgain is how long a refusal rests before the same one is recorded again.
const refusedAgain = time.Minute

// refusal names refusals that are one: of a session, or of an address where there is none.
type refusal struct {
	kind, reason string
	session      uuid.UUID
	network      string
}

func newRefusals() *otter.Cache[refusal, struct{}] {
	return otter.Must(&otter.Options[refusal, struct{}]{MaximumSize: maxKnown, ExpiryCalculator: otter.ExpiryWriting[refusal, struct{}](refusedAgain)})
}

// refused records a refusal, and returns it. What can be done over and over at no cost must not be a way to fill the log: the same refusal is
// recorded once a minute by each process. Mistakes of input are no event, nor is what was counted and recorded by a throttle.
func (s *Service) refused(ctx context.Context, why error, e Event) error {
	f, ok := fault.From(why)
	if !ok || f.Kind() == fault.Invalid && !f.Is(linkInvalid) || f.Kind() == fault.RateLimited || f.Kind() == fault.Unavailable || f.Kind() == fault.Internal {
		return why
	}
	if e.Outcome = outcomeFailure; e.Reason == "" {
		e.Reason = strings.ReplaceAll(strings.TrimPrefix(f.Code(), "auth."), ".", "_")
	}
	same := refusal{kind: e.Type, reason: e.Reason, session: e.SessionID}
	if e.SessionID == uuid.Nil {
		same.network = string(network(api.ClientFrom(ctx).IP))
	}
	if _, first := s.refusals.SetIfAbsent(same, struct{}{}); !first {
		return why
	}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return why
}

// Refused records that somebody signed in was kept from an operation, which asks for a permission where there is one, and returns why.
func (s *Service) Refused(ctx context.Context, p api.Principal, permission string, why error) error {
	e := Event{Type: eventDenied, UserID: p.UserID, SessionID: p.SessionID, TenantID: p.TenantID}
	if isFault(why, fault.AccessDenied) {
		e.Reason = permission
	}
	return s.refused(ctx, why, e)
}
