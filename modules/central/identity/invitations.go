package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// Invitation asks whoever reads the mail of an address to join a tenant.
type Invitation struct {
	TenantID uuid.UUID
	Email    string
	Role     string          // its key in the tenant
	By       uuid.UUID       // who invites; zero where it is a machine
	Locale   locale.Language // of the mail; an account's own language comes before it
}

type invitation struct {
	ID         uuid.UUID
	TenantID   uuid.UUID
	Email      string
	Role       string
	Locale     locale.Language
	InvitedBy  *uuid.UUID
	CreatedAt  time.Time
	ExpiresAt  time.Time
	AcceptedAt *time.Time
	AcceptedBy *uuid.UUID
	JoinedAt   *time.Time
	RevokedAt  *time.Time
}

func (invitation) TableName() string { return "invitations" }

// The token of an invitation is a mailed link's, over these of its columns.
const purposeInvitation = "invitation"

func (i invitation) link() mailLink {
	return mailLink{ID: i.ID, Purpose: purposeInvitation, UserID: i.TenantID, Email: i.Email}
}

// Events of invitations.
const (
	eventInvited            = "invited"
	eventInvitationAccepted = "invitation_accepted"
	eventInvitationRevoked  = "invitation_revoked"
)

// An address has one open invitation to a tenant: inviting it again moves its end, and takes the role given last.
const inviteSQL = `
insert into invitations (id, tenant_id, email, role, locale, invited_by, created_at, expires_at)
values (@id, @tenant, @email, @role, @locale, @by, @now, @expires)
on conflict (tenant_id, email) where accepted_at is null and revoked_at is null do update set
	role = excluded.role, locale = excluded.locale, invited_by = excluded.invited_by, expires_at = excluded.expires_at
returning id`

// Invite keeps an invitation and queues the mail that carries it, in the transaction of schema central that ctx carries or in one of its
// own, and returns its id. The mail goes out once a minute at most. It refuses what is no address, under the field email.
func (s *Service) Invite(ctx context.Context, in Invitation) (id uuid.UUID, err error) {
	email, err := normaliseEmail(in.Email)
	if err != nil {
		return uuid.Nil, fault.ValidationFailed.WithField("email", "Alamat email tidak valid.", "The e-mail address is not valid.")
	}
	if in.Locale != locale.EN {
		in.Locale = locale.ID
	}
	var by *uuid.UUID
	if in.By != uuid.Nil {
		by = &in.By
	}
	now := s.now()
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		err := s.DB.Gorm(ctx).Raw(inviteSQL, map[string]any{"id": newID(), "tenant": in.TenantID, "email": email, "role": in.Role, "locale": in.Locale,
			"by": by, "now": now, "expires": now.Add(s.Config.InvitationTTL)}).Row().Scan(&id)
		if err != nil {
			return err
		}
		err = s.Queue.Insert(ctx, sendInvitation{ID: id}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: mailPause}})
		if err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventInvited, Outcome: outcomeSuccess, Identifier: email, TenantID: in.TenantID, ActorID: in.By})
	})
	if err != nil {
		return uuid.Nil, wrap(err, "invite somebody")
	}
	return id, nil
}

// RevokeInvitation takes an invitation back that has not been accepted, in the transaction ctx carries. It returns fault.ResourceNotFound
// where the tenant has no such one.
func (s *Service) RevokeInvitation(ctx context.Context, tenantID, id uuid.UUID) error {
	done := s.DB.Gorm(ctx).Exec("update invitations set revoked_at = ? where id = ? and tenant_id = ? and accepted_at is null and revoked_at is null", s.now(), id, tenantID)
	if done.Error != nil {
		return fmt.Errorf("revoke invitation %s: %w", id, done.Error)
	}
	if done.RowsAffected == 0 {
		return fault.ResourceNotFound
	}
	return s.record(ctx, Event{Type: eventInvitationRevoked, Outcome: outcomeSuccess, TenantID: tenantID})
}

type acceptInput struct {
	Body struct {
		Token    string `json:"token" maxLength:"512" doc:"From the link in the mail."`
		Name     string `json:"name,omitempty" doc:"For an address without an account."`
		Password string `json:"password,omitempty" doc:"For an address without an account."`
	}
}

// Joined is the answer of an accepted invitation. It signs nobody in.
type Joined struct {
	Email   string       `json:"email"`
	Account string       `json:"account" enum:"created,existing" doc:"An existing account keeps its name and its password."`
	Tenant  JoinedTenant `json:"tenant"`
}

// JoinedTenant is the tenant that was joined.
type JoinedTenant struct {
	ID     uuid.UUID `json:"id"`
	Slug   string    `json:"slug"`
	Name   string    `json:"name"`
	APIURL string    `json:"api_url"`
}

