package tenancy

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// cancelSettles is how long a cancellation that the server has taken may still be on its way to the backend: until then the
// connection is not used again, lest the next statement, of another tenant's, be the one that is cancelled.
const cancelSettles = 100 * time.Millisecond

// canceller asks the server to cancel what a connection runs when its context ends. Unlike pgconn's own, it never hangs up on
// a request it has made before the server has answered, even if the statement has ended meanwhile: PgBouncer 1.18 dies of
// that, and with it the connections of everybody (https://github.com/pgbouncer/pgbouncer/issues/801).
type canceller struct {
	pg   *pgconn.PgConn
	over chan struct{} // closed when the statement has ended
	done chan struct{} // closed when the request has
}

// HandleCancel is called when the context has ended while the connection is used.
func (h *canceller) HandleCancel(ended context.Context) {
	h.over, h.done = make(chan struct{}), make(chan struct{})
	limit := time.Now().Add(cancelLimit)
	_ = h.pg.Conn().SetDeadline(limit) // if the server does not answer
	go h.request(context.WithoutCancel(ended), h.over, h.done, limit)
}

func (h *canceller) request(ctx context.Context, over <-chan struct{}, done chan<- struct{}, limit time.Time) {
	defer close(done)
	select {
	case <-over:
		return // by itself
	case <-time.After(cancelDelay):
	}
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	if h.pg.CancelRequest(ctx) == nil {
		<-time.After(cancelSettles)
	}
}

// HandleUnwatchAfterCancel is called when the statement has ended after all.
func (h *canceller) HandleUnwatchAfterCancel() {
	close(h.over)
	<-h.done
	_ = h.pg.Conn().SetDeadline(time.Time{})
}
