package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type sessionsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"25"`
	Cursor string `query:"cursor" maxLength:"64"`
}

// SessionView is a live session as its user sees it.
type SessionView struct {
	ID         uuid.UUID       `json:"id"`
	Device     string          `json:"device"`
	IP         string          `json:"ip"`
	UserAgent  string          `json:"user_agent"`
	CreatedAt  time.Time       `json:"created_at"`
	LastSeenAt time.Time       `json:"last_seen_at" doc:"When its tokens were last renewed."`
	Current    bool            `json:"current"`
	Tenants    []SessionTenant `json:"tenants" doc:"The tenants it has tokens for."`
}

// SessionTenant names a tenant that a session has tokens for.
type SessionTenant struct {
	ID   uuid.UUID `json:"id"`
	Slug string    `json:"slug"`
	Name string    `json:"name"`
}

// The newest first: ids are UUIDv7. A session none of whose chains can be renewed any more is over.
const liveSessions = `
select * from sessions s
where s.user_id = @user and s.revoked_at is null and s.expires_at > @now and (cast(@after as uuid) is null or s.id < @after)
	and exists (select from refresh_chains c where c.session_id = s.id and c.expires_at > @now)
order by s.id desc limit @limit`

func (s *Service) handleSessions(ctx context.Context, in *sessionsInput) (*api.Page[SessionView], error) {
	p := api.MustPrincipal(ctx)
	var after *uuid.UUID
	if in.Cursor != "" {
		id, err := uuid.Parse(in.Cursor)
		if err != nil {
			return nil, fault.ValidationFailed.WithField("cursor", "Kursor tidak valid.", "The cursor is not valid.")
		}
		after = &id
	}
	views, next, err := s.listSessions(ctx, p.UserID, p.SessionID, after, in.Limit)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return api.List(views, next, in.Limit), nil
}

func (s *Service) listSessions(ctx context.Context, userID, current uuid.UUID, after *uuid.UUID, limit int) (views []SessionView, next string, err error) {
	now := s.now()
	var rows []session
	err = s.DB.Gorm(ctx).Raw(liveSessions, map[string]any{"user": userID, "now": now, "after": after, "limit": limit + 1}).Scan(&rows).Error
	if err != nil {
		return nil, "", err
	}
	if len(rows) > limit {
		rows, next = rows[:limit], rows[limit-1].ID.String()
	}
	ids := make([]uuid.UUID, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	var chains []chain
	if err := s.DB.Gorm(ctx).Where("session_id in ? and expires_at > ?", ids, now).Order("rotated_at desc").Find(&chains).Error; err != nil {
		return nil, "", err
	}
	all, err := s.Tenants.Of(ctx, userID)
	if err != nil {
		return nil, "", err
	}
	names := make(map[uuid.UUID]SessionTenant, len(all))
	for _, m := range all {
		names[m.TenantID] = SessionTenant{ID: m.TenantID, Slug: m.Slug, Name: m.Name}
	}
	views = make([]SessionView, len(rows))
	byID := make(map[uuid.UUID]*SessionView, len(rows))
	for i, row := range rows {
		views[i] = SessionView{ID: row.ID, Device: row.Device, IP: row.IP, UserAgent: row.UserAgent, CreatedAt: row.CreatedAt.UTC(),
			LastSeenAt: row.CreatedAt.UTC(), Current: row.ID == current, Tenants: []SessionTenant{}}
		byID[row.ID] = &views[i]
	}
	for _, c := range chains {
		view := byID[c.SessionID]
		if c.RotatedAt.After(view.LastSeenAt) {
			view.LastSeenAt = c.RotatedAt.UTC()
		}
		tenantID, _ := c.Audience.tenant()
		if t, member := names[tenantID]; member {
			view.Tenants = append(view.Tenants, t)
		}
	}
	return views, next, nil
}

type endSessionInput struct {
	Session uuid.UUID `path:"session"`
}

// handleEndSession ends one session of the caller's. Another's is not there, as far as the caller can tell.
func (s *Service) handleEndSession(ctx context.Context, in *endSessionInput) (*api.Data[struct{}], error) {
	n, err := s.end(ctx, api.MustPrincipal(ctx).UserID, endedByUser, nil, "id = ?", in.Session)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fault.ResourceNotFound
	}
	return api.Done(), nil
}
