package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"

	"garment.id/homecore/platform/locale"
	"garment.id/homecore/platform/mail"
)

// notice asks for the letter that tells a user what an operator did to their account.
type notice struct {
	What     string    `json:"what"`
	UserID   uuid.UUID `json:"user_id"`
	Operator uuid.UUID `json:"operator"`
	Reason   string    `json:"reason"`
	Tenant   string    `json:"tenant,omitempty"`
	At       time.Time `json:"at"`
}

// What operators do that users are told.
const (
	noticeImpersonated  = "impersonated"
	noticeSessionsEnded = "sessions_ended"
)

// Kind names the job.
func (notice) Kind() string { return "identity_notice" }

// tellUser queues the letter, in the transaction that ctx carries.
func (s *Service) tellUser(ctx context.Context, what string, userID, operatorID uuid.UUID, reason string, of *Membership) error {
	n := notice{What: what, UserID: userID, Operator: operatorID, Reason: reason, At: s.now()}
	if of != nil {
		n.Tenant = of.Name
	}
	return s.Queue.Insert(ctx, n, nil)
}

type noticeWorker struct {
	river.WorkerDefaults[notice]
	s *Service
}

// Work sends the letter. It gives up on an account that is gone and an address that is refused.
func (w *noticeWorker) Work(ctx context.Context, job *river.Job[notice]) error {
	err := w.s.sendNotice(ctx, job.Args)
	var permanent *mail.PermanentError
	if errors.As(err, &permanent) || errors.Is(err, gorm.ErrRecordNotFound) {
		return river.JobCancel(err)
	}
	return err
}

func (s *Service) sendNotice(ctx context.Context, n notice) error {
	var u, operator user
	err := s.DB.Gorm(ctx).Where("id = ?", n.UserID).Take(&u).Error
	if err == nil {
		err = s.DB.Gorm(ctx).Where("id = ?", n.Operator).Take(&operator).Error
	}
	if err != nil {
		return fmt.Errorf("send notice %s to %s: %w", n.What, n.UserID, err)
	}
	message, err := s.Brand.Render(u.Email, s.writeNotice(n, u, operator.Name))
	if err == nil {
		err = s.Mail.Send(ctx, message)
	}
	if err != nil {
		return fmt.Errorf("send notice %s to %s: %w", n.What, n.UserID, err)
	}
	return nil
}

func (s *Service) writeNotice(n notice, u user, operator string) mail.Letter {
	in := func(id, en string) string { return locale.Text{ID: id, EN: en}.In(u.Locale) }
	brand := s.Brand.Name
	letter := mail.Letter{
		Lang: u.Locale, Greeting: in("Halo "+u.Name+",", "Hello "+u.Name+","),
		Subject: in("Tim "+brand+" mengakhiri sesi Anda", "The "+brand+" team ended your sessions"),
		Body: []string{in("Tim "+brand+" mengakhiri semua sesi akun Anda. Silakan masuk kembali.",
			"The "+brand+" team ended all sessions of your account. Please sign in again.")},
		Facts: []mail.Fact{{Label: in("Oleh", "By"), Value: operator}, {Label: in("Alasan", "Reason"), Value: n.Reason}},
	}
	if n.What == noticeImpersonated {
		letter.Subject = in("Tim "+brand+" melihat akun Anda", "The "+brand+" team looked at your account")
		letter.Body = []string{
			in("Seorang anggota tim "+brand+" membuka akun Anda untuk melihat apa yang Anda lihat. Ia tidak dapat mengubah apa pun.",
				"A member of the "+brand+" team opened your account to see what you see. They cannot change anything."),
			in(fmt.Sprintf("Akses itu berakhir dengan sendirinya dalam %d menit.", int(s.Config.AccessTTL.Minutes())),
				fmt.Sprintf("The access ends by itself within %d minutes.", int(s.Config.AccessTTL.Minutes()))),
		}
		letter.After = []string{in("Mengakhiri semua sesi Anda mengakhiri akses itu juga.", "Ending all your sessions ends that access too.")}
	}
	if n.Tenant != "" {
		letter.Facts = append(letter.Facts, mail.Fact{Label: in("Ruang kerja", "Workspace"), Value: n.Tenant})
	}
	letter.Facts = append(letter.Facts, mail.Fact{Label: in("Waktu", "Time"), Value: n.At.UTC().Format("2006-01-02 15:04 UTC")})
	return letter
}