func (s *Service) handleAccept(ctx context.Context, in *acceptInput) (*api.Data[Joined], error) {
	joined, err := s.AcceptInvitation(ctx, in.Body.Token, in.Body.Name, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return api.OK(joined), nil
}

// AcceptInvitation makes the reader of an invitation a member. An address without an account gets one with this name and password,
// verified, since the mail was read; one that nobody has shown to be theirs yet gets them too, and loses what was left in it; any other
// account is left as it is. Accepting again is answered alike and changes nothing.
func (s *Service) AcceptInvitation(ctx context.Context, token, name, password string) (_ Joined, err error) {
	if err := s.admit(ctx, throttleAccept, "", uuid.Nil); err != nil {
		return Joined{}, err
	}
	i, err := s.openInvitation(ctx, token)
	defer func() {
		err = s.refused(ctx, err, Event{Type: eventInvitationAccepted, Identifier: i.Email, TenantID: i.TenantID})
	}()
	if err != nil {
		return Joined{}, err
	}
	owner, err := s.owner(ctx, i.Email)
	if err != nil {
		return Joined{}, err
	}
	var made *user
	if i.AcceptedAt == nil && owner == nil {
		u, err := s.newUser(ctx, name, i.Email, password, i.Locale)
		if err != nil {
			return Joined{}, err
		}
		made = &u
	}
	var ended []uuid.UUID
	account := "existing"
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if err := s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", i.ID).Take(&i).Error; err != nil {
			return err
		}
		if i.RevokedAt != nil {
			return linkInvalid
		}
		if i.AcceptedAt != nil {
			return nil
		}
		u, created, evicted, err := s.settle(ctx, i, made)
		if err != nil {
			return err
		}
		if ended = evicted; created {
			account = "created"
		}
		now := s.now()
		i.AcceptedAt, i.AcceptedBy = &now, &u.ID
		if err := s.DB.Gorm(ctx).Model(&i).Select("accepted_at", "accepted_by").Updates(i).Error; err != nil {
			return err
		}
		// Joining touches the tenant's schema, which no transaction of this one reaches: the job does it, should the process end before.
		if err := s.Queue.Insert(ctx, join{InvitationID: i.ID}, nil); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventInvitationAccepted, Outcome: outcomeSuccess, UserID: u.ID, Identifier: i.Email, TenantID: i.TenantID})
	})
	if err != nil {
		return Joined{}, wrap(err, "accept an invitation")
	}
	s.ended.add(ended...)
	if err := s.join(ctx, i.ID); err != nil {
		return Joined{}, err
	}
	if i.AcceptedBy == nil { // the account is gone
		return Joined{}, linkInvalid
	}
	s.AccountChanged(*i.AcceptedBy)
	of, member, err := s.Tenants.Find(ctx, *i.AcceptedBy, i.TenantID.String())
	if err != nil {
		return Joined{}, fmt.Errorf("accept an invitation: %w", err)
	}
	if !member { // thrown out again, or the tenant is no more
		return Joined{}, linkInvalid
	}
	return Joined{Email: i.Email, Account: account, Tenant: JoinedTenant{ID: of.TenantID, Slug: of.Slug, Name: of.Name, APIURL: of.APIURL}}, nil
}

// openInvitation returns the invitation that a token belongs to, linkInvalid for any other and one that is over.
func (s *Service) openInvitation(ctx context.Context, token string) (i invitation, err error) {
	id, mac, err := s.links.decode(token)
	if err != nil {
		return invitation{}, linkInvalid
	}
	err = s.DB.Gorm(ctx).Where("id = ?", id).Take(&i).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return invitation{}, linkInvalid
	}
	if err != nil {
		return invitation{}, fmt.Errorf("find invitation %s: %w", id, err)
	}
	if !s.links.verify(mac, i.link()) || i.RevokedAt != nil || !s.now().Before(i.ExpiresAt) {
		return invitation{}, linkInvalid
	}
	return i, nil
}

// owner returns the account of an address that its owner holds; nil where there is none, or nobody has shown to be that.
func (s *Service) owner(ctx context.Context, email string) (*user, error) {
	u, err := s.findByEmail(ctx, email)
	if err != nil || u == nil || requireOwner(*u) != nil {
		return nil, err
	}
	return u, nil
}

// settle returns the account that an invitation makes a member: the one there is, or made. It wants a transaction.
func (s *Service) settle(ctx context.Context, i invitation, made *user) (u user, created bool, ended []uuid.UUID, err error) {
	if made != nil {
		fresh := *made
		fresh.EmailVerifiedAt = &fresh.CreatedAt
		done := s.DB.Gorm(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoNothing: true}).Create(&fresh)
		if done.Error != nil {
			return user{}, false, nil, done.Error
		}
		if done.RowsAffected == 1 {
			return fresh, true, nil, nil
		}
	}
	err = s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("email = ?", i.Email).Take(&u).Error
	if err != nil {
		return user{}, false, nil, err
	}
	if u.DisabledAt != nil {
		return user{}, false, nil, linkInvalid
	}
	if requireOwner(u) == nil {
		return u, false, nil, nil
	}
	if made == nil { // it had an owner a moment ago: they can try again
		return user{}, false, nil, fault.ResourceConflict
	}
	u.Name = made.Name
	if err := s.DB.Gorm(ctx).Model(&u).Select("name").Updates(u).Error; err != nil {
		return user{}, false, nil, err
	}
	ended, err = s.setPassword(ctx, u, made.storedHash(), endedReclaimed, uuid.Nil)
	return u, true, ended, err
}

