package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"garment.id/homecore/platform/mail"
)

// sendMail asks for a letter to an account. It holds nothing that could be used: the link's token is computed when it is sent.
type sendMail struct {
	Letter string    `json:"letter" river:"unique"`
	UserID uuid.UUID `json:"user_id" river:"unique"`
	LinkID uuid.UUID `json:"link_id,omitzero"`
	// When, by what and from where that happened which the letter tells of.
	At     time.Time `json:"at,omitzero"`
	Device string    `json:"device,omitempty"`
	IP     string    `json:"ip,omitempty"`
	Left   int       `json:"left,omitzero"` // recovery codes
}

// Kind names the job.
func (sendMail) Kind() string { return "identity_send_mail" }

// mailPause is how long an account rests before it gets the same letter again, whoever asks for it.
const mailPause = time.Minute

func (s *Service) queueMail(ctx context.Context, m sendMail) error {
	return s.Queue.Insert(ctx, m, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: mailPause}})
}

// queueEach asks for a letter that is due each time something happens, however often.
func (s *Service) queueEach(ctx context.Context, m sendMail) error {
	return s.Queue.Insert(ctx, m, nil)
}

type sendMailWorker struct {
	river.WorkerDefaults[sendMail]
	s *Service
}

// Work sends the letter. It gives up on what cannot succeed later: an account or a link that is gone, an address that is refused.
func (w *sendMailWorker) Work(ctx context.Context, job *river.Job[sendMail]) error {
	err := w.s.send(ctx, job.Args)
	var permanent *mail.PermanentError
	if errors.As(err, &permanent) || errors.Is(err, gorm.ErrRecordNotFound) || errors.Is(err, linkInvalid) {
		return river.JobCancel(err)
	}
	return err
}

func (s *Service) send(ctx context.Context, m sendMail) error {
	var (
		u   user
		l   mailLink
		err error
	)
	switch {
	case m.LinkID != uuid.Nil:
		l, u, err = s.findLink(ctx, m.LinkID)
		if err == nil && (l.UserID != m.UserID || l.Email != u.Email || !s.now().Before(l.ExpiresAt)) {
			err = linkInvalid
		}
	case m.Letter == wishReset.letter || m.Letter == wishVerify.letter:
		m.Letter, u, l, err = s.wished(ctx, m)
		if err == nil && m.Letter == "" {
			return nil
		}
	default:
		err = s.DB.Gorm(ctx).Where("id = ?", m.UserID).Take(&u).Error
	}
	if err != nil {
		return fmt.Errorf("send letter %s to %s: %w", m.Letter, m.UserID, err)
	}
	letter, err := s.write(m, u, l)
	if err != nil {
		return err
	}
	message, err := s.Brand.Render(u.Email, letter)
	if err != nil {
		return fmt.Errorf("send letter %s to %s: %w", m.Letter, m.UserID, err)
	}
	if err := s.Mail.Send(ctx, message); err != nil {
		return fmt.Errorf("send letter %s to %s: %w", m.Letter, m.UserID, err)
	}
	return nil
}

// purge deletes what has been over for so long that nobody asks for it.
type purge struct{}

// Kind names the job.
func (purge) Kind() string { return "identity_purge" }

// endedKept is how long a session that is over can still be looked up.
const endedKept = 30 * 24 * time.Hour

// changesKept is longer than any access token lives: nobody asks for what was changed before.
const changesKept = 24 * time.Hour

// throttlesKept is how long failures in a row are remembered after the last.
const throttlesKept = 24 * time.Hour

type purgeWorker struct {
	river.WorkerDefaults[purge]
	s *Service
}

// Work deletes in small lots, so that it holds nobody up.
func (w *purgeWorker) Work(ctx context.Context, _ *river.Job[purge]) error { return w.s.Purge(ctx) }

// Purge deletes sessions that have been over for 30 days, mailed links that have expired, and what else has had its time.
func (s *Service) Purge(ctx context.Context) error {
	const lot = 1000
	now := s.now()
	for _, step := range []struct {
		statement string
		args      []any
	}{
		{"delete from sessions where id in (select id from sessions where revoked_at < ? or expires_at < ? limit ?)",
			[]any{now.Add(-endedKept), now.Add(-endedKept), lot}},
		{"delete from throttles where key in (select key from throttles where seen_at < ? and coalesce(waits_until, seen_at) < now() limit ?)",
			[]any{now.Add(-throttlesKept), lot}},
		{"delete from throttle_failures where (address, identifier) in (select address, identifier from throttle_failures where seen_at < ? limit ?)",
			[]any{now.Add(-throttlesKept), lot}},
		{"delete from sprayed_passwords where fingerprint in (select fingerprint from sprayed_passwords where greatest(since + interval '1 hour', shut_until) < now() limit ?)",
			[]any{lot}},
		{"delete from membership_changes where (tenant_id, user_id) in (select tenant_id, user_id from membership_changes where changed_at < ? limit ?)",
			[]any{now.Add(-changesKept), lot}},
		{"delete from mail_links where id in (select id from mail_links where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from invitations where id in (select id from invitations where expires_at < ? and (accepted_at is null or joined_at is not null) limit ?)",
			[]any{now.Add(-endedKept), lot}},
		{"delete from challenges where id in (select id from challenges where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from totp_enrolments where user_id in (select user_id from totp_enrolments where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from remembered_devices where id in (select id from remembered_devices where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from finished_ceremonies where id in (select id from finished_ceremonies where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from google_flows where id in (select id from google_flows where expires_at < ? limit ?)", []any{now, lot}},
		{"delete from google_id_tokens where hash in (select hash from google_id_tokens where expires_at < ? limit ?)", []any{now.Add(-time.Hour), lot}},
	} {
		for {
			done := s.DB.Gorm(ctx).Exec(step.statement, step.args...)
			if done.Error != nil {
				return fmt.Errorf("purge: %w", done.Error)
			}
			if done.RowsAffected < lot {
				break
			}
		}
	}
	return nil
}
