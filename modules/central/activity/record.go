package activity

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/mileusna/useragent"

	"garment.id/homecore/platform/api"
)

// Record writes an event to the log and scores it, in the transaction ctx carries or in one of its own: one statement. Where a
// signal fires, a job that commits with the row warns the account's owner. It is inserted also where there is nobody to warn: a failed
// sign-in must not take longer where there is an account.
func (s *Service) Record(ctx context.Context, e Event) error {
	client := api.ClientFrom(ctx)
	at := s.places.of(client.IP)
	id := newID()
	if e.TenantID == uuid.Nil {
		if t, ok := api.HostTenant(ctx); ok { // a tenant's own login page
			e.TenantID = t.ID
		}
	}
	var (
		score   int
		reasons string
	)
	err := s.DB.Gorm(ctx).Raw(insertFor(e), map[string]any{
		"id": id, "at": s.now(), "type": e.Type, "outcome": e.Outcome, "reason": e.Reason, "note": e.Note,
		"user": orNull(e.UserID), "actor": orNull(e.ActorID), "tenant": orNull(e.TenantID), "session": orNull(e.SessionID),
		"device_id": orNull(e.DeviceID), "identifier": s.hashIdentifier(e.Identifier), "amr": e.AMR, "request": api.RequestID(ctx),
		"ip": address(client.IP), "network": network(client.IP), "agent": client.UserAgent,
		"born": born(e.UserID), "device": family(client.UserAgent), "country": at.country, "city": at.city, "lat": at.lat, "lon": at.lon,
	}).Row().Scan(&score, &reasons)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Type, err)
	}
	if reasons == "" {
		return nil
	}
	if err := s.Queue.Insert(ctx, alert{ActivityID: id}, nil); err != nil {
		return fmt.Errorf("ask for a warning of %s: %w", e.Type, err)
	}
	return nil
}

// hashIdentifier returns what tells two tries for one address, and nothing of the address without the server's key.
func (s *Service) hashIdentifier(identifier string) []byte {
	if identifier == "" {
		return nil
	}
	return s.identifiers.Sum([]byte(identifier))[:16]
}

// born returns when an account was made, which its id tells.
func born(id uuid.UUID) *time.Time {
	if id.Version() != 7 {
		return nil
	}
	at := time.Unix(id.Time().UnixTime())
	return &at
}

// Happened reports whether an event of this type succeeded for a user after a time.
func (s *Service) Happened(ctx context.Context, userID uuid.UUID, kind string, after time.Time) (happened bool, err error) {
	err = s.DB.Gorm(ctx).Raw("select exists (select from security_activities where user_id = ? and type = ? and outcome = 'success' and at > ?)",
		userID, kind, after).Scan(&happened).Error
	if err != nil {
		return false, fmt.Errorf("look for %s of %s: %w", kind, userID, err)
	}
	return happened, nil
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func orNull(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

func address(ip netip.Addr) *string {
	if !ip.IsValid() {
		return nil
	}
	text := ip.String()
	return &text
}

// network returns what one subscriber has: an IPv4 address, or the /64 of an IPv6 address.
func network(ip netip.Addr) *string {
	if !ip.IsValid() {
		return nil
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return nil
	}
	text := prefix.String()
	return &text
}

// family returns what kind of program and system an agent says it is, without versions, which change every month.
func family(agent string) string {
	ua := useragent.Parse(agent)
	names := make([]string, 0, 2)
	for _, name := range []string{ua.Name, ua.OS} {
		if name = strings.ToValidUTF8(name, ""); name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
