//go:build unix

package tenancy

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// bouncer runs PgBouncer in transaction mode in front of the world's database, with one connection to the server, and returns
// its port. It ends with the test, or with this process: its shell waits for a pipe that only we hold open.
func (w *world) bouncer(t testing.TB) (port int) {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it, which is not on everybody's PATH
		if _, err := os.Stat(program); err != nil {
			t.Skip("there is no pgbouncer on this machine: apt install pgbouncer (.ci/run does)")
		}
	}
	dir := t.TempDir()
	server, err := url.Parse(w.url)
	must(t, err)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	port = listener.Addr().(*net.TCPAddr).Port
	must(t, listener.Close())

	superuser, _ := server.User.Password()
	users := fmt.Sprintf("%q %q\n", server.User.Username(), superuser)
	for g := range w.groups {
		users += fmt.Sprintf("%q %q\n", w.login(g), worldPassword)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	config := write("pgbouncer.ini", fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = 1
max_client_conn = 200
query_wait_timeout = 60
log_connections = 0
log_disconnections = 0
`, server.Hostname(), server.Port(), port, write("users.txt", users)))

	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", `"$0" "$1" & read -r _; kill $!; wait`, program, config)
	cmd.Dir = "/"
	var log strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &log
	if os.Geteuid() == 0 { // which PgBouncer refuses
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
			must(t, os.Chmod(path, 0o755))
		}
	}
	pipe, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("pgbouncer: %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	until(t, "pgbouncer listens", func() bool {
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return port
}

// behind has a DB connect to the port instead of the server.
func behind(port int) func(*Config) {
	return func(cfg *Config) {
		cluster := &cfg.Clusters[0]
		cluster.Pooler = true
		connect := cluster.Connect
		cluster.Connect = func(group int) (*pgx.ConnConfig, error) {
			config, err := connect(group)
			if err == nil {
				config.Port = uint16(port)
			}
			return config, err
		}
	}
}

func TestLeakL03MultiplexingOfAPooler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, 1)
	port := w.bouncer(t)
	dial := func() *pgx.Conn {
		config, err := pgx.ParseConfig(w.url)
		must(t, err)
		config.Port, config.DefaultQueryExecMode = uint16(port), pgx.QueryExecModeExec
		conn, err := pgx.ConnectConfig(t.Context(), config)
		must(t, err)
		t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	first, second := dial(), dial()
	run(t, first, "set search_path = t_0")
	run(t, second, "set search_path = t_1") // on the same connection to the server
	leaks(t, one(t, first, seeCanary), "t_1")

	db, wire := w.open(t, 3, behind(port))
	for range 3 {
		w.holds(t, db)
	}
	if trips := wire.count(func() { w.holds(t, db) }); trips != 2 {
		t.Errorf("%d round trips for two reads", trips)
	}
	must(t, db.Tx(w.as(t, 1), func(ctx context.Context) error { _, err := canary(ctx, db); return err }))
	if _, err := db.CopyFrom(w.as(t, 0), "books", []string{"id", "title"}, rowsOf(nil, []any{10, "t_0 10"})); err != nil {
		t.Error(err)
	}
	w.untouched(t)
}

// Behind PgBouncer every statement of every tenant goes over the same connection to the server.
func TestDriverNeverShowsAForeignRowBehindPgBouncer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 200, 1)
	port := w.bouncer(t)
	l := &workload{w: w}
	db, wire := w.open(t, 3, behind(port), traced(l))
	l.check(t, db)
	var backends int
	must(t, w.admin.QueryRow(t.Context(), "select count(*) from pg_stat_activity where usename = $1", w.login(0)).Scan(&backends))
	if backends != 1 || wire.conns.Load() < 3 {
		t.Errorf("%d connections of ours share %d to the server", wire.conns.Load(), backends)
	}
}
