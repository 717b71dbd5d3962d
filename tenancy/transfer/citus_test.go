package transfer_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"garment.id/homecore/migrations"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
	"garment.id/homecore/tenancy/migrate"
)

// wire notes every statement that connections send, read from the protocol: no way to send one goes around it.
type wire struct {
	mu   sync.Mutex
	sent []string
}

func (w *wire) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := w.sent
	w.sent = nil
	return sent
}

// listened is a connection to the server, and what was written to it and is not a whole message yet.
type listened struct {
	net.Conn
	to      *wire
	begun   bool
	pending []byte
}

func (c *listened) Write(p []byte) (int, error) {
	c.pending = append(c.pending, p...)
	for {
		head := 1
		if !c.begun {
			head = 0 // the first message has no type
		}
		if len(c.pending) < head+4 {
			break
		}
		length := head + int(binary.BigEndian.Uint32(c.pending[head:]))
		if len(c.pending) < length {
			break
		}
		message := c.pending[:length]
		c.pending = c.pending[length:]
		if !c.begun {
			c.begun = true
			continue
		}
		text := message[5:]
		switch message[0] {
		case 'P': // Parse: the statement's name, then the statement
			text = text[slices.Index(text, 0)+1:]
			fallthrough
		case 'Q':
			c.to.mu.Lock()
			c.to.sent = append(c.to.sent, string(text[:slices.Index(text, 0)]))
			c.to.mu.Unlock()
		}
	}
	return c.Conn.Write(p)
}

// open is as the other, with what goes to that database noted.
func (w *wire) open(database string) func(ctx context.Context, at string) (*pgxpool.Pool, error) {
	return func(ctx context.Context, at string) (*pgxpool.Pool, error) {
		u, err := url.Parse(at)
		if err != nil || path.Base(u.Path) != database {
			return open(ctx, at)
		}
		c, err := pgxpool.ParseConfig(at)
		if err != nil {
			return nil, err
		}
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &listened{Conn: conn, to: w}, err
		}
		return pgxpool.NewWithConfig(ctx, c)
	}
}

// What Citus refuses, or what would work on the coordinator alone (design/tenancy.md).
var notOnCitus = map[string]*regexp.Regexp{
	"several statements in a string":      regexp.MustCompile(`;`),
	"a block, whose statements it cannot": regexp.MustCompile(`(?i)^\s*do\b`),
	"a role of a tenant's own":            regexp.MustCompile(`(?i)\b(create|drop|alter)\s+role\b`),
	"another role than the login role":    regexp.MustCompile(`(?i)\bset\s+(local\s+|session\s+)?role\b|'role'`),
	"a trigger":                           regexp.MustCompile(`(?i)\bcreate\s+(constraint\s+)?trigger\b`),
}

// quoted is what may hold anything: a text, a name.
var quoted = regexp.MustCompile(`'(?:[^']|'')*'|"(?:[^"]|"")*"`)

func refusedByCitus(statement string) (why string) {
	bare := quoted.ReplaceAllStringFunc(strings.TrimSuffix(strings.TrimSpace(statement), ";"), func(text string) string {
		return strings.ReplaceAll(text, ";", "")
	})
	for what, pattern := range notOnCitus {
		if pattern.MatchString(bare) {
			return what
		}
	}
	return ""
}

func TestOnlyWhatCitusTakesIsSentToIt(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		"begin; create schema a", "do $$ begin end $$", "create role a nologin", "drop role if exists a", "select set_config('role', 'a', true)",
		"create trigger a after insert on b execute function c()",
	} {
		if refusedByCitus(statement) == "" {
			t.Fatalf("%s is not noticed", statement)
		}
	}
	w := newWorld(t, other{name: "sebar", kind: fleet.Citus})
	heard := &wire{}
	u, err := url.Parse(w.urls["sebar"])
	if err != nil {
		t.Fatal(err)
	}
	w.config.Open = heard.open(path.Base(u.Path))
	older := w.config
	older.Set = set[:1]
	before := *w
	before.Porter, before.Fleet = before.process(t, older)
	many := make([]string, 30) // more tables than are dropped at once
	for i := range many {
		many[i] = "create table more_" + string(rune('a'+i/10)) + string(rune('0'+i%10)) + " (id int primary key);"
	}
	w.config.Set = append(slices.Clone(set),
		migrations.Migration{Version: 3, Name: "00003_test_outside", NoTransaction: true,
			Statements: []string{"create index concurrently if not exists words_lang_idx on words (lang);"}},
		migrations.Migration{Version: 4, Name: "00004_test_many", Statements: many})
	w.reload(t)
	sebar, err := before.Cluster("sebar")
	if err != nil {
		t.Fatal(err)
	}
	heard.take()

	id, kept := uuid.Must(uuid.NewV7()), 0
	change := func(a fleet.Action, o fleet.Order) func() error {
		return func() error {
			o.By, o.Reason = "test", "test"
			return w.Change(t.Context(), id, a, o)
		}
	}
	for _, does := range []struct {
		name string
		do   func() error
	}{
		{"is provisioned", func() error {
			w.exec(t, "main", "insert into central.tenants (id, slug, name, status, cluster) values ($1, 'sebar', 'sebar', 'active', 'sebar')", id)
			return before.Build(t.Context(), id)
		}},
		{"warm schemas are made", func() error {
			_, err := before.Make(t.Context(), sebar, nil, "warm", 1, false)
			return err
		}},
		{"is migrated", func() error {
			r, err := migrate.New(w.Fleet).Run(t.Context(), migrate.Options{Workers: 2}, nil)
			if r.Migrated != 2 {
				t.Errorf("%+v", r)
			}
			return err
		}},
		{"is compared with the migrations", func() error {
			_, err := migrate.New(w.Fleet).Drift(t.Context(), "", func(d migrate.Difference) { t.Error(d) })
			return err
		}},
		{"is read only", change(fleet.ReadOnly, fleet.Order{})},
		{"is suspended", change(fleet.Suspend, fleet.Order{})},
		{"is opened", change(fleet.Resume, fleet.Order{})},
		{"is exported and restored", func() error {
			file, _ := w.export(t, "sebar")
			_, err := w.Restore(t.Context(), "sebar", file, quiet)
			return err
		}},
		{"the restore is undone", func() error { return w.Undo(t.Context(), "sebar") }},
		{"and accepted", func() error { return w.Accept(t.Context(), "sebar") }},
		{"leaves", func() error { _, err := w.Move(t.Context(), "sebar", "main", quiet); return err }},
		{"is forgotten there", func() error { return w.Accept(t.Context(), "sebar") }},
		{"comes back", func() error { _, err := w.Move(t.Context(), "sebar", "sebar", quiet); return err }},
		{"is dropped", func() error {
			if err := w.Accept(t.Context(), "sebar"); err != nil {
				return err
			}
			if err := change(fleet.Drop, fleet.Order{})(); err != nil {
				return err
			}
			_, err := w.Purge(t.Context(), nil)
			return err
		}},
	} {
		if err := does.do(); err != nil {
			t.Fatalf("%s: %v", does.name, err)
		}
		sent := heard.take()
		kept += len(sent)
		if len(sent) == 0 {
			t.Errorf("%s: nothing was sent", does.name)
		}
		for _, statement := range sent {
			if why := refusedByCitus(statement); why != "" {
				t.Errorf("%s: sends %s: %s", does.name, why, statement)
			}
		}
	}
	if status := one[string](t, w, "main", "select status from central.tenants where id = $1", id); status != string(tenancy.Dropped) {
		t.Errorf("it is %s", status)
	}
	t.Logf("%d statements", kept)
}
