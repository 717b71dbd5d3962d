//go:build unix

package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user a server runs as.
type account struct {
	name       string
	credential *syscall.Credential // nil: ourselves
}

// runAs returns who runs the server: ourselves, or for root, whom PostgreSQL refuses, the user postgres or else nobody.
func runAs() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("read the ids of user %s: %w", name, err)
		}
		return account{name, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// apply has cmd run as the account, in a session of its own: Ctrl-C in the terminal is for us, who stop it in good order.
func (a account) apply(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: a.credential}
}

// own gives the account the file or folder at path.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Lchown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// ownAll gives the account the folder and all below, unless it has it: a run as another user may have made it.
func (a account) ownAll(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || a.credential == nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == a.credential.Uid {
		return nil
	}
	var all []string
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(all) { // the folder itself last: it stands for all
		if err := a.own(path); err != nil {
			return err
		}
	}
	return nil
}

// dirMode is the mode of the folder above the server's: the account must be able to pass through it.
func (a account) dirMode() fs.FileMode {
	if a.credential == nil {
		return 0o700
	}
	return 0o711
}

// reach refuses a folder that the account cannot enter, naming the one on the way that stops it.
func (a account) reach(dir string) error {
	if a.credential == nil {
		return nil // our own: what uses it will say
	}
	var steps []string
	for at := dir; ; at = filepath.Dir(at) {
		steps = append(steps, at)
		if at == filepath.Dir(at) {
			break
		}
	}
	slices.Reverse(steps)
	// Asked rather than computed from mode bits: there are also access lists and mount options.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `for d; do cd "$d" 2>/dev/null || { printf %s "$d"; exit 1; }; done`, "reach"}, steps...)...)
	cmd.Dir = "/"
	a.apply(cmd)
	out, err := cmd.Output()
	if err == nil {
		return nil
	}
	closed := string(out)
	if closed == "" {
		return fmt.Errorf("ask whether user %s can reach %s: %w", a.name, dir, err)
	}
	way := ""
	if closed != dir {
		way = " on the way to " + dir
	}
	return fmt.Errorf("PostgreSQL does not run as root but as user %s, who cannot enter %s%s: "+
		"choose a folder elsewhere (below /var/lib or /tmp, say), run as a normal user, or open the folder (chmod o+x %q)",
		a.name, closed, way, closed)
}

// lock takes the file's lock for as long as this process lives, or reports false where another holds it.
func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// kill signals a process; one that has ended is no error.
func kill(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// alive reports whether there is such a process that we may signal.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
