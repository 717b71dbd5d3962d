package identity

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

const (
	endedFresh    = 500 * time.Millisecond // how often what has ended is read, at most, while nothing is heard
	endedTolerate = time.Second            // what is known is as of this long ago at most, or no token is believed
	// A row carries the time of the statement that changed it, and is seen once that commits: look back this far, so that it is not missed.
	endedOverlap = 30 * time.Second

	accessChannel = "homecore_access" // what triggers say on it is in migrations 00022 and 00031
)

// endedSessions knows which sessions have ended, and which memberships have changed, while access tokens of before may live, so
// that checking one asks no database. It hears of both by notifications, within milliseconds; whenever it has heard nothing for a
// second it reads what it may have missed, and where it cannot do that no token is believed.
//
// All of it runs on the database's clock and on monotonic time: the processes' clocks may differ.
type endedSessions struct {
	db       *database.DB
	lifetime time.Duration // how long an access token can outlive its session
	seen     snapshot[time.Time]
	known    *knownAccounts

	mu      sync.RWMutex
	aliveAt time.Time               // everything notified before has been heard; zero: nothing is heard
	at      map[uuid.UUID]time.Time // sessions that have ended, and when this process learnt of it
	members map[place]changed
}

// place is one user's in one tenant.
type place struct{ tenant, user uuid.UUID }

// changed is what a membership has become.
type changed struct {
	version int64
	active  bool
	learnt  time.Time
}

func newEndedSessions(db *database.DB, accessTTL time.Duration, known *knownAccounts) *endedSessions {
	e := &endedSessions{db: db, lifetime: accessTTL + time.Minute, known: known, at: map[uuid.UUID]time.Time{}, members: map[place]changed{}}
	e.seen.load, e.seen.timeout = e.read, endedTolerate
	return e
}

// refuse returns the fault that ends a request whose session has ended, or whose user has left the tenant of the token, or says that
// it cannot be known just now. Who is still a member, in whatever role, goes on as what they are by now: p gets that version.
func (e *endedSessions) refuse(ctx context.Context, p *api.Principal) error {
	e.mu.RLock()
	heard := time.Since(e.aliveAt) < endedTolerate
	e.mu.RUnlock()
	if !heard {
		if _, err := e.seen.get(ctx, endedFresh, endedTolerate); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.ServiceUnavailable.WithCause(fmt.Errorf("read what has ended: %w", err))
		}
	}
	e.mu.RLock()
	_, ended := e.at[p.SessionID]
	now, moved := e.members[place{p.TenantID, p.UserID}]
	e.mu.RUnlock()
	switch {
	case ended:
		return fault.Unauthorized
	case !moved || now.version <= p.MembershipVersion:
		return nil
	case !now.active:
		return api.ContextMismatch
	default:
		p.MembershipVersion = now.version
		return nil
	}
}

// add makes sessions known as ended in this process at once. Call it once the transaction that ended them has committed.
func (e *endedSessions) add(ids ...uuid.UUID) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		e.at[id] = now
	}
}

func (e *endedSessions) move(p place, version int64, active bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if version >= e.members[p].version {
		e.members[p] = changed{version, active, time.Now()}
	}
}

// The first row gives the database's time, even where nothing has changed.
const endedSince = `
with n as (select clock_timestamp() as now, coalesce(cast(@since as timestamptz), clock_timestamp() - make_interval(secs => @lifetime)) as since)
select now, null::uuid as id, null::uuid as tenant_id, null::uuid as user_id, 0 as version, false as active from n
union all select n.now, s.id, null, null, 0, false from n join sessions s on s.revoked_at > n.since
union all select n.now, null, c.tenant_id, c.user_id, c.version, c.active from n join membership_changes c on c.changed_at > n.since`

// read learns what changed since the last reading, whose time by the database's clock it is given.
func (e *endedSessions) read(ctx context.Context, last time.Time) (time.Time, error) {
	var since *time.Time
	if !last.IsZero() {
		last = last.Add(-endedOverlap)
		since = &last
	}
	var rows []struct {
		Now                  time.Time
		ID, TenantID, UserID *uuid.UUID
		Version              int64
		Active               bool
	}
	if err := e.db.Gorm(ctx).Raw(endedSince,
		map[string]any{"since": since, "lifetime": e.lifetime.Seconds()}).Scan(&rows).Error; err != nil {
		return time.Time{}, err
	}
	for _, r := range rows {
		switch {
		case r.ID != nil:
			e.learn(*r.ID)
		case r.TenantID != nil:
			e.move(place{*r.TenantID, *r.UserID}, r.Version, r.Active)
		}
	}
	e.forget()
	return rows[0].Now, nil
}

// learn notes an ended session, once: what is read again must not be remembered for longer each time.
func (e *endedSessions) learn(id uuid.UUID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.at[id]; !known {
		e.at[id] = time.Now()
	}
}

// forget drops what no living token can be about.
func (e *endedSessions) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, at := range e.at {
		if time.Since(at) > e.lifetime+endedOverlap {
			delete(e.at, id)
		}
	}
	for p, c := range e.members {
		if time.Since(c.learnt) > e.lifetime+endedOverlap {
			delete(e.members, p)
		}
	}
}

// Listen hears of ended sessions, changed memberships, accounts and keys until ctx ends. Without it they are read twice a second, keys
// every two, and accounts are not remembered.
func (s *Service) Listen(ctx context.Context, log *slog.Logger) {
	s.DB.Listen(ctx, accessChannel, &accessListener{endedSessions: s.ended, keys: s.keys, swept: time.Now()}, log)
}

type accessListener struct {
	*endedSessions
	keys  *keyring
	swept time.Time
}

// Connected reads what may have been missed, and forgets every account and key.
func (l *accessListener) Connected(ctx context.Context) error {
	l.keys.set.drop()
	_, err := l.seen.get(ctx, 0, 0)
	l.known.begin()
	return err
}

// Heard takes one notification; what it does not know it overlooks, since a newer binary may have said it.
func (l *accessListener) Heard(payload string) {
	words := strings.Fields(payload)
	if len(words) < 2 {
		return
	}
	if words[0] == "key" { // whichever: they are read together
		l.keys.set.drop()
		return
	}
	id, err := uuid.Parse(words[1])
	if err != nil {
		return
	}
	switch words[0] {
	case "session":
		l.learn(id)
	case "user":
		l.known.forget(id)
	case "tenant":
		l.known.forgetTenant(id)
	case "member":
		if len(words) != 5 {
			return
		}
		user, userErr := uuid.Parse(words[2])
		version, versionErr := strconv.ParseInt(words[3], 10, 64)
		if userErr != nil || versionErr != nil {
			return
		}
		l.move(place{id, user}, version, words[4] == "true")
		l.known.forget(user)
	}
}

// Alive says how much is known.
func (l *accessListener) Alive(asOf time.Time) {
	l.mu.Lock()
	l.aliveAt = asOf
	l.mu.Unlock()
	l.known.alive(asOf)
	if time.Since(l.swept) > time.Minute {
		l.swept = time.Now()
		l.forget()
	}
}

// Lost says that what is known grows old from now on.
func (l *accessListener) Lost() {
	l.mu.Lock()
	l.aliveAt = time.Time{}
	l.mu.Unlock()
	l.known.end()
}
