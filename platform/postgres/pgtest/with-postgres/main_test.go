//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/platform/postgres/pgtest"
)

// commandVariable makes the test binary the command itself.
const commandVariable = "WITH_POSTGRES"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command returns the command, without a cluster of its caller's.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), commandVariable+"=1", pgtest.URLVariable+"=")
	cmd.Stderr = os.Stderr
	return cmd
}

func code(t *testing.T, err error) int {
	t.Helper()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// gone waits until nothing answers at the address, where there was a server.
func gone(t *testing.T, address string) {
	t.Helper()
	if u, err := url.Parse(address); err != nil || u.Port() == "" {
		t.Fatalf("address %q", address)
	}
	limit := time.After(20 * time.Second)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			return
		}
		conn.Close(t.Context())
		select {
		case <-again.C:
		case <-limit:
			t.Fatal("the cluster is still there")
		}
	}
}

func TestWithPostgres(t *testing.T) {
	t.Parallel()

	t.Run("gives the command a cluster and exits with its code", func(t *testing.T) {
		t.Parallel()
		cmd := command(t, "--", "sh", "-c", `cat; echo "$HOMECORE_TEST_DATABASE_URL"; exit 7`)
		cmd.Stdin = strings.NewReader("from stdin\n")
		out, err := cmd.Output()
		if code(t, err) != 7 {
			t.Errorf("exit code %d", code(t, err))
		}
		address, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "from stdin\n")
		if !ok {
			t.Errorf("said %q", out)
		}
		gone(t, address)
	})
	t.Run("starts nothing where there is a cluster", func(t *testing.T) {
		t.Parallel()
		cmd := command(t, "sh", "-c", `echo "$HOMECORE_TEST_DATABASE_URL"`)
		cmd.Env = append(cmd.Env, pgtest.URLVariable+"=postgres://elsewhere/postgres")
		if out, err := cmd.Output(); err != nil || string(out) != "postgres://elsewhere/postgres\n" {
			t.Errorf("said %q, %v", out, err)
		}
	})
	t.Run("forwards signals", func(t *testing.T) {
		t.Parallel()
		cmd := command(t, "--", "sh", "-c", `trap 'echo caught; exit 3' TERM; echo "$HOMECORE_TEST_DATABASE_URL"; while :; do sleep 0.05; done`)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		address := lines.Text()
		if conn, err := pgx.Connect(t.Context(), address); err != nil {
			t.Error(err)
		} else {
			conn.Close(t.Context())
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		lines.Scan()
		if err := cmd.Wait(); code(t, err) != 3 || lines.Text() != "caught" {
			t.Errorf("said %q, exit code %d", lines.Text(), code(t, err))
		}
		gone(t, address)
	})
	t.Run("killed, takes the cluster with it", func(t *testing.T) {
		t.Parallel()
		cmd := command(t, "--", "sh", "-c", `echo "$HOMECORE_TEST_DATABASE_URL"; exec cat`)
		in, err := cmd.StdinPipe() // ends the command inside, which a kill does not reach
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		gone(t, lines.Text())
	})
	t.Run("says how it is used", func(t *testing.T) {
		t.Parallel()
		var said bytes.Buffer
		cmd := command(t)
		cmd.Stderr = &said
		if err := cmd.Run(); code(t, err) != 2 || !strings.Contains(said.String(), "usage") {
			t.Errorf("exit code %d, said %q", code(t, err), said.String())
		}
	})
	t.Run("says that there is no such command", func(t *testing.T) {
		t.Parallel()
		var said bytes.Buffer
		cmd := command(t, "--", "no-such-command")
		cmd.Stderr = &said
		if err := cmd.Run(); code(t, err) != 127 || !strings.Contains(said.String(), "no-such-command") {
			t.Errorf("exit code %d, said %q", code(t, err), said.String())
		}
	})
}
