package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
)

type impersonateInput struct {
	User uuid.UUID `path:"user"`
	Body struct {
		Reason string `json:"reason" pattern:"\\S" minLength:"1" maxLength:"500" doc:"Told to the user by mail, and to the tenant in its log."`
		Tenant string `json:"tenant,omitempty" maxLength:"80" doc:"Slug or id of a tenant of the user's, for a token that looks into it; else a central token."`
	}
}

// Impersonation is a token that shows an operator what a user sees.
type Impersonation struct {
	AccessToken string          `json:"access_token"`
	TokenType   string          `json:"token_type" enum:"Bearer"`
	ExpiresIn   int64           `json:"expires_in" doc:"Seconds the token lives. It cannot be renewed."`
	SessionID   uuid.UUID       `json:"session_id"`
	ReadOnly    bool            `json:"read_only" doc:"Always: whatever would change something is refused with auth.impersonation_read_only."`
	Tenant      *SelectedTenant `json:"tenant,omitempty"`
}

func (s *Service) handleImpersonate(ctx context.Context, in *impersonateInput) (*api.Data[Impersonation], error) {
	made, err := s.Impersonate(ctx, api.MustPrincipal(ctx), in.User, in.Body.Tenant, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return api.Created(made), nil
}

// endedRole is why an operator's sessions in users' places end with the role that allowed them.
const endedRole = "role_revoked"

// Impersonate returns an access token for the user that carries act, the operator: it lives as long as one access token, has no
// refresh token, changes nothing (platform/api refuses) and lends no right on the platform. The user is told by mail, and the tenant it
// looks into by its log. Other operators are out of reach, and so is who asks without a fresh proof of who they are.
func (s *Service) Impersonate(ctx context.Context, operator api.Principal, userID uuid.UUID, tenant, reason string) (Impersonation, error) {
	if err := s.requireStepUp(ctx, operator); err != nil {
		return Impersonation{}, err
	}
	var of *Membership
	if tenant != "" {
		m, member, err := s.Tenants.Find(ctx, userID, tenant)
		if err != nil {
			return Impersonation{}, wrap(err, "impersonate")
		}
		if !member || !m.open() {
			return Impersonation{}, api.TenantUnknown
		}
		of = &m
	}
	now, client := s.now(), api.ClientFrom(ctx)
	made := session{ID: newID(), UserID: userID, ActorID: &operator.UserID, AuthTime: now, UserAgent: client.UserAgent, CreatedAt: now,
		Device: deviceName("", client.UserAgent), ExpiresAt: now.Add(s.Config.AccessTTL)}
	if client.IP.IsValid() {
		made.IP = client.IP.String()
	}
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockTarget(ctx, userID, operator.UserID)
		if err != nil {
			return err
		}
		if u.DisabledAt != nil {
			return accountDisabled
		}
		if err := s.DB.Gorm(ctx).Create(&made).Error; err != nil {
			return fmt.Errorf("open a session: %w", err)
		}
		e := Event{Type: eventImpersonated, Outcome: outcomeSuccess, UserID: userID, ActorID: operator.UserID, SessionID: made.ID, Note: reason}
		if of != nil {
			e.TenantID = of.TenantID
		}
		if err := s.record(ctx, e); err != nil {
			return err
		}
		return s.tellUser(ctx, noticeImpersonated, userID, operator.UserID, reason, of)
	})
	if err != nil {
		return Impersonation{}, wrap(err, "impersonate")
	}
	body := claims{
		Subject: userID, Audience: audienceCentral, SessionID: made.ID, AMR: []string{},
		Actor:    &actor{Subject: operator.UserID, SessionID: operator.SessionID},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(made.ExpiresAt), AuthTime: jwt.NewNumericDate(now),
	}
	answer := Impersonation{TokenType: "Bearer", ExpiresIn: seconds(made.ExpiresAt.Sub(now)), SessionID: made.ID, ReadOnly: true}
	if of != nil {
		body.Audience = tenantAudience(of.TenantID)
		body.TenantID, body.Slug, body.Version = &of.TenantID, of.Slug, of.Version
		answer.Tenant = &SelectedTenant{ID: of.TenantID, Slug: of.Slug, Name: of.Name, Status: of.Status, APIURL: of.APIURL}
	}
	answer.AccessToken, err = s.access.sign(ctx, body)
	return answer, err
}

// lockTarget returns the account an operator works on, locked. Their own is for them as its owner, and another operator's is out of
// reach: who may help users must not become an owner of the platform by it.
func (s *Service) lockTarget(ctx context.Context, userID, operatorID uuid.UUID) (user, error) {
	u, err := s.findUser(ctx, userID)
	if err != nil {
		return user{}, err
	}
	if u, err = s.lockUser(ctx, &u); err != nil {
		return user{}, err
	}
	if userID == operatorID || u.Operator {
		return user{}, operatorProtected
	}
	return u, nil
}

// endImpersonations ends the sessions that an operator has open in users' places, and returns their ids. The caller passes these to
// s.ended.add once its transaction has committed.
func (s *Service) endImpersonations(ctx context.Context, operatorID uuid.UUID) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := s.DB.Gorm(ctx).Raw("update sessions set revoked_at = clock_timestamp(), revoked_for = ? where actor_id = ? and revoked_at is null and expires_at > ? returning id",
		endedRole, operatorID, s.now().Add(-time.Minute)).Scan(&ids).Error
	if err != nil {
		return nil, fmt.Errorf("end what %s opened in users' places: %w", operatorID, err)
	}
	return ids, nil
}
