package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readmeAddress is where the README's tour takes place; the test plays it elsewhere.
const readmeAddress = "localhost:8080"

// TestReadmeTour replays the README's console blocks in one shell: what stands there is what comes.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the tour needs %s", program)
		}
	}
	steps := readmeSteps(t)
	if len(steps) < 15 {
		t.Fatalf("found only %d commands in README.md", len(steps))
	}
	address := readmeStart(t)

	// One shell takes all of it: what a line sets, the next ones use. A mark after each tells the outputs apart.
	const mark = "--- next ---"
	var script strings.Builder
	for _, s := range steps {
		script.WriteString(strings.ReplaceAll(s.command, readmeAddress, address) + "\necho '" + mark + "'\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-s")
	shell.Stdin = strings.NewReader(script.String())
	shell.WaitDelay = time.Second
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("bash: %v", err)
	}
	outputs := strings.Split(strings.ReplaceAll(string(out), address, readmeAddress), mark+"\n")
	for i, s := range steps {
		if i >= len(outputs)-1 {
			t.Fatalf("README.md:%d: the shell did not come this far\n$ %s\n%s", s.line, s.command, outputs[len(outputs)-1])
		}
		if outputs[i] != s.output {
			t.Errorf("README.md:%d\n$ %s\nprints\n%swant\n%s", s.line, s.command, outputs[i], s.output)
		}
	}
}

type readmeStep struct {
	line            int
	command, output string
}

func readmeSteps(t *testing.T) (steps []readmeStep) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case isCommand:
			steps = append(steps, readmeStep{line: i + 1, command: command})
		case len(steps) == 0:
			t.Fatalf("README.md:%d: output before any command", i+1)
		default:
			steps[len(steps)-1].output += line + "\n"
		}
	}
	return steps
}

// readmeStart runs dev on an empty folder and a free port, as a reader does on 8080, and returns its address once it is ready.
func readmeStart(t *testing.T) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "readme-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // root's Postgres runs as another user, who must be able to pass
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "homecore")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dev := exec.Command(binary, "dev", "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"))
	for _, e := range os.Environ() {
		// The README's reader has set nothing; where the machine's Postgres is may be said.
		if !strings.HasPrefix(e, "HOMECORE_") || strings.HasPrefix(e, "HOMECORE_PG_") {
			dev.Env = append(dev.Env, e)
		}
	}
	var log bytes.Buffer
	dev.Stderr = &log
	stdout, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	impatient := time.AfterFunc(time.Minute, func() { _ = dev.Process.Kill() })
	t.Cleanup(func() {
		defer impatient.Stop()
		_ = dev.Process.Signal(syscall.SIGINT)
		_, _ = io.Copy(io.Discard, stdout)
		if err := dev.Wait(); err != nil {
			t.Errorf("dev: %v\n%s", err, log.String())
		}
	})
	core := regexp.MustCompile(`^ *Core API +http://([^/]+)/`)
	card := bufio.NewScanner(stdout)
	for card.Scan() {
		if found := core.FindStringSubmatch(card.Text()); found != nil {
			address = found[1]
		}
		if strings.HasPrefix(card.Text(), "Ctrl-C") { // the card's last line
			return address
		}
	}
	t.Fatal("dev ended before it was ready")
	return ""
}

// TestReadmeLinks holds what the documents point to against what is there.
func TestReadmeLinks(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	checked := 0
	for _, document := range append(documents, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			checked++
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), found[1])); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s points to %s, which is not there", document, found[1])
			}
		}
	}
	if checked < 10 {
		t.Errorf("found only %d links", checked)
	}
}
