package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// act does the measured thing once.
type act func(ctx context.Context) error

// way is one thing that is measured.
type way struct {
	name string
	new  func(ctx context.Context, client int) (do act, done func(), err error) // one for each client

	took  []time.Duration
	spent time.Duration // in all rounds
}

// run has every client do it without a pause for that long.
func (v *way) run(ctx context.Context, length time.Duration) error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
		acts [clients]act
	)
	for i := range acts {
		do, done, err := v.new(ctx, i)
		if err != nil {
			return err
		}
		defer done()
		acts[i] = do
	}
	begun := time.Now()
	for _, do := range acts {
		wait.Go(func() {
			took, err := repeat(ctx, do, begun.Add(length))
			mu.Lock()
			defer mu.Unlock()
			v.took, errs = append(v.took, took...), append(errs, err)
		})
	}
	wait.Wait()
	v.spent += time.Since(begun)
	return errors.Join(errs...)
}

func repeat(ctx context.Context, do act, until time.Time) (took []time.Duration, err error) {
	for {
		begun := time.Now()
		if begun.After(until) {
			return took, nil
		}
		if err := do(ctx); err != nil {
			return took, err
		}
		took = append(took, time.Since(begun))
	}
}

func (v *way) reset() { v.took, v.spent = nil, 0 }

func (v *way) rate() float64 { return float64(len(v.took)) / v.spent.Seconds() }

// percentile returns the time, in milliseconds, within which p of a hundred were done.
func (v *way) percentile(p int) float64 {
	slices.Sort(v.took)
	return float64(v.took[len(v.took)*p/100].Microseconds()) / 1000
}

// line is a connection that is kept alive. It writes requests itself: what net/http's client costs is no part of serving.
type line struct {
	conn net.Conn
	in   *bufio.Reader
}

func (w *world) dial(ctx context.Context) (*line, func(), error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", w.server.Listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	return &line{conn: conn, in: bufio.NewReader(conn)}, func() { _ = conn.Close() }, nil
}

func request(method, path, token string, body any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /api/v1%s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\nUser-Agent: bench\r\n", method, path, base)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	if body != nil {
		content, _ := json.Marshal(body) //nolint:errchkjson // strings
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
	} else {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// ask sends a request and returns the answer's body.
func (l *line) ask(request []byte) ([]byte, error) {
	if _, err := l.conn.Write(request); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s: %s", answer.Status, text)
	}
	return text, err
}

// hash is argon2id and nothing else.
func (w *world) hash(context.Context, int) (act, func(), error) {
	return func(ctx context.Context) error {
		ok, _, err := w.passwords.Verify(ctx, w.stored, password)
		if err == nil && !ok {
			err = errors.New("the password does not fit")
		}
		return err
	}, func() {}, nil
}

func (w *world) login(ctx context.Context, client int) (act, func(), error) {
	l, done, err := w.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	r := request(http.MethodPost, "/auth/login", "", map[string]any{"email": email(client), "password": password})
	return func(context.Context) error { _, err := l.ask(r); return err }, done, nil
}

func (w *world) refresh(ctx context.Context, client int) (act, func(), error) {
	l, done, err := w.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(context.Context) error { // the new token is the next one's
		text, err := l.ask(request(http.MethodPost, "/auth/refresh", "", map[string]any{"refresh_token": w.refreshTokens[client]}))
		if err != nil {
			return err
		}
		var got struct{ Data tokens }
		err = json.Unmarshal(text, &got)
		w.refreshTokens[client] = got.Data.RefreshToken
		return err
	}, done, nil
}

func (w *world) me(ctx context.Context, client int) (act, func(), error) {
	l, done, err := w.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	r := request(http.MethodGet, "/auth/me", w.accessTokens[client], nil)
	return func(context.Context) error { _, err := l.ask(r); return err }, done, nil
}
