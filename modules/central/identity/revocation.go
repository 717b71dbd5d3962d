package identity

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
)

const (
	endedFresh    = 500 * time.Millisecond // how often the ended sessions are read, at most
	endedTolerate = time.Second            // older than this and unreadable: no token is believed
	// A session carries the time of the UPDATE that ended it, and is seen once that commits: look back this far, so that it is not missed.
	endedOverlap = 30 * time.Second
)

// endedSessions knows which sessions have ended while access tokens of theirs may live, so that checking one asks no database.
// All of it runs on the database's clock and on monotonic time: the processes' clocks may differ.
type endedSessions struct {
	db       *database.DB
	lifetime time.Duration // how long an access token can outlive its session
	seen     snapshot[time.Time]

	mu sync.RWMutex
	at map[uuid.UUID]time.Time // when this process learnt of it
}

func newEndedSessions(db *database.DB, accessTTL time.Duration) *endedSessions {
	e := &endedSessions{db: db, lifetime: accessTTL + time.Minute, at: map[uuid.UUID]time.Time{}}
	e.seen.load, e.seen.timeout = e.read, endedTolerate
	return e
}

// refuse returns the fault that ends a request whose session has ended, or says that it cannot be known just now.
func (e *endedSessions) refuse(ctx context.Context, sessionID uuid.UUID) error {
	if _, err := e.seen.get(ctx, endedFresh, endedTolerate); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.ServiceUnavailable.WithCause(fmt.Errorf("read the ended sessions: %w", err))
	}
	e.mu.RLock()
	_, ended := e.at[sessionID]
	e.mu.RUnlock()
	if ended {
		return fault.Unauthorized
	}
	return nil
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

// The left join gives the database's time even where no session has ended.
const endedSince = `
select s.id, n.now
from (select clock_timestamp() as now) n
left join sessions s on s.revoked_at > coalesce(?::timestamptz, n.now - make_interval(secs => ?))`

// read learns what ended since the last reading, whose time by the database's clock it is given.
func (e *endedSessions) read(ctx context.Context, last time.Time) (time.Time, error) {
	var since *time.Time
	if !last.IsZero() {
		last = last.Add(-endedOverlap)
		since = &last
	}
	var rows []struct {
		ID  *uuid.UUID
		Now time.Time
	}
	if err := e.db.Gorm(ctx).Raw(endedSince, since, e.lifetime.Seconds()).Scan(&rows).Error; err != nil {
		return time.Time{}, err
	}
	learnt := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range rows {
		if r.ID == nil {
			continue
		}
		if _, known := e.at[*r.ID]; !known {
			e.at[*r.ID] = learnt
		}
	}
	for id, at := range e.at {
		if learnt.Sub(at) > e.lifetime+endedOverlap {
			delete(e.at, id)
		}
	}
	return rows[0].Now, nil
}
