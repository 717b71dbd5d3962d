package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what server to run.
type Config struct {
	Binaries Binaries
	DataDir  string            // holds the server's folder, postgres-<major>; empty: a temporary folder, removed at the end
	Port     int               // on loopback; 0: the port of last time if it is free, else a free one
	Fsync    bool              // false: fast, but a crash may cost all data, as tests can afford
	Settings map[string]string // settings of PostgreSQL, over those chosen here
	Logger   *slog.Logger      // by default slog.Default()
}

// Server is a running server that ends with this process, however this process ends.
type Server struct {
	Binaries  Binaries
	Port      int    // on 127.0.0.1
	SocketDir string // for psql -h
	DataDir   string // of PostgreSQL itself, with postgresql.conf
	LogFile   string
	User      string // the account it runs as; "" for that of this process

	folder   *folder
	process  *guarded
	stopping atomic.Bool
	stopped  chan struct{}
	err      error // after stopped
}

// Superuser is the role that URL connects as.
const Superuser = "postgres"

// patience is the longest that a start may take; recovery after a crash takes its time.
const patience = 2 * time.Minute

// Start runs a server and returns once it accepts connections. On a new folder it makes the data folder first; one left
// by a killed run it recovers, stopping that run's server if it still lives. A folder in use by another process is refused.
func Start(ctx context.Context, c Config) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	f, err := open(c)
	if err != nil {
		return nil, err
	}
	s, err := f.start(ctx, c)
	if err != nil {
		f.close()
		return nil, err
	}
	go s.wait()
	return s, nil
}

func (f *folder) start(ctx context.Context, c Config) (*Server, error) {
	if err := f.stopLeftover(ctx, c.Logger); err != nil {
		return nil, err
	}
	if err := f.initialise(ctx, c); err != nil {
		return nil, err
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for attempt := 1; ; attempt++ {
		port, err := f.choosePort(c.Port)
		if err != nil {
			return nil, err
		}
		s, err := f.launch(ctx, c, port)
		if err == nil {
			return s, nil
		}
		// Between choosing a free port and listening on it, somebody else may take it.
		portTaken := c.Port == 0 && strings.Contains(err.Error(), "could not create any TCP/IP sockets")
		// The sessions of a server that was killed take a moment to notice.
		orphans := strings.Contains(err.Error(), "pre-existing shared memory block")
		if attempt == 300 || !portTaken && !orphans {
			return nil, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (f *folder) launch(ctx context.Context, c Config, port int) (*Server, error) {
	if err := f.rememberPort(port); err != nil {
		return nil, err
	}
	log, err := f.createLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := []string{f.binaries.program("postgres"), "-D", f.data()}
	settings := f.settings(c, port)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		command = append(command, "-c", name+"="+settings[name])
	}
	p, err := f.guard().start(f.account, log, command...)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Binaries: f.binaries, Port: port, SocketDir: f.socketDir, DataDir: f.data(), LogFile: f.logFile(), User: f.account.name,
		folder: f, process: p, stopped: make(chan struct{}),
	}
	if err := s.ready(ctx); err != nil {
		s.halt(ctx)
		return nil, fmt.Errorf("start PostgreSQL %s: %w%s", f.binaries.Version, err, f.lastWords())
	}
	return s, nil
}

// settings are given on the command line: the data folder's own files stay as initdb wrote them.
func (f *folder) settings(c Config, port int) map[string]string {
	s := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"port":                      strconv.Itoa(port),
		"unix_socket_directories":   `"` + strings.ReplaceAll(f.socketDir, `"`, `""`) + `"`,
		"unix_socket_permissions":   "0700",
		"max_connections":           "200",
		"max_locks_per_transaction": "512", // a transaction over many tenants' schemas locks many tables
		"timezone":                  "UTC",
		"log_timezone":              "UTC",
		"log_line_prefix":           "%m [%p] %q%u@%d ",
		"logging_collector":         "off",
	}
	if !c.Fsync {
		s["fsync"], s["synchronous_commit"], s["full_page_writes"] = "off", "off", "off"
	}
	maps.Copy(s, c.Settings)
	return s
}

// ready waits until the server accepts connections. It asks on the socket, which nobody else's server can be behind.
func (s *Server) ready(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(s.URL())
	if err != nil {
		return err
	}
	cfg.Host = s.SocketDir
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			return conn.Close(ctx)
		}
		if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code != "57P03" { // cannot_connect_now
			return err
		}
		select {
		case <-again.C:
		case <-s.process.done:
			return fmt.Errorf("it ended at once: %w", s.process.err)
		case <-ctx.Done():
			return fmt.Errorf("it does not accept connections: %w: %w", ctx.Err(), err)
		}
	}
}

// URL returns the superuser's address of the database postgres, with its password.
func (s *Server) URL() string { return address(s.folder.password, s.Port) }

func address(password string, port int) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(Superuser, password), Host: "127.0.0.1:" + strconv.Itoa(port),
		Path: "/postgres", RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Done is closed when the server has ended, by Stop or on its own.
func (s *Server) Done() <-chan struct{} { return s.stopped }

// Err returns, once Done, why a server ended that Stop did not stop, with the end of its log; else nil.
func (s *Server) Err() error {
	<-s.stopped
	return s.err
}

func (s *Server) wait() {
	<-s.process.done
	if !s.stopping.Load() {
		s.err = fmt.Errorf("PostgreSQL ended on its own: %w%s", cmp.Or(s.process.err, errExit0), s.folder.lastWords())
	}
	s.folder.close()
	close(s.stopped)
}

// errExit0 stands for the end that somebody else asked for, with pg_ctl say.
var errExit0 = errors.New("exit status 0")

// Stop ends all connections and the server, and returns once it has ended. It lets it write its data out until ctx ends, or
// half a minute has passed, and then is abrupt, which costs nothing but a recovery at the next start. A server in a
// temporary folder is stopped abruptly at once. A second call does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	err := s.halt(ctx)
	<-s.stopped
	return err
}

func (s *Server) halt(ctx context.Context) error {
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} // fast, immediate, and the kernel's
	if s.folder.temporary {
		signals = signals[1:]
	}
	for _, signal := range signals {
		if err := s.process.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop PostgreSQL: %w", err)
		}
		limit := time.NewTimer(30 * time.Second)
		select {
		case <-s.process.done:
			limit.Stop()
			return nil
		case <-limit.C:
		case <-ctx.Done():
			limit.Stop()
			ctx = context.WithoutCancel(ctx) // the abrupt ways get their full time
		}
	}
	return errors.New("stop PostgreSQL: it does not end")
}
