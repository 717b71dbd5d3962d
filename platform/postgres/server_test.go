//go:build unix

package postgres

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// installed returns the machine's PostgreSQL.
var installed = sync.OnceValues(func() (Binaries, error) {
	return Find(context.Background(), Options{Dir: os.Getenv("HOMECORE_PG_BIN"), Logger: quiet})
})

func config(t *testing.T, dir string) Config {
	t.Helper()
	b, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Binaries: b, DataDir: dir, Logger: quiet, Settings: map[string]string{"shared_buffers": "16MB"}}
}

// tempDir is like t.TempDir, but open to the account that root's server runs as.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// made returns the path of a data folder that was made once, for copying: making one takes most of a test's time.
var made = sync.OnceValues(func() (string, error) {
	b, err := installed()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.TempDir(), "made")
	s, err := Start(context.Background(), Config{Binaries: b, DataDir: dir, Logger: quiet})
	if err != nil {
		return "", err
	}
	return dir, s.Stop(context.Background())
})

// dataDir returns a data folder of the test's own, with an empty cluster in it.
func dataDir(t *testing.T) string {
	t.Helper()
	from, err := made()
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	if out, err := exec.Command("cp", "-Rp", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// eventually waits for a state that another process brings about.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !reached() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("still not so: %s", what)
		}
	}
}

func gone(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	}
}

