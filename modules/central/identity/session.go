package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/mileusna/useragent"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/locale"
)

const nonceBytes = 16

// A chain that has run out begins anew under another nonce, so that tokens of before are nothing; one that lives is left as it is:
// the tab that holds its token keeps it, and a second tab gets the same.
const openChainSQL = `
insert into refresh_chains (id, session_id, audience, nonce, generation, rotated_at, expires_at)
values (@id, @session, @audience, @nonce, 1, @now, @expires)
on conflict (session_id, audience) do update set
	nonce      = case when refresh_chains.expires_at > @now then refresh_chains.nonce      else excluded.nonce end,
	generation = case when refresh_chains.expires_at > @now then refresh_chains.generation else 1 end,
	rotated_at = case when refresh_chains.expires_at > @now then refresh_chains.rotated_at else excluded.rotated_at end,
	expires_at = excluded.expires_at
returning *`

// openChain begins, or goes on with, the session's refresh tokens for an audience. It wants a transaction that holds the session's row.
func (s *Service) openChain(ctx context.Context, of session, a audience) (chain, error) {
	now := s.now()
	var made chain
	err := s.DB.Gorm(ctx).Raw(openChainSQL, map[string]any{
		"id": newID(), "session": of.ID, "audience": a, "nonce": crypto.Bytes(nonceBytes), "now": now, "expires": s.idleUntil(now, of),
	}).Scan(&made).Error
	if err != nil {
		return chain{}, fmt.Errorf("open a chain of refresh tokens: %w", err)
	}
	return made, nil
}

// idleUntil returns when a chain renewed now runs out: never after its session.
func (s *Service) idleUntil(now time.Time, of session) time.Time {
	until := now.Add(s.Config.RefreshIdle)
	if of.ExpiresAt.Before(until) {
		return of.ExpiresAt
	}
	return until
}

// lockSession returns the live session of that id, locked; ok is false where it has ended.
func (s *Service) lockSession(ctx context.Context, id uuid.UUID) (found session, ok bool, err error) {
	err = s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "UPDATE"}).
		Where("id = ? and revoked_at is null and expires_at > ?", id, s.now()).Take(&found).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return session{}, false, nil
	}
	if err != nil {
		return session{}, false, fmt.Errorf("lock session %s: %w", id, err)
	}
	return found, true, nil
}

// Why sessions end.
const (
	endedLogout    = "logout"
	endedByUser    = "ended"
	endedReuse     = "refresh_reused"
	endedDisabled  = "disabled"
	endedReset     = "password_reset"
	endedPassword  = "password_changed"
	endedReclaimed = "reclaimed" // the address was verified by somebody with another password
)

// endSessions revokes the user's live sessions that also meet the condition, and returns their ids. The caller passes these to
// s.ended.add once its transaction has committed.
func (s *Service) endSessions(ctx context.Context, userID uuid.UUID, why string, where string, args ...any) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	values := append([]any{why, userID}, args...)
	err := s.DB.Gorm(ctx).Raw("update sessions set revoked_at = clock_timestamp(), revoked_for = ? where user_id = ? and revoked_at is null and "+
		where+" returning id", values...).Scan(&ids).Error
	if err != nil {
		return nil, fmt.Errorf("end sessions of %s: %w", userID, err)
	}
	return ids, nil
}

// end revokes sessions, at once for this process and within a second for the others. Also does what belongs to it, in the same transaction;
// nil: nothing.
func (s *Service) end(ctx context.Context, userID uuid.UUID, why string, also func(ctx context.Context) error, where string, args ...any) (int, error) {
	var ids []uuid.UUID
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		if also != nil {
			if err := also(ctx); err != nil {
				return err
			}
		}
		if ids, err = s.endSessions(ctx, userID, why, where, args...); err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.record(ctx, Event{Type: eventSessionEnded, Outcome: outcomeSuccess, Reason: why, UserID: userID, SessionID: id}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, wrap(err, "end sessions")
	}
	s.ended.add(ids...)
	return len(ids), nil
}