// join makes who accepted an invitation a member, unless that has been done. It may run twice.
func (s *Service) join(ctx context.Context, id uuid.UUID) error {
	var i invitation
	if err := s.DB.Gorm(ctx).Where("id = ?", id).Take(&i).Error; err != nil {
		return fmt.Errorf("find invitation %s: %w", id, err)
	}
	if i.JoinedAt != nil || i.AcceptedBy == nil {
		return nil
	}
	if err := s.Join(ctx, i.TenantID, *i.AcceptedBy, i.Role); err != nil {
		return wrap(err, "join tenant "+i.TenantID.String())
	}
	if err := s.DB.Gorm(ctx).Exec("update invitations set joined_at = ? where id = ? and joined_at is null", s.now(), id).Error; err != nil {
		return fmt.Errorf("note that invitation %s has done its work: %w", id, err)
	}
	return nil
}

// join asks for what follows the acceptance of an invitation.
type join struct {
	InvitationID uuid.UUID `json:"invitation_id"`
}

// Kind names the job.
func (join) Kind() string { return "identity_join" }

type joinWorker struct {
	river.WorkerDefaults[join]
	s *Service
}

// Work joins, or finds it done.
func (w *joinWorker) Work(ctx context.Context, job *river.Job[join]) error {
	err := w.s.join(ctx, job.Args.InvitationID)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return river.JobCancel(err)
	}
	return err
}

// sendInvitation asks for the letter that carries an invitation.
type sendInvitation struct {
	ID uuid.UUID `json:"id" river:"unique"`
}

// Kind names the job.
func (sendInvitation) Kind() string { return "identity_send_invitation" }

type sendInvitationWorker struct {
	river.WorkerDefaults[sendInvitation]
	s *Service
}

// Work sends the letter, unless the invitation is over.
func (w *sendInvitationWorker) Work(ctx context.Context, job *river.Job[sendInvitation]) error {
	err := w.s.mailInvitation(ctx, job.Args.ID)
	var permanent *mail.PermanentError
	if errors.As(err, &permanent) || errors.Is(err, gorm.ErrRecordNotFound) {
		return river.JobCancel(err)
	}
	return err
}

func (s *Service) mailInvitation(ctx context.Context, id uuid.UUID) error {
	var row struct {
		Invitation invitation `gorm:"embedded"`
		TenantName string
		Inviter    string
		Name       string // of the account, if the address has one
		Language   locale.Language
	}
	err := s.DB.Gorm(ctx).Raw(`
select i.*, t.name as tenant_name, coalesce(b.name, '') as inviter, coalesce(u.name, '') as name, coalesce(u.locale, i.locale) as language
from invitations i join tenants t on t.id = i.tenant_id left join users b on b.id = i.invited_by
	left join users u on u.email = i.email and u.email_verified_at is not null and not u.password_claimed
where i.id = ? and i.accepted_at is null and i.revoked_at is null`, id).Take(&row).Error
	if err != nil {
		return fmt.Errorf("send invitation %s: %w", id, err)
	}
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(row.Language) }
	letter := mail.Letter{Lang: row.Language, Greeting: in("Halo,", "Hello,")}
	if row.Name != "" {
		letter.Greeting = in("Halo "+row.Name+",", "Hello "+row.Name+",")
	}
	letter.Subject = in("Undangan ke "+row.TenantName, "Invitation to "+row.TenantName)
	if row.Inviter == "" {
		letter.Body = []string{in("Anda diundang ke ruang kerja "+row.TenantName+" di "+s.Brand.Name+".",
			"You are invited to the workspace "+row.TenantName+" on "+s.Brand.Name+".")}
	} else {
		letter.Body = []string{in(row.Inviter+" mengundang Anda ke ruang kerja "+row.TenantName+" di "+s.Brand.Name+".",
			row.Inviter+" invites you to the workspace "+row.TenantName+" on "+s.Brand.Name+".")}
	}
	letter.Action = &mail.Action{Label: in("Terima undangan", "Accept the invitation"), URL: s.pageURL(s.Config.InvitationURL, invitePage, s.links.encode(row.Invitation.link()))}
	letter.After = []string{goodFor(row.Language, s.Config.InvitationTTL), in("Jika Anda tidak mengenal pengundangnya, abaikan email ini.",
		"If you do not know who invites you, ignore this e-mail.")}
	message, err := s.Brand.Render(row.Invitation.Email, letter)
	if err == nil {
		err = s.Mail.Send(ctx, message)
	}
	if err != nil {
		return fmt.Errorf("send invitation %s: %w", id, err)
	}
	return nil
}
