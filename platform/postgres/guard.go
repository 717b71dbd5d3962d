package postgres

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
)

// guardScript becomes the command it is given, after leaving a watcher behind that stops it once our end of a pipe closes.
// The kernel closes that end however we end, also on kill -9, and on every Unix; Linux's Pdeathsig instead watches one
// thread of ours, which the Go runtime may end at any time (golang.org/issue/27505).
//
//go:embed guard.sh
var guardScript string

// guarded is a child process that does not outlive us.
type guarded struct {
	cmd  *exec.Cmd
	pipe *os.File      // closing it without a word has the watcher stop the process
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; after done
}

// guard describes how a process is stopped when we are gone.
type guard struct {
	signal string    // INT, QUIT…
	remove [2]string // folders to remove afterwards; "" for none
}

// start runs the command as the account, with its output in log.
func (g guard) start(as account, log *os.File, command ...string) (*guarded, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	args := append([]string{"-c", guardScript, "guard", g.signal, g.remove[0], g.remove[1]}, command...)
	p := &guarded{cmd: exec.Command("/bin/sh", args...), pipe: ours, done: make(chan struct{})}
	p.cmd.Dir = "/" // ours may be closed to the account
	p.cmd.Env = environment()
	p.cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	p.cmd.Stdout, p.cmd.Stderr = log, log
	as.apply(p.cmd)
	if err := p.cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	go p.wait()
	return p, nil
}

func (p *guarded) wait() {
	p.err = p.cmd.Wait()
	p.pipe.WriteString("\n") // stands the watcher down, before it could signal a stranger who got the same process id
	p.pipe.Close()
	close(p.done)
}

// environment returns what a server needs of ours: not our secrets, and none of the variables that bend libpq or messages.
func environment() []string {
	env := []string{"LC_ALL=C"} // we read the messages
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
