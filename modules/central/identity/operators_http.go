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
	"garment.id/homecore/platform/keyset"
)

// Account is an account as operators see it: nothing of its password, its factors or its tokens.
type Account struct {
	ID            uuid.UUID  `json:"id"`
	Name          string     `json:"name"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	HasPassword   bool       `json:"has_password"`
	TwoFactor     bool       `json:"two_factor_enabled"`
	DisabledAt    *time.Time `json:"disabled_at" nullable:"true"`
	CreatedAt     time.Time  `json:"created_at"`
}

func viewAccount(u user) Account {
	return Account{ID: u.ID, Name: u.Name, Email: u.Email, EmailVerified: u.EmailVerifiedAt != nil, HasPassword: u.PasswordHash != nil,
		TwoFactor: u.TwoFactorAt != nil, DisabledAt: u.DisabledAt, CreatedAt: u.CreatedAt.UTC()}
}

type accountsInput struct {
	api.ListQuery
	Status string `query:"filter[status]" enum:"active,disabled,unverified"`
}

func accountOrder() keyset.Order[user] {
	return keyset.Order[user]{
		Default: "-created_at", ID: func(u *user) uuid.UUID { return u.ID },
		By: map[string]keyset.Sort[user]{
			"created_at": {Column: "created_at", Value: func(u *user) any { return u.CreatedAt }},
			"email":      {Column: "email", Value: func(u *user) any { return u.Email }},
		},
	}
}

func (s *Service) handleAccounts(ctx context.Context, in *accountsInput) (*api.Page[Account], error) {
	q := s.DB.Gorm(ctx).Model(&user{})
	if in.Q != "" {
		like := keyset.Contains(in.Q)
		q = q.Where("name ilike ? or email ilike ?", like, like)
	}
	switch in.Status {
	case "active":
		q = q.Where("disabled_at is null and email_verified_at is not null")
	case "disabled":
		q = q.Where("disabled_at is not null")
	case "unverified":
		q = q.Where("disabled_at is null and email_verified_at is null")
	}
	rows, next, err := accountOrder().Page(ctx, q, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	views := make([]Account, len(rows))
	for i, u := range rows {
		views[i] = viewAccount(u)
	}
	return api.List(views, next, in.Limit), nil
}

type accountInput struct {
	User uuid.UUID `path:"user"`
}

func (s *Service) handleAccount(ctx context.Context, in *accountInput) (*api.Data[Account], error) {
	u, err := s.findUser(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return api.OK(viewAccount(u)), nil
}

type actOnAccountInput struct {
	User uuid.UUID `path:"user"`
	Body struct {
		Reason string `json:"reason" pattern:"\\S" minLength:"1" maxLength:"500" doc:"For the log, which the user sees."`
	}
}

// SessionsEnded says how many there were.
type SessionsEnded struct {
	Ended int `json:"ended"`
}

func (s *Service) handleEndSessions(ctx context.Context, in *actOnAccountInput) (*api.Data[SessionsEnded], error) {
	n, err := s.EndSessionsOf(ctx, api.MustPrincipal(ctx), in.User, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return api.OK(SessionsEnded{Ended: n}), nil
}

func (s *Service) handleForceReset(ctx context.Context, in *actOnAccountInput) (*api.Data[SessionsEnded], error) {
	n, err := s.ForceReset(ctx, api.MustPrincipal(ctx), in.User, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return api.Accepted(SessionsEnded{Ended: n}), nil
}

// endedOperator is why sessions end that an operator ends.
const endedOperator = "ended_by_operator"

// EndSessionsOf ends every session of a user's. The user is told by mail.
func (s *Service) EndSessionsOf(ctx context.Context, operator api.Principal, userID uuid.UUID, reason string) (int, error) {
	var ended []uuid.UUID
	err := s.operate(ctx, operator, userID, eventSessionsEnded, reason, func(ctx context.Context, u user) (err error) {
		if ended, err = s.endSessions(ctx, u.ID, endedOperator, "true"); err != nil {
			return err
		}
		return s.tellUser(ctx, noticeSessionsEnded, u.ID, operator.UserID, reason, nil)
	})
	if err != nil {
		return 0, err
	}
	s.ended.add(ended...)
	return len(ended), nil
}

// ForceReset ends every session of a user's, makes the password useless and mails the link that sets a new one. Nobody but the user
// ever sees or sets it.
func (s *Service) ForceReset(ctx context.Context, operator api.Principal, userID uuid.UUID, reason string) (int, error) {
	var ended []uuid.UUID
	err := s.operate(ctx, operator, userID, eventResetForced, reason, func(ctx context.Context, u user) (err error) {
		ended, err = s.secure(ctx, u, endedOperator)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.ended.add(ended...)
	s.AccountChanged(userID)
	return len(ended), nil
}

// operate does something to a user's account in an operator's name, with the row in the log.
func (s *Service) operate(ctx context.Context, operator api.Principal, userID uuid.UUID, event, reason string, do func(ctx context.Context, u user) error) error {
	if err := s.requireStepUp(ctx, operator); err != nil {
		return err
	}
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		u, err := s.lockTarget(ctx, userID, operator.UserID)
		if err != nil {
			return err
		}
		if err := do(ctx, u); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: event, Outcome: outcomeSuccess, UserID: userID, ActorID: operator.UserID, Note: reason})
	})
	return wrap(err, "work on account "+userID.String())
}

// findUser returns the account with that id, or fault.ResourceNotFound.
func (s *Service) findUser(ctx context.Context, id uuid.UUID) (user, error) {
	var u user
	err := s.DB.Gorm(ctx).Where("id = ?", id).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return user{}, fault.ResourceNotFound
	}
	if err != nil {
		return user{}, fmt.Errorf("read account %s: %w", id, err)
	}
	return u, nil
}
