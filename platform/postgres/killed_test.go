//go:build unix

package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childVariable makes the test binary a program that runs a server on the folder it names and waits to be killed.
const childVariable = "POSTGRES_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(childVariable); ok {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(inTempDir(m.Run))
}

// inTempDir gives the tests a temporary folder to share that goes with all they leave in it: the made data folder, and
// the logs of embedded-postgres. Like /tmp it is everybody's, so that the account of root's server may remove its own.
func inTempDir(run func() int) int {
	dir, err := os.MkdirTemp("", "pg-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.Setenv("TMPDIR", dir)); err != nil {
		panic(err)
	}
	return run()
}

func child(dir string) error {
	b, err := installed()
	if err != nil {
		return err
	}
	s, err := Start(context.Background(), Config{Binaries: b, DataDir: dir, Logger: quiet})
	if err != nil {
		return err
	}
	fmt.Println(s.URL(), s.DataDir, s.SocketDir)
	<-s.Done()
	return s.Err()
}

// parent is a process that runs a server.
type parent struct {
	cmd            *exec.Cmd
	url, socketDir string
	folder         *folder
	pid            int // of the server
}

func spawn(t *testing.T, dir string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, out
}

func startParent(t *testing.T, dir string) *parent {
	t.Helper()
	cmd, out := spawn(t, dir)
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 3 {
		t.Fatalf("the child said %q, %v", line, err)
	}
	p := &parent{cmd: cmd, url: fields[0], socketDir: fields[2], folder: &folder{home: filepath.Dir(fields[1])}}
	if p.pid = p.folder.note().pid; !p.folder.hosts(p.pid) {
		t.Fatalf("process %d hosts nothing", p.pid)
	}
	return p
}

func (p *parent) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
}

func (p *parent) serverGone() bool { return !p.folder.hosts(p.pid) }

// watcher returns the process that guards the server.
func (p *parent) watcher(t *testing.T) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Skip("needs /proc to find the watcher")
	}
	for _, dir := range dirs {
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if strings.HasPrefix(string(command), "/bin/sh\x00-c\x00# guard") && strings.Contains(string(command), p.folder.data()) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	t.Fatal("there is no watcher")
	return 0
}

func TestKilled(t *testing.T) {
	t.Parallel()

	t.Run("a killed process leaves no server, and what it committed", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		p := startParent(t, dir)
		run(t, p.url, "CREATE TABLE orders AS SELECT 7 AS id")
		p.kill(t)
		eventually(t, "the server is gone", p.serverGone)
		s := start(t, config(t, dir))
		if id := text(t, s.URL(), "SELECT id::text FROM orders"); id != "7" {
			t.Errorf("the table holds %s", id)
		}
	})
	t.Run("a process may start while the server of a killed one is still going", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		for range 3 {
			startParent(t, dir).kill(t)
		}
		start(t, config(t, dir))
	})
	t.Run("a server that outlived even its watcher is stopped by the next start", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(tempDir(t), strings.Repeat("long/", 30)) // so that its socket lies elsewhere
		if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.Rename(dataDir(t), dir)); err != nil {
			t.Fatal(err)
		}
		p := startParent(t, dir)
		run(t, p.url, "CREATE TABLE orders AS SELECT 7 AS id")
		if err := syscall.Kill(p.watcher(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.kill(t)
		if got := text(t, p.url, "SELECT 'up'"); got != "up" || p.serverGone() {
			t.Fatal("nothing is left to stop")
		}
		s := start(t, config(t, dir))
		if id := text(t, s.URL(), "SELECT id::text FROM orders"); id != "7" {
			t.Errorf("the table holds %s", id)
		}
		if !p.serverGone() {
			t.Error("both run")
		}
		if !gone(p.socketDir)() {
			t.Errorf("%s is left", p.socketDir)
		}
	})
	t.Run("a killed process leaves no temporary folder", func(t *testing.T) {
		t.Parallel()
		p := startParent(t, "")
		p.kill(t)
		eventually(t, "the server is gone", p.serverGone)
		eventually(t, "the folder is gone", gone(filepath.Dir(p.folder.home)))
	})
	t.Run("a killed process leaves no socket folder elsewhere", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(tempDir(t), strings.Repeat("long/", 30))
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		p := startParent(t, dir)
		p.kill(t)
		eventually(t, "the folder is gone", gone(p.socketDir))
	})
	t.Run("a process killed while it makes the data folder leaves nothing half made", func(t *testing.T) {
		t.Parallel()
		dir := tempDir(t)
		cmd, _ := spawn(t, dir)
		halfMade := func() bool {
			found, _ := filepath.Glob(filepath.Join(dir, "postgres-*", "data.new-*", "base"))
			return len(found) > 0
		}
		eventually(t, "initdb is at work", halfMade)
		cmd.Process.Kill()
		cmd.Wait()
		s := start(t, config(t, dir))
		text(t, s.URL(), "SELECT 'up'")
		if halfMade() {
			t.Error("the half-made folder is left")
		}
	})
}

// TestUnprivileged runs the tests of the server as a normal user as well, for whom much is different.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	account, err := runAs()
	if err != nil {
		t.Fatal(err)
	}
	if account.credential == nil {
		t.Skip("this is a normal user")
	}
	home := tempDir(t)
	if err := account.own(home); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(home, "postgres.test") // go test's own folder is closed to others
	if out, err := exec.Command("cp", os.Args[0], binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tests := range []string{"^TestServer$/(makes_a_data|nobody_in|temporary|longer|in_use)", "^TestKilled$/(leaves_no_server|outlived|temporary)"} {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run="+tests, "-test.v")
		account.apply(cmd)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "    --- PASS") < 3 {
			t.Errorf("as %s: %v\n%s", account.name, err, out)
		}
	}
}