// TestServer also runs as an unprivileged user, by TestUnprivileged.
func TestServer(t *testing.T) {
	t.Parallel()

	t.Run("makes a data folder, and keeps it, the password and the port", func(t *testing.T) {
		t.Parallel()
		dir := tempDir(t)
		s := start(t, config(t, dir))
		url := s.URL()
		run(t, url, "CREATE TABLE orders AS SELECT 7 AS id")
		if got := text(t, url, "SELECT current_setting('server_encoding') || lower('É') || ('a' < 'B')"); got != "UTF8éfalse" {
			t.Errorf("encoding, lower and order: %s", got)
		}
		if listens := text(t, url, "SELECT current_setting('listen_addresses')"); listens != "127.0.0.1" {
			t.Errorf("listens on %s", listens)
		}
		if info, err := os.Stat(filepath.Join(filepath.Dir(s.DataDir), "password")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the password's file: %v, %v", info.Mode(), err)
		}
		stop(t, s)
		select {
		case <-s.Done():
		default:
			t.Error("stopped, but not done")
		}
		if err := s.Err(); err != nil {
			t.Errorf("stopped, and yet: %v", err)
		}
		if _, err := pgx.Connect(t.Context(), url); err == nil {
			t.Error("stopped, but it answers")
		}
		if again := start(t, config(t, dir)); again.URL() != url {
			t.Errorf("the address was %s and is %s", url, again.URL())
		}
		if id := text(t, url, "SELECT id::text FROM orders"); id != "7" {
			t.Errorf("the table holds %s", id)
		}
	})
	t.Run("lets nobody in without the password", func(t *testing.T) {
		t.Parallel()
		s := start(t, config(t, dataDir(t)))
		for _, host := range []string{"127.0.0.1", s.SocketDir} {
			cfg, err := pgx.ParseConfig(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			cfg.Host, cfg.Password = host, "guessed"
			if conn, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
				conn.Close(t.Context())
				t.Errorf("let in at %s", host)
			}
		}
	})
	t.Run("takes settings", func(t *testing.T) {
		t.Parallel()
		c := config(t, dataDir(t))
		c.Settings = map[string]string{"max_connections": "37"}
		url := start(t, c).URL()
		if got := text(t, url, "SELECT current_setting('max_connections') || '/' || current_setting('max_locks_per_transaction')"); got != "37/512" {
			t.Errorf("settings %s", got)
		}
		if got := text(t, url, "SELECT current_setting('fsync')"); got != "off" {
			t.Errorf("fsync %s without Fsync", got)
		}
	})
	t.Run("runs in a temporary folder that goes with it", func(t *testing.T) {
		t.Parallel()
		s := start(t, config(t, ""))
		dir := filepath.Dir(filepath.Dir(s.DataDir))
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !gone(dir)() {
			t.Errorf("%s is left", dir)
		}
	})
	t.Run("takes a path with odd characters", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(tempDir(t), `a [b], "c" $d 'e`)
		if err := os.Rename(dataDir(t), dir); err != nil {
			t.Fatal(err)
		}
		s := start(t, config(t, dir))
		if url, err := Running(dir); err != nil || url != s.URL() {
			t.Errorf("found %s, %v", url, err)
		}
	})
	t.Run("takes a path longer than a socket's may be", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(tempDir(t), strings.Repeat("long/", 30))
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		s := start(t, config(t, dir))
		text(t, s.URL(), "SELECT 'up'")
		stop(t, s)
		if !gone(s.SocketDir)() {
			t.Errorf("%s is left", s.SocketDir)
		}
	})
	t.Run("takes another port when the last is in use", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		for range 10 {
			s := start(t, config(t, dir))
			stop(t, s)
			l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
			if err != nil {
				continue // somebody else was faster, who may let go of it at any time
			}
			defer l.Close()
			if again := start(t, config(t, dir)); again.Port == s.Port {
				t.Errorf("both listen on %d", s.Port)
			}
			return
		}
		t.Fatal("somebody else takes every port")
	})
	t.Run("says why it does not start", func(t *testing.T) {
		t.Parallel()
		c := config(t, dataDir(t))
		c.Settings = map[string]string{"max_connections": "many"}
		_, err := Start(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections": "many"`) {
			t.Errorf("error %v", err)
		}
		c.Settings = nil
		start(t, c) // what failed holds nothing
	})
	t.Run("gives up when its context ends", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir := tempDir(t)
		if _, err := Start(ctx, config(t, dir)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "postgres-*", "data*")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("refuses a folder in use, naming the process", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		start(t, config(t, dir))
		_, err := Start(t.Context(), config(t, dir))
		if inUse := (*InUseError)(nil); !errors.As(err, &inUse) || inUse.PID != strconv.Itoa(os.Getpid()) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("recovers after the server was killed, which it reports", func(t *testing.T) {
		t.Parallel()
		c := config(t, dataDir(t))
		c.Fsync = true
		s := start(t, c)
		run(t, s.URL(), "CREATE TABLE orders AS SELECT 7 AS id")
		if err := s.process.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "killed") || !strings.Contains(err.Error(), "ready to accept connections") {
			t.Errorf("error %v", err)
		}
		s = start(t, c)
		if id := text(t, s.URL(), "SELECT id::text FROM orders"); id != "7" {
			t.Errorf("the table holds %s", id)
		}
	})
	t.Run("is found by others while it runs", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		if _, err := Running(dir); !errors.Is(err, ErrNotRunning) {
			t.Errorf("before: %v", err)
		}
		s := start(t, config(t, dir))
		if url, err := Running(dir); err != nil || url != s.URL() {
			t.Errorf("found %s, %v; is %s", url, err, s.URL())
		}
		stop(t, s)
		if _, err := Running(dir); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after: %v", err)
		}
	})
	t.Run("leaves a stranger alone who got the process id of a server that was killed", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		stranger := exec.Command("sleep", "60")
		account, err := runAs() // the server's own user: PostgreSQL would take it for a server
		if err != nil {
			t.Fatal(err)
		}
		account.apply(stranger)
		if err := stranger.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stranger.Process.Kill(); stranger.Wait() })
		f := &folder{home: filepath.Join(dir, "postgres-"+strconv.Itoa(config(t, dir).Binaries.Major()))}
		note := strconv.Itoa(stranger.Process.Pid) + "\n" + f.data() + "\n1700000000\n5432\n/tmp\n127.0.0.1\n"
		if err := os.WriteFile(f.pidFile(), []byte(note), 0o644); err != nil {
			t.Fatal(err)
		}
		start(t, config(t, dir))
		if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("the stranger: %v", err)
		}
	})
	t.Run("warns that data of another version stay unused", func(t *testing.T) {
		t.Parallel()
		dir := tempDir(t)
		if err := os.MkdirAll(filepath.Join(dir, "postgres-9", "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c := config(t, dir)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		start(t, c)
		if !strings.Contains(log.String(), "postgres-9") {
			t.Errorf("log %q", log.String())
		}
	})
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the server runs as somebody else for root only")
	}
	closed := filepath.Join(tempDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T, c Config) {
		t.Helper()
		_, err := Start(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "cannot enter "+closed+" on the way") || !strings.Contains(err.Error(), strconv.Quote(closed)) {
			t.Errorf("error %v", err)
		}
	}

	t.Run("names the folder that keeps the server from its data", func(t *testing.T) {
		t.Parallel()
		refused(t, config(t, filepath.Join(closed, "deep", "data")))
	})
	t.Run("names the folder that keeps the server from its programs", func(t *testing.T) {
		t.Parallel()
		c := config(t, tempDir(t))
		c.Binaries.Dir = filepath.Join(closed, "bin")
		if err := os.Mkdir(c.Binaries.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		refused(t, c)
	})
}
