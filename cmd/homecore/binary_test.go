package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app"
)

// These tests run the binary as people do: it is built once, and every process has a data folder and a port of its own.

func TestMain(m *testing.M) { os.Exit(inTempDir(m.Run)) }

// inTempDir gives the tests a temporary folder to share that goes with all they leave in it. Like /tmp it is everybody's:
// root's server runs as another user, and so does the binary in one test.
func inTempDir(run func() int) int {
	dir, err := os.MkdirTemp("", "homecore-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.Setenv("TMPDIR", dir)); err != nil {
		panic(err)
	}
	return run()
}

// binary is a variable of the package since tests, which are functions without a common owner, share one.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.TempDir(), "homecore")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binary: %w\n%s", err, out)
	}
	return path, nil
})

// folder is like t.TempDir, but open to the account that root's server runs as.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	return dir
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a run of the binary.
type process struct {
	*exec.Cmd
	out, err output
	ended    chan struct{}
}

// start runs the binary with env and nothing else of HomeCore's in its environment, but where to find Postgres.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return startAs(t, nil, env, args...)
}

func startAs(t *testing.T, user *syscall.Credential, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.Dir, p.Stdout, p.Stderr = "/", &p.out, &p.err
	p.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, app.Prefix) || strings.HasPrefix(e, app.Prefix+"PG_") {
			p.Env = append(p.Env, e)
		}
	}
	p.Env = append(p.Env, env...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("homecore %s\n%s%s", strings.Join(args, " "), &p.out, &p.err)
		}
	})
	return p
}

// finish runs the binary to its end.
func finish(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return start(t, env, args...).end(t)
}

// end waits until the process has ended.
func (p *process) end(t *testing.T) *process {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("still running: homecore %s", strings.Join(p.Args[1:], " "))
	}
	return p
}

// stop asks the process to end and waits until it has, well.
func (p *process) stop(t *testing.T, how syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(how); err != nil {
		t.Fatal(err)
	}
	p.end(t).exits(t, 0)
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// exits fails the test unless the process has ended with this code, and has said all of this.
func (p *process) exits(t *testing.T, code int, saying ...string) *process {
	t.Helper()
	if got := p.ProcessState.ExitCode(); got != code {
		t.Fatalf("homecore %s: exit %d, want %d\n%s%s", strings.Join(p.Args[1:], " "), got, code, &p.out, &p.err)
	}
	for _, text := range saying {
		if !strings.Contains(p.out.String()+p.err.String(), text) {
			t.Fatalf("homecore %s does not say %q\n%s%s", strings.Join(p.Args[1:], " "), text, &p.out, &p.err)
		}
	}
	return p
}

// patience is long: the machine may be busy.
const patience = time.Minute

// until waits for a state that comes by itself.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !reached(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// dev is a running homecore dev.
type dev struct {
	*process
	dir     string
	card    map[string]string // by label
	base    string            // host and port of the Core API
	took    time.Duration     // until /ready said so
	servers []int             // process ids of Postgres
}

// startDev starts dev and waits until it says that it is ready. Its port is a free one unless args say otherwise.
func startDev(t *testing.T, dir string, args ...string) *dev {
	t.Helper()
	return startDevAs(t, nil, nil, dir, args...)
}

func startDevAs(t *testing.T, user *syscall.Credential, env []string, dir string, args ...string) *dev {
	t.Helper()
	args = append([]string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0"}, args...)
	begun := time.Now()
	d := &dev{process: startAs(t, user, env, args...), dir: dir, card: map[string]string{}}
	until(t, "the start-up card", func() bool {
		if d.hasEnded() {
			t.Fatalf("homecore dev has ended\n%s%s", &d.out, &d.err)
		}
		return strings.Contains(d.out.String(), "Ctrl-C stops it")
	})
	d.took = time.Since(begun)
	for line := range strings.Lines(d.out.String()) {
		if label, text, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			d.card[label] = strings.TrimSpace(text)
		}
	}
	origin, ok := strings.CutPrefix(strings.TrimSuffix(d.card["Core API"], "/api/v1"), "http://localhost:")
	if !ok {
		t.Fatalf("the Core API is at %q", d.card["Core API"])
	}
	d.base = "localhost:" + origin
	d.servers = servers(t, dir)
	if len(d.servers) != 1 {
		t.Fatalf("%d servers run on %s", len(d.servers), dir)
	}
	return d
}

// servers returns the Postgres servers that run on a data folder, by what they left there and by the system's list.
func servers(t *testing.T, dir string) (pids []int) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "postgres-*", "data", "postmaster.pid"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		line, _, _ := strings.Cut(string(text), "\n")
		if pid, err := strconv.Atoi(line); err == nil && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// leavesNoServer waits until no Postgres of the folder runs any more: neither the servers nor what watches over them.
func (d *dev) leavesNoServer(t *testing.T) {
	t.Helper()
	until(t, "Postgres ends", func() bool {
		for _, pid := range append(servers(t, d.dir), d.servers...) {
			if alive(pid) {
				return false
			}
		}
		out, err := exec.Command("ps", "-A", "-ww", "-o", "args").Output()
		return err != nil || !strings.Contains(string(out), d.dir+"/postgres-")
	})
}

// ready reports whether GET /ready says 200.
func ready(t *testing.T, base string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := caller{base: base}.try(ctx, http.MethodGet, "//ready", nil)
	return err == nil && a.Status == http.StatusOK
}

// superURL is what the card says to give to psql.
func (d *dev) superURL(t *testing.T) string {
	t.Helper()
	address, ok := strings.CutPrefix(d.card["psql"], "psql '")
	if !ok {
		t.Fatalf("psql: %q", d.card["psql"])
	}
	return strings.TrimSuffix(address, "'")
}

func (d *dev) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := connect(t, d.superURL(t)).QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
