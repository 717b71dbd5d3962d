// Package postgres finds, downloads and runs a PostgreSQL server for development and for tests.
//
// A production server is not its business: that one has an address, and somebody who looks after it.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest major version of PostgreSQL that Find accepts.
const MinMajor = 14

// Options says where Find looks and where a download comes from. The zero value is fine.
type Options struct {
	Dir         string       // the folder of initdb and postgres; if set, nothing else is tried
	CacheDir    string       // where downloaded binaries are kept; by default homecore in the user's cache folder (root: /var/cache)
	DownloadURL string       // a Maven repository; by default Maven Central
	Offline     bool         // refuses instead of downloading
	Logger      *slog.Logger // told before a download; by default slog.Default()
}

// Binaries are the programs of a PostgreSQL server.
type Binaries struct {
	Dir     string // the folder of initdb, pg_ctl and postgres
	Version string // "15.14"
	Source  string // where it was found, for people: "PATH", "HOMECORE_PG_BIN", "Debian packages", "downloaded"…
}

// Major returns the major version, which decides what data folders the server can open.
func (b Binaries) Major() int {
	major, _, _ := strings.Cut(b.Version, ".")
	n, _ := strconv.Atoi(major) // Version comes from inspect, which has matched digits
	return n
}

func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }

// Psql returns the path of psql, beside the server (a download has none there) or on PATH, or else "".
func (b Binaries) Psql() string {
	if path := b.program("psql"); executable(path) {
		return path
	}
	path, _ := exec.LookPath("psql")
	return path
}

// Find returns a server's programs, version 14 or newer: those in o.Dir; else the first on PATH or in the usual folders of
// Debian, RPM, Homebrew and Postgres.app; else downloaded ones.
func Find(ctx context.Context, o Options) (Binaries, error) {
	return find(ctx, o, append(onPath(os.Getenv("PATH")), usual()...))
}

func find(ctx context.Context, o Options, places []place) (Binaries, error) {
	if o.Dir != "" {
		b, err := inspect(ctx, place{"HOMECORE_PG_BIN", o.Dir})
		if err != nil {
			return Binaries{}, fmt.Errorf("use the PostgreSQL of HOMECORE_PG_BIN: %w", err)
		}
		return b, nil
	}
	var refused error // a server that is there but unusable is worth telling when nothing else is found
	for _, p := range places {
		b, err := inspect(ctx, p)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			refused = errors.Join(refused, err)
		}
	}
	b, err := download(ctx, o)
	if err != nil {
		return Binaries{}, &NotFoundError{Refused: refused, Download: err}
	}
	return b, nil
}

// NotFoundError says that this machine has no usable PostgreSQL and that none could be downloaded. Its text says what to do.
type NotFoundError struct {
	Refused  error // servers that were found but not usable; may be nil
	Download error // why the download failed
}

func (e *NotFoundError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "no PostgreSQL %d or newer on this machine", MinMajor)
	if e.Refused != nil {
		fmt.Fprintf(&s, " (%s)", strings.ReplaceAll(e.Refused.Error(), "\n", "; "))
	}
	fmt.Fprintf(&s, ", and none could be downloaded: %v. ", e.Download)
	s.WriteString("Install PostgreSQL (Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17), " +
		"or set HOMECORE_PG_BIN to the folder of its initdb, or HOMECORE_DATABASE_URL to the URL of a running server")
	return s.String()
}

// Unwrap returns the causes.
func (e *NotFoundError) Unwrap() []error { return []error{e.Refused, e.Download} }

// place is a folder that may hold a server.
type place struct{ source, dir string }

func onPath(path string) []place {
	var places []place
	for _, dir := range filepath.SplitList(path) {
		if filepath.IsAbs(dir) { // a relative entry would find programs in whatever folder we are started in
			places = append(places, place{"PATH", dir})
		}
	}
	return places
}

// usual returns the folders that packages install servers to and that are seldom on PATH, newest version first.
func usual() []place {
	var places []place
	for _, p := range []place{
		{"Debian packages", "/usr/lib/postgresql/*/bin"},
		{"RPM packages", "/usr/pgsql-*/bin"},
		{"Homebrew", "/opt/homebrew/opt/postgresql@*/bin"},
		{"Homebrew", "/usr/local/opt/postgresql@*/bin"},
		{"Postgres.app", "/Applications/Postgres.app/Contents/Versions/*/bin"},
	} {
		dirs, _ := filepath.Glob(p.dir) // fails on a malformed pattern only
		slices.SortFunc(dirs, func(a, b string) int { return number(b) - number(a) })
		for _, dir := range dirs {
			places = append(places, place{p.source, dir})
		}
	}
	return places
}

var digits = regexp.MustCompile(`\d+`)

// number returns the version in a folder's name, so that 9.6 comes before 15, and 15 before 16.
func number(dir string) int {
	n, _ := strconv.Atoi(digits.FindString(dir))
	return n
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+(?:\.\d+)?)`)

// inspect returns the server in p. The error is os.ErrNotExist where there is none at all.
func inspect(ctx context.Context, p place) (Binaries, error) {
	for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
		if path := filepath.Join(p.dir, name); !executable(path) {
			return Binaries{}, fmt.Errorf("%s: %w", path, os.ErrNotExist)
		}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(p.dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask %s/postgres for its version: %w: %s", p.dir, err, strings.TrimSpace(string(out)))
	}
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return Binaries{}, fmt.Errorf("%s/postgres gives its version as %q", p.dir, out)
	}
	b := Binaries{Dir: p.dir, Version: string(match[1]), Source: p.source}
	if b.Major() < MinMajor {
		return Binaries{}, fmt.Errorf("PostgreSQL %s in %s is too old, at least %d is needed", b.Version, b.Dir, MinMajor)
	}
	return b, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
