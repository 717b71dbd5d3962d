package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"gorm.io/gorm"
)

// Warning is what an account's owner is told of a row of the log.
type Warning struct {
	ActivityID uuid.UUID
	UserID     uuid.UUID
	Kinds      []string // of the signals, the gravest first
	Device     string
	IP         string
	Place      string // "Bandung, ID"; empty where it is not known
	At         time.Time
}

// alert asks for the mail that warns an account's owner of a row of the log.
type alert struct {
	ActivityID uuid.UUID `json:"activity_id"`
}

// Kind names the job.
func (alert) Kind() string { return "activity_alert" }

type alertWorker struct {
	river.WorkerDefaults[alert]
	s *Service
}

// Work warns.
func (w *alertWorker) Work(ctx context.Context, job *river.Job[alert]) error {
	return w.s.warn(ctx, job.Args.ActivityID)
}

// A kind is claimed for an hour by the row that warns of it. The same row may claim it again: its job was interrupted.
const claimSQL = `
insert into security_alerts (user_id, kind, activity_id, at)
select cast(@user as uuid), kind, cast(@activity as uuid), cast(@at as timestamptz) from unnest(string_to_array(@kinds, ' ')) kind
on conflict (user_id, kind) do update set activity_id = excluded.activity_id, at = excluded.at
where security_alerts.activity_id = excluded.activity_id or security_alerts.at <= excluded.at - interval '1 hour'
returning kind`

// stuffed is what a sign-in that succeeded claims in place of credential_stuffing: the failures before it, which mean no harm yet, may
// have been told of within the hour.
const stuffed = credentialStuffing + "_success"

// warn has the owner of the account told what looked suspicious, each kind at most once an hour.
func (s *Service) warn(ctx context.Context, activityID uuid.UUID) error {
	var r row
	err := s.DB.Gorm(ctx).Where("id = ?", activityID).Take(&r).Error
	if errors.Is(err, gorm.ErrRecordNotFound) || err == nil && r.UserID == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read activity %s: %w", activityID, err)
	}
	people, err := s.People(ctx, []uuid.UUID{*r.UserID})
	if err != nil {
		return fmt.Errorf("warn of activity %s: %w", activityID, err)
	}
	if _, there := people[*r.UserID]; !there {
		return nil
	}
	kinds := r.Reasons
	if r.Outcome == Success {
		kinds = strings.ReplaceAll(kinds, credentialStuffing, stuffed)
	}
	var claimed []string
	err = s.DB.Gorm(ctx).Raw(claimSQL, map[string]any{"user": *r.UserID, "activity": r.ID, "at": r.At, "kinds": kinds}).Scan(&claimed).Error
	if err != nil {
		return fmt.Errorf("warn of activity %s: %w", activityID, err)
	}
	if len(claimed) == 0 {
		return nil
	}
	if i := slices.Index(claimed, stuffed); i >= 0 {
		claimed[i] = credentialStuffing
	}
	w := Warning{ActivityID: r.ID, UserID: *r.UserID, Kinds: inOrder(r.reasons(), claimed), Device: r.Device,
		Place: strings.Trim(r.City+", "+r.Country, ", "), At: r.At.UTC()}
	if r.IP != nil {
		w.IP = *r.IP
	}
	if err := s.Warn(ctx, w); err != nil {
		return fmt.Errorf("warn of activity %s: %w", activityID, err)
	}
	return nil
}

// inOrder returns those of all that are among some, in their order.
func inOrder(all, some []string) []string {
	out := make([]string, 0, len(some))
	for _, kind := range all {
		for _, one := range some {
			if kind == one {
				out = append(out, kind)
			}
		}
	}
	return out
}
