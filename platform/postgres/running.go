package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning says that no server runs on the folder.
var ErrNotRunning = errors.New("no PostgreSQL runs on this data folder")

// Running returns the superuser's URL of the server that another process runs on dataDir, or ErrNotRunning.
func Running(dataDir string) (string, error) {
	base, err := filepath.Abs(dataDir)
	if err != nil {
		return "", err
	}
	for _, home := range below(base, "postgres-*") {
		f := &folder{base: base, home: home}
		note := f.note()
		if note.pid == 0 || !f.hosts(note.pid) {
			continue
		}
		password, err := os.ReadFile(f.passwordFile())
		if err != nil {
			return "", fmt.Errorf("read the superuser's password of the PostgreSQL that runs in %s: %w", home, err)
		}
		return address(string(password), note.port), nil
	}
	return "", fmt.Errorf("%s: %w", base, ErrNotRunning)
}

// stopLeftover ends the server that a killed run may have left. We hold the folder's lock, so it is nobody's.
func (f *folder) stopLeftover(ctx context.Context, logger *slog.Logger) error {
	note := f.note()
	pid := note.pid
	if pid == 0 {
		return nil
	}
	if !alive(pid) {
		return nil // PostgreSQL sees to it, and by the note also to sessions that outlived the server
	}
	if !f.hosts(pid) {
		return ignoreMissing(os.Remove(f.pidFile())) // PostgreSQL would take the stranger for a server and refuse to start
	}
	logger.Info("stopping the PostgreSQL that an earlier run left behind", "pid", pid)
	signal := syscall.SIGINT
	harder := time.NewTimer(20 * time.Second)
	defer harder.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for f.hosts(pid) {
		if err := kill(pid, signal); err != nil {
			return fmt.Errorf("stop the PostgreSQL that an earlier run left behind (process %d): %w", pid, err)
		}
		select {
		case <-again.C:
		case <-harder.C:
			signal = syscall.SIGQUIT
		case <-ctx.Done():
			return fmt.Errorf("stop the PostgreSQL that an earlier run left behind (process %d): %w", pid, ctx.Err())
		}
	}
	if strings.HasPrefix(filepath.Base(note.socketDir), socketDirPrefix) {
		_ = os.Remove(note.socketDir) // one of makeSocketDir's, empty now; if not, it does no harm
	}
	return nil
}

// note is what PostgreSQL writes down when it starts; zero where there is none.
type note struct {
	pid, port int
	socketDir string
}

func (f *folder) note() (n note) {
	text, err := os.ReadFile(f.pidFile())
	if err != nil {
		return n
	}
	lines := strings.Split(string(text), "\n") // process, data folder, start time, port, socket folder…
	pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
	n.pid = max(pid, 0) // of a server in single-user mode it is negative
	if len(lines) > 4 {
		n.port, _ = strconv.Atoi(strings.TrimSpace(lines[3]))
		n.socketDir = strings.TrimSpace(lines[4])
	}
	return n
}

// hosts reports whether the process is a server on this folder. The note outlives a kill, and its number goes to strangers,
// who must not be signalled.
func (f *folder) hosts(pid int) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if cwd, err := os.Readlink(filepath.Join(proc, "cwd")); err == nil { // where a server works
		return sameFile(cwd, f.data())
	}
	args, err := os.ReadFile(filepath.Join(proc, "cmdline")) // readable also where cwd is not: root in a container
	if err != nil {
		args, err = exec.Command("ps", "-o", "args=", "-p", strconv.Itoa(pid)).Output() // no /proc: macOS
	}
	return err == nil && bytes.Contains(args, []byte(f.data()))
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
