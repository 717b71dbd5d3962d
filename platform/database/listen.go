package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	listenLimit = 5 * time.Second // for connecting, and for an answer
	listenPause = 5 * time.Second // at most, between two tries
	listenAlive = 300 * time.Millisecond
)

var errStandby = errors.New("the server has become a standby")

// Listener is told what is notified on a channel. Its methods are called one at a time.
type Listener interface {
	// Connected is called when listening has begun: what was notified before may have been missed. An error ends the connection.
	Connected(ctx context.Context) error
	// Heard is given a notification's payload.
	Heard(payload string)
	// Alive says that everything notified before asOf has been heard. It comes a few times a second.
	Alive(asOf time.Time)
	// Lost says that nothing is heard any more.
	Lost()
}

// Listen tells l what is notified on a channel until ctx ends, on a connection of its own, which it makes again whenever it is
// lost; log is told then, once.
func (db *DB) Listen(ctx context.Context, channel string, l Listener, log *slog.Logger) {
	pause := listenPause
	for told := false; ctx.Err() == nil; {
		connected, err := db.hear(ctx, channel, l)
		l.Lost()
		if ctx.Err() != nil {
			return
		}
		if connected {
			told, pause = false, 50*time.Millisecond
		}
		if !told {
			log.WarnContext(ctx, "notifications are not heard", "channel", channel, "cause", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, listenPause)
	}
}

// hear listens until the connection is lost or ctx ends.
func (db *DB) hear(ctx context.Context, channel string, l Listener) (connected bool, err error) {
	proof := fmt.Sprintf("listener %d", time.Now().UnixNano())
	proved := false
	conn, err := db.dialListener(ctx, func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if n.Payload == proof {
			proved = true
			return
		}
		l.Heard(n.Payload)
	})
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	// Behind a pooler that shares connections LISTEN succeeds too, and nothing is ever heard: only a notification proves it.
	if err := limited(ctx, func(ctx context.Context) error {
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "select pg_catalog.pg_notify($1, $2)", channel, proof); err != nil {
			return err
		}
		for !proved {
			if err := conn.PgConn().WaitForNotification(ctx); err != nil {
				return fmt.Errorf("no notification arrives: is a connection pooler in between? %w", err)
			}
		}
		return nil
	}); err != nil {
		return false, fmt.Errorf("listen: %w", err)
	}
	asOf := time.Now()
	if err := l.Connected(ctx); err != nil {
		return false, err
	}
	l.Alive(asOf)
	for {
		if err := waitUntil(ctx, conn, asOf.Add(listenAlive)); err != nil {
			return true, err
		}
		asOf = time.Now()
		if err := limited(ctx, func(ctx context.Context) error { return signOfLife(ctx, conn) }); err != nil {
			return true, err
		}
		l.Alive(asOf)
	}
}

// waitUntil receives notifications, which go to the listener by themselves, until a moment.
func waitUntil(ctx context.Context, conn *pgx.Conn, until time.Time) error {
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		if err := conn.PgConn().WaitForNotification(waiting); err != nil {
			if waiting.Err() != nil && ctx.Err() == nil && !conn.IsClosed() {
				return nil
			}
			return err
		}
	}
}

// signOfLife asks for a sign of life: a partner that has vanished says nothing, and a standby hears of nothing. What was notified
// before the question arrives before the answer.
func signOfLife(ctx context.Context, conn *pgx.Conn) error {
	var standby bool
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return fmt.Errorf("no sign of life: %w", err)
	}
	if standby {
		return errStandby
	}
	return nil
}

func limited(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, listenLimit)
	defer cancel()
	return do(ctx)
}

func (db *DB) dialListener(ctx context.Context, heard pgconn.NotificationHandler) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, listenLimit)
	defer cancel()
	config := db.pool.Config().ConnConfig
	config.RuntimeParams["application_name"] = "homecore listener"
	config.OnNotification = heard
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}
