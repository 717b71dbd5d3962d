package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// folder is what a server has on disk:
//
//	<DataDir>/postgres.lock        who uses it; locked for as long as they live
//	<DataDir>/postgres-15/data     PostgreSQL's data folder
//	<DataDir>/postgres-15/password of the superuser
//	<DataDir>/postgres-15/port     the last one, so that addresses written down stay valid
//	<DataDir>/postgres-15/server.log
//	<DataDir>/postgres-15/s        its socket, unless the path is too long for one
type folder struct {
	binaries  Binaries
	account   account
	base      string // DataDir
	home      string // <DataDir>/postgres-<major>
	temporary bool   // base goes at the end
	socketDir string
	lock      *os.File
	password  string
}

func (f *folder) data() string         { return filepath.Join(f.home, "data") }
func (f *folder) passwordFile() string { return filepath.Join(f.home, "password") }
func (f *folder) portFile() string     { return filepath.Join(f.home, "port") }
func (f *folder) logFile() string      { return filepath.Join(f.home, "server.log") }
func (f *folder) pidFile() string      { return filepath.Join(f.data(), "postmaster.pid") }

// open makes the folders that are missing, takes the lock and sees that the account can reach everything.
func open(c Config) (_ *folder, err error) {
	f := &folder{binaries: c.Binaries, temporary: c.DataDir == ""}
	if f.account, err = runAs(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.temporary {
		f.base, err = os.MkdirTemp("", "homecore-postgres-")
	} else if f.base, err = filepath.Abs(c.DataDir); err == nil {
		err = os.MkdirAll(f.base, f.account.dirMode())
	}
	if err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if f.temporary {
		if err = f.account.own(f.base); err != nil { // the account removes it when we are gone
			return nil, fmt.Errorf("make the data folder: %w", err)
		}
	}
	if f.lock, err = lockFolder(f.base); err != nil {
		return nil, err
	}
	for _, dir := range []string{f.base, c.Binaries.Dir} {
		if err = f.account.reach(dir); err != nil {
			return nil, err
		}
	}
	f.home = filepath.Join(f.base, fmt.Sprintf("postgres-%d", c.Binaries.Major()))
	if err = f.mkdir(f.home); err != nil {
		return nil, err
	}
	if others := below(f.base, "postgres-*/data"); len(others) > 0 && !f.initialised() {
		c.Logger.Warn("the data of another major version of PostgreSQL lies here and stays unused: this server starts empty",
			"version", c.Binaries.Version, "unused", others)
	}
	return f, f.makeSocketDir()
}

func (f *folder) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return f.account.own(dir)
}

// socketPathLimit is what fits in a socket's address: 108 bytes on Linux, 104 on macOS, with the closing zero.
const socketPathLimit = 103

const socketDirPrefix = "homecore-pg-"

func (f *folder) makeSocketDir() error {
	f.socketDir = filepath.Join(f.home, "s")
	if fits(f.socketDir) {
		return f.mkdir(f.socketDir)
	}
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		if !fits(filepath.Join(parent, socketDirPrefix+"0123456789")) {
			continue
		}
		dir, err := os.MkdirTemp(parent, socketDirPrefix)
		if err != nil {
			return fmt.Errorf("make a folder for the server's socket: %w", err)
		}
		f.socketDir = dir
		return errors.Join(f.account.own(dir), f.account.reach(dir))
	}
	return fmt.Errorf("the paths of %s and of %s are too long for a socket", f.base, os.TempDir())
}

func fits(socketDir string) bool {
	return len(filepath.Join(socketDir, ".s.PGSQL.65535.lock")) <= socketPathLimit
}

// guard says what goes with the server when this process is killed.
func (f *folder) guard() guard {
	g := guard{signal: "INT"}
	if f.temporary {
		g = guard{signal: "QUIT", remove: [2]string{f.base}} // nothing is worth a shutdown in good order
	}
	if !f.ownsSocketDir() {
		g.remove[1] = f.socketDir
	}
	return g
}

func (f *folder) ownsSocketDir() bool { return f.socketDir == filepath.Join(f.home, "s") }

// close gives up the folder, and removes what was temporary.
func (f *folder) close() {
	if f.socketDir != "" && !f.ownsSocketDir() {
		os.RemoveAll(f.socketDir)
	}
	if f.temporary && f.base != "" {
		os.RemoveAll(f.base)
	}
	if f.lock != nil {
		f.lock.Close()
	}
}

// InUseError says that another process runs a server on the folder.
type InUseError struct {
	Dir string
	PID string // of the other process; "" if unknown
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("the data folder %s is in use by process %s: stop that one, or choose another folder", e.Dir, cmp.Or(e.PID, "(unknown)"))
}

func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "postgres.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	got, err := lock(file)
	if err == nil && !got {
		pid, _ := io.ReadAll(io.LimitReader(file, 20))
		err = &InUseError{dir, strings.TrimSpace(string(pid))}
	}
	if err == nil {
		err = errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// choosePort returns wanted, or else the last port if it is free, or else a free one.
func (f *folder) choosePort(wanted int) (int, error) {
	if wanted != 0 {
		return wanted, nil
	}
	if last, err := os.ReadFile(f.portFile()); err == nil {
		if l, err := net.Listen("tcp4", "127.0.0.1:"+strings.TrimSpace(string(last))); err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port, nil
		}
	}
	return freePort()
}

func (f *folder) rememberPort(port int) error {
	return os.WriteFile(f.portFile(), []byte(strconv.Itoa(port)+"\n"), 0o600)
}

// createLog starts a new log, keeping the one before.
func (f *folder) createLog() (*os.File, error) {
	if err := os.Rename(f.logFile(), f.logFile()+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(f.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastWords returns the end of the log, for error messages.
func (f *folder) lastWords() string {
	text, err := os.ReadFile(f.logFile())
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\nthe server's log ends with:\n\t" + strings.Join(lines[max(0, len(lines)-10):], "\n\t")
}
