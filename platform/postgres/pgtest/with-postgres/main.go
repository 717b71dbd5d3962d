// Command with-postgres runs a command beside a throwaway PostgreSQL cluster, which all its test processes then share:
//
//	go run ./platform/postgres/pgtest/with-postgres -- go test ./...
//
// It exits with the command's code (of which go run makes a 1). Where HOMECORE_TEST_DATABASE_URL is set already, it starts nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"garment.id/homecore/platform/postgres/pgtest"
)

func main() {
	command := os.Args[1:]
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "usage: with-postgres -- command [argument…]")
		os.Exit(2)
	}
	code, err := run(command)
	if err != nil {
		fmt.Fprintln(os.Stderr, "with-postgres:", err)
	}
	os.Exit(code)
}

// run returns the command's exit code.
func run(command []string) (int, error) {
	signals := make(chan os.Signal, 8) // before anything starts, so that no signal is lost
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	env := os.Environ()
	if os.Getenv(pgtest.URLVariable) == "" {
		server, err := pgtest.Start(context.Background())
		if err != nil {
			return 1, err
		}
		defer server.Stop(context.Background())
		env = append(env, pgtest.URLVariable+"="+server.URL())
	}
	child := exec.Command(command[0], command[1:]...)
	child.Env = env
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return 127, err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = child.Process.Signal(s) // fails only where it has just ended
		case err := <-ended:
			return exitCode(child.ProcessState), onlyUnexpected(err)
		}
	}
}

// exitCode is that of a shell: 128 and the signal's number for a process that a signal ended.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// onlyUnexpected drops the error that merely repeats the exit code.
func onlyUnexpected(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}
