package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"garment.id/homecore/cmd/homecore/app"
)

// dataDir is the flag of every command that can find a running dev.
type dataDir struct {
	DataDir string `help:"Where dev keeps its data; a running dev there lends its database." default:".homecore" type:"path"`
}

// runtime is what a running dev leaves in its data folder for the other commands.
type runtime struct {
	PID            int      `json:"pid"`
	Environ        []string `json:"environ"`         // the configuration it runs with
	SuperuserURL   string   `json:"superuser_url"`   // the database as superuser; empty if the database is not dev's own
	DatabaseSource string   `json:"database_source"` // where the server came from
	LogFile        string   `json:"log_file"`
}

func runtimeFile(dir string) string { return filepath.Join(dir, "runtime.json") }

// running returns what the dev of this data folder runs with; false where none runs.
func (d dataDir) running() (runtime, bool) {
	var r runtime
	text, err := os.ReadFile(runtimeFile(d.DataDir))
	if err != nil || json.Unmarshal(text, &r) != nil {
		return r, false
	}
	// Signal 0 asks whether the process is there (POSIX kill); EPERM means that it is, and somebody else's.
	err = syscall.Kill(r.PID, 0)
	return r, err == nil || errors.Is(err, syscall.EPERM)
}

// environ is the environment, or where it names no database, the configuration of a running dev under what the environment says.
func (d dataDir) environ(c *console) ([]string, error) {
	if hasVariable(c.environ, "DATABASE_URL") {
		return c.environ, nil
	}
	r, ok := d.running()
	if !ok {
		return nil, fmt.Errorf("%sDATABASE_URL is not set, and no homecore dev is running on %s", app.Prefix, d.DataDir)
	}
	return slices.Concat(r.Environ, c.environ), nil
}

func (d dataDir) config(c *console) (app.Config, error) {
	environ, err := d.environ(c)
	if err != nil {
		return app.Config{}, err
	}
	return app.Load(environ)
}

// databaseURL is all that a command needs which only looks at the database.
func (d dataDir) databaseURL(c *console) (string, error) {
	environ, err := d.environ(c)
	return variable(environ, "DATABASE_URL"), err
}

func variable(environ []string, name string) (value string) {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, app.Prefix+name+"="); ok {
			value = v // the last counts, as in a shell
		}
	}
	return value
}

func hasVariable(environ []string, name string) bool { return variable(environ, name) != "" }

// newLog is the process's log, on standard error.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(cmp.Or(level, "info"))); err != nil {
		return nil, fmt.Errorf("configuration: %sLOG_LEVEL: want debug, info, warn or error", app.Prefix)
	}
	options := &slog.HandlerOptions{Level: l}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return slog.New(slog.NewJSONHandler(w, options)), nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
