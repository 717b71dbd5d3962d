package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// wire stands between the app and Postgres and notes which statements are sent, in whatever way: the protocol is followed from the
// client's side (PostgreSQL's "Message Formats"), so that nothing that goes to the server is missed. What is sent on a connection
// that listens is not noted: it is there for the process, by the clock, and serves no request.
type wire struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	count map[string]int
}

func newWire(ctx context.Context, server string) (*wire, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{listener: l, server: server, count: map[string]int{}}
	go w.serve(ctx)
	return w, nil
}

func (w *wire) serve(ctx context.Context) {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(ctx, "tcp", w.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
		}()
		go func() {
			_ = w.follow(client, server)
			_ = server.Close()
		}()
	}
}

const sslRequest = 80877103

// follow passes on what the client sends, and reads it.
func (w *wire) follow(client io.Reader, server io.Writer) error {
	for { // the first messages have no type
		head := make([]byte, 8)
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		rest := make([]byte, binary.BigEndian.Uint32(head)-8)
		if _, err := io.ReadFull(client, rest); err != nil {
			return err
		}
		if _, err := server.Write(append(head, rest...)); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(head[4:]) != sslRequest {
			break
		}
	}
	named, bound, listens := map[string]string{}, "", false
	note := func(statement string) {
		if listens = listens || listen.MatchString(statement); !listens {
			w.note(statement)
		}
	}
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return err
		}
		switch head[0] {
		case 'P':
			name, rest := text(body)
			named[name], _ = text(rest)
		case 'B':
			_, rest := text(body) // the portal
			name, _ := text(rest)
			bound = named[name]
		case 'E':
			note(bound)
		case 'Q':
			statement, _ := text(body)
			note(statement)
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return err
		}
	}
}

func text(b []byte) (string, []byte) {
	end := bytes.IndexByte(b, 0)
	return string(b[:end]), b[end+1:]
}

func (w *wire) note(statement string) {
	w.mu.Lock()
	w.count[statement]++
	w.mu.Unlock()
}

func (w *wire) reset() {
	w.mu.Lock()
	clear(w.count)
	w.mu.Unlock()
}

// statement is one that an operation sends.
type statement struct {
	Text string  `json:"text"`
	Each float64 `json:"each"` // times an operation
}

var (
	blanks      = regexp.MustCompile(`\s+`)
	listen      = regexp.MustCompile(`(?i)^\s*listen\b`)
	transaction = regexp.MustCompile(`(?i)^\s*(begin|commit|rollback|savepoint|release|--)|^\s*;?\s*$`)
)

// statements returns what was sent since reset in n operations, the most frequent first, without what frames a transaction.
func (w *wire) statements(n int) (all []statement, each float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s, times := range w.count {
		if transaction.MatchString(s) {
			continue
		}
		short := strings.ReplaceAll(blanks.ReplaceAllString(strings.TrimSpace(s), " "), "`", "'")
		if r := []rune(short); len(r) > 120 {
			short = string(r[:120]) + "…"
		}
		all = append(all, statement{Text: short, Each: float64(times) / float64(n)})
		each += float64(times) / float64(n)
	}
	slices.SortFunc(all, func(a, b statement) int {
		if a.Each != b.Each {
			return int((b.Each - a.Each) * 1000)
		}
		return strings.Compare(a.Text, b.Text)
	})
	return all, each
}
