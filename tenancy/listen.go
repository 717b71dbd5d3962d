package tenancy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// channel is where triggers of schema central say what has changed: "<tenant id> <slug>" or "domain <name>".
const channel = "homecore_tenants"

const (
	listenLimit = 5 * time.Second // for connecting, and for an answer
	aliveEvery  = 5 * time.Second // how often a silent connection is asked whether it still hears
	listenPause = 5 * time.Second // at most, between two tries
)

var errStandby = errors.New("the server has become a standby")

// Listen hears of every change to tenants but a new version until ctx ends, on a connection of its own, so that what the registry knows may live
// long. While it is cut off (log is told) the registry trusts itself for two seconds only; connected again, it forgets
// everything once, since nobody knows what was missed.
func (r *Registry) Listen(ctx context.Context, log *slog.Logger) {
	pause := listenPause
	for told := false; ctx.Err() == nil; {
		connected, err := r.hear(ctx, log)
		r.listening.Store(false)
		if ctx.Err() != nil {
			return
		}
		if connected {
			told, pause = false, 50*time.Millisecond
		}
		if !told {
			log.WarnContext(ctx, "changes to tenants are not heard of", "cause", err)
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
func (r *Registry) hear(ctx context.Context, log *slog.Logger) (connected bool, err error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	r.forgetAll()
	r.listening.Store(true)
	log.DebugContext(ctx, "changes to tenants are heard of")
	for {
		payload, err := wait(ctx, conn, aliveEvery)
		switch {
		case err == nil:
			r.heard(payload)
		case ctx.Err() != nil:
			return true, nil
		case errors.Is(err, context.DeadlineExceeded):
			if err := signOfLife(ctx, conn); err != nil {
				return true, err
			}
		default:
			return true, err
		}
	}
}

// dial connects as the central role and returns once a notification has been seen to arrive: behind a pooler that shares
// connections LISTEN succeeds too, and nothing is ever heard.
func (r *Registry) dial(ctx context.Context) (_ *pgx.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, listenLimit)
	defer cancel()
	config := r.central.Pool().Config().ConnConfig
	config.RuntimeParams["application_name"] = "homecore registry"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	proof := "listener " + uuid.NewString()
	if _, err := conn.Exec(ctx, "select pg_catalog.pg_notify($1, $2)", channel, proof); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	for {
		payload, err := wait(ctx, conn, listenLimit)
		switch {
		case err != nil:
			return nil, fmt.Errorf("no notification arrives: is a connection pooler in between? %w", err)
		case payload == proof:
			return conn, nil
		}
	}
}

func wait(ctx context.Context, conn *pgx.Conn, limit time.Duration) (payload string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

// signOfLife asks for a sign of life: a partner that has vanished says nothing, and a standby hears of nothing.
func signOfLife(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, listenLimit)
	defer cancel()
	var standby bool
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return fmt.Errorf("no sign of life: %w", err)
	}
	if standby {
		return errStandby
	}
	return nil
}

// heard forgets what has changed.
func (r *Registry) heard(payload string) {
	first, name, _ := strings.Cut(payload, " ")
	if first == "domain" {
		r.ForgetName(name)
		return
	}
	if id, err := uuid.Parse(first); err == nil {
		r.Forget(Tenant{ID: id, Slug: name})
	}
}