// Tokens is what a client goes on with.
type Tokens struct {
	AccessToken      string       `json:"access_token"`
	TokenType        string       `json:"token_type" enum:"Bearer"`
	ExpiresIn        int64        `json:"expires_in" doc:"Seconds the access token lives."`
	RefreshToken     string       `json:"refresh_token"`
	RefreshExpiresIn int64        `json:"refresh_expires_in" doc:"Seconds the refresh token lives unless it is used."`
	User             User         `json:"user"`
	Tenants          []TenantView `json:"tenants"`
}

// User is an account as its owner sees it.
type User struct {
	ID            uuid.UUID       `json:"id"`
	Name          string          `json:"name"`
	Email         string          `json:"email"`
	EmailVerified bool            `json:"email_verified"`
	Locale        locale.Language `json:"locale"`
	TwoFactor     TwoFactor       `json:"two_factor"`
	HasPassword   bool            `json:"has_password"`
	GoogleLinked  bool            `json:"google_linked"`
}

// TwoFactor says whether the account has a second factor, and whether it must.
type TwoFactor struct {
	Enabled  bool `json:"enabled"`
	Required bool `json:"required"`
}

// TenantView is a tenant as a member sees it.
type TenantView struct {
	ID     uuid.UUID `json:"id"`
	Slug   string    `json:"slug"`
	Name   string    `json:"name"`
	Status string    `json:"status"`
	Role   string    `json:"role"`
	APIURL string    `json:"api_url"`
}

func viewUser(u user) User {
	return User{ID: u.ID, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerifiedAt != nil, Locale: u.Locale, HasPassword: u.PasswordHash != nil, GoogleLinked: u.GoogleLinkedAt != nil,
		TwoFactor: TwoFactor{Enabled: u.TwoFactorAt != nil}}
}

func viewTenant(m Membership) TenantView {
	return TenantView{ID: m.TenantID, Slug: m.Slug, Name: m.Name, Status: m.Status, Role: m.Role, APIURL: m.APIURL}
}

func viewTenants(ms []Membership) []TenantView {
	views := make([]TenantView, len(ms))
	for i, m := range ms {
		views[i] = viewTenant(m)
	}
	return views
}

// issue returns the tokens of a chain as it stands. Of is the membership that a tenant's token speaks for, nil for a central one.
func (s *Service) issue(ctx context.Context, u user, in session, c chain, of *Membership, all []Membership) (Tokens, error) {
	now := s.now()
	expires := now.Add(s.Config.AccessTTL)
	if in.ExpiresAt.Before(expires) {
		expires = in.ExpiresAt
	}
	body := claims{
		Subject: u.ID, Audience: c.Audience, SessionID: in.ID, AMR: in.methods(),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires), AuthTime: jwt.NewNumericDate(in.AuthTime),
	}
	if of != nil {
		body.TenantID, body.Slug, body.Version = &of.TenantID, of.Slug, of.Version
	}
	access, err := s.access.sign(ctx, body)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: seconds(expires.Sub(now)),
		RefreshToken: s.refresh.encode(c), RefreshExpiresIn: seconds(c.ExpiresAt.Sub(now)),
		User: s.viewAccount(u, all), Tenants: viewTenants(all),
	}, nil
}

// seconds rounds to the nearest: the moments it spans were taken a little apart.
func seconds(d time.Duration) int64 { return int64(max(d, 0).Round(time.Second) / time.Second) }

// deviceName returns what the client calls itself, or else what its User-Agent says: "Firefox, Linux".
func deviceName(given, agent string) string {
	if given = strings.TrimSpace(given); given != "" {
		return given
	}
	ua := useragent.Parse(agent)
	names := make([]string, 0, 2)
	for _, name := range []string{ua.Name, ua.OS} {
		if name != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
