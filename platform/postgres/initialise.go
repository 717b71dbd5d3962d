package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func (f *folder) initialised() bool {
	_, err := os.Stat(filepath.Join(f.data(), "PG_VERSION"))
	return err == nil
}

// initialise makes the data folder if there is none. A kill on the way leaves nothing that passes for one.
func (f *folder) initialise(ctx context.Context, c Config) error {
	if f.initialised() {
		if err := f.account.ownAll(f.data()); err != nil {
			return err
		}
		password, err := os.ReadFile(f.passwordFile())
		if err != nil {
			return fmt.Errorf("read the superuser's password, without which the data in %s stays closed: %w", f.data(), err)
		}
		f.password = string(password)
		return nil
	}
	for _, dir := range below(f.home, "data.new-*") {
		if err := removeAbandoned(ctx, dir); err != nil {
			return fmt.Errorf("remove what an interrupted start left: %w", err)
		}
	}
	f.password = rand.Text()
	if err := os.WriteFile(f.passwordFile(), []byte(f.password), 0o600); err != nil {
		return fmt.Errorf("keep the superuser's password: %w", err)
	}
	if err := f.account.own(f.passwordFile()); err != nil {
		return err
	}
	var made string
	var err error
	for _, locale := range locales {
		if made, err = f.initdb(ctx, c, locale); err == nil {
			return os.Rename(made, f.data())
		}
		if !strings.Contains(err.Error(), "invalid locale") {
			break
		}
	}
	return err
}

// below returns the entries of dir that match the pattern. Unlike filepath.Glob it takes dir as it is.
func below(dir, pattern string) []string {
	names, _ := fs.Glob(os.DirFS(dir), pattern) // fails on a malformed pattern only
	for i, name := range names {
		names[i] = filepath.Join(dir, name)
	}
	return names
}

// locales are what to try in order, since systems differ in what they have: the characters are those of Unicode, and
// the order is that of bytes, the same everywhere.
var locales = [][]string{{"--locale=C.UTF-8"}, {"--locale=C", "--lc-ctype=en_US.UTF-8"}, {"--locale=C"}}

// initdb makes a data folder under a name that is not yet the final one, and returns it.
func (f *folder) initdb(ctx context.Context, c Config, locale []string) (string, error) {
	log, err := f.createLog()
	if err != nil {
		return "", err
	}
	defer log.Close()
	made, err := os.MkdirTemp(f.home, "data.new-")
	if err != nil {
		return "", err
	}
	if err := f.account.own(made); err != nil {
		return "", err
	}
	command := append([]string{
		f.binaries.program("initdb"), "-D", made, "--username=" + Superuser, "--pwfile=" + f.passwordFile(),
		"--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions",
	}, locale...)
	if !c.Fsync {
		command = append(command, "--no-sync")
	}
	p, err := f.guard().start(f.account, log, command...)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
		err = p.err
	case <-ctx.Done():
		p.cmd.Process.Kill()
		<-p.done
		err = ctx.Err()
	}
	if err != nil {
		os.RemoveAll(made)
		return "", fmt.Errorf("make the data folder with initdb: %w%s", err, f.lastWords())
	}
	return made, nil
}

// removeAbandoned removes a folder that an orphaned initdb, about to be ended by its guard, may still be writing to.
func removeAbandoned(ctx context.Context, dir string) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := os.RemoveAll(dir)
		if !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}
