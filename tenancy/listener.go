package tenancy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// ErrPooled is returned by Listen on a cluster that is reached through a transaction pooler: it has no session to listen with.
var ErrPooled = errors.New("tenancy: LISTEN needs a session of its own, and this cluster is behind a transaction pooler")

// Listener hears what is sent to one channel of one tenant. It has a connection of its own, so that there should be few,
// and must be closed. It is not safe for concurrent use: end a Next by its context, then Close.
type Listener struct {
	c     *conn
	heard []string
}

// Listen starts hearing what is sent by Notify as ctx's tenant. It enters the tenant as any statement does, and so is refused
// like one (EntryError); a tenant that is shut later has nobody left who could send. Behind a pooler it is ErrPooled.
// ctx limits the start alone.
func (db *DB) Listen(ctx context.Context, channel string) (*Listener, error) {
	scope, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	name, err := channelName(scope, channel)
	if err != nil {
		return nil, err
	}
	g, err := db.router.group(scope)
	if err != nil {
		return nil, err
	}
	from := g.lanes[0].db.Driver().(noDriver).from
	if !from.named {
		return nil, ErrPooled
	}
	l := &Listener{}
	config := from.config.Copy()
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if n.Channel == name {
			l.heard = append(l.heard, n.Payload)
		}
	}
	// Waiting is not a statement: there is nothing to cancel on the server.
	config.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: pg.Conn()}
	}
	if l.c, err = from.connect(ctx, config); err != nil {
		return nil, fmt.Errorf("listen to %q: %w", channel, err)
	}
	l.c.lane = nil // it is none of the group's connections
	if err := l.start(ctx, name); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to %q: %w", channel, err), l.Close())
	}
	return l, nil
}

func (l *Listener) start(ctx context.Context, name string) error {
	tx, err := l.c.BeginTx(ctx, driver.TxOptions{})
	if err != nil {
		return err
	}
	if _, err := trusted("listen "+pgx.Identifier{name}.Sanitize())(ctx, l.c); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Next waits for a notification and returns its payload. ctx's error leaves the Listener as it was. After any other the
// connection is lost, and perhaps notifications with it: close, listen anew and look at what they are about.
func (l *Listener) Next(ctx context.Context) (string, error) {
	for len(l.heard) == 0 {
		if err := l.c.pg.WaitForNotification(ctx); err != nil {
			if ended := ctx.Err(); ended != nil {
				return "", ended
			}
			return "", fmt.Errorf("wait for a notification: %w", err)
		}
	}
	payload := l.heard[0]
	l.heard = l.heard[1:]
	return payload, nil
}

// Close gives the connection back to the server.
func (l *Listener) Close() error { return l.c.Close() }
