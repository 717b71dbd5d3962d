package app

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"garment.id/homecore/platform/crypto"
)

// documented is one variable of a file in configs/.
type documented struct {
	comment string
	byDef   string // its default, as the comment says it
	value   string
	active  bool // not commented out
}

// TestConfigsDocumentEveryVariable holds configs/ against Config: whoever adds a variable, or changes a default, says so there.
func TestConfigsDocumentEveryVariable(t *testing.T) {
	t.Parallel()
	want := map[string]string{"HOMECORE_PG_BIN": "none", "HOMECORE_PG_DOWNLOAD_URL": "none"} // dev's, outside Config
	variables(t, reflect.TypeFor[Config](), Prefix, want)
	for _, name := range []string{"development.env", "production.env"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := readEnv(t, name)
			for variable, byDef := range want {
				d, ok := file[variable]
				switch {
				case !ok:
					t.Errorf("%s is missing", variable)
				case d.comment == "":
					t.Errorf("%s has no comment that says what it means", variable)
				case d.byDef != byDef:
					t.Errorf("%s: the comment says Default: %q, the code says %q", variable, d.byDef, byDef)
				case d.value == "" && variable != "HOMECORE_SECRET":
					t.Errorf("%s has no example", variable)
				}
			}
			for variable := range file {
				if _, ok := want[variable]; !ok {
					t.Errorf("nothing reads %s", variable)
				}
			}
		})
	}
}

func TestConfigsLoad(t *testing.T) {
	t.Parallel()
	secret := "HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal()

	t.Run("production.env as it is, once a secret is filled in", func(t *testing.T) {
		t.Parallel()
		file := environ(readEnv(t, "production.env"), false)
		if _, err := Load(append(file, secret)); err != nil {
			t.Error(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), "HOMECORE_SECRET") {
			t.Errorf("without a secret: %v; the file must not carry one that somebody could run with", err)
		}
	})

	t.Run("development.env as it is, with what dev makes", func(t *testing.T) {
		t.Parallel()
		dev := []string{"HOMECORE_DATABASE_URL=postgres://localhost/homecore", "HOMECORE_BASE_DOMAIN=localhost:8080", secret}
		if _, err := Load(append(dev, environ(readEnv(t, "development.env"), false)...)); err != nil {
			t.Error(err)
		}
	})

	t.Run("every example", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"development.env", "production.env"} {
			if _, err := Load(append(environ(readEnv(t, name), true), secret)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestMetricsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"off": "", "": "127.0.0.1:9464", "127.0.0.1:1": "127.0.0.1:1"} {
		c, err := Load([]string{"HOMECORE_DATABASE_URL=postgres://localhost/homecore", "HOMECORE_BASE_DOMAIN=localhost",
			"HOMECORE_SECRET=" + crypto.NewKey().Encode().Reveal(), "HOMECORE_METRICS_LISTEN=" + value})
		if err != nil || c.MetricsListen != want {
			t.Errorf("HOMECORE_METRICS_LISTEN=%s listens on %q (%v), want %q", value, c.MetricsListen, err, want)
		}
	}
}

// variables collects every variable below struct type s, with its default: none where it has none, required where it must be set.
func variables(t *testing.T, s reflect.Type, prefix string, into map[string]string) {
	t.Helper()
	for f := range s.Fields() {
		tag, ok := f.Tag.Lookup("env")
		if !ok {
			if f.Type.Kind() != reflect.Struct {
				t.Errorf("field %s of %s is read from no variable", f.Name, s)
				continue
			}
			variables(t, f.Type, prefix+f.Tag.Get("envPrefix"), into)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue // a family of variables
		}
		byDef, ok := f.Tag.Lookup("envDefault")
		switch {
		case strings.Contains(options, "notEmpty"):
			byDef = "required"
		case !ok:
			byDef = "none"
		}
		into[prefix+name] = byDef
	}
}

// readEnv reads a file of configs/: an assignment, commented out or not, belongs to the comment right above it.
func readEnv(t *testing.T, name string) map[string]documented {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "configs", name))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]documented{}
	var d documented
	for i, line := range strings.Split(string(text), "\n") {
		assignment, commentedOut := strings.CutPrefix(line, "#HOMECORE_")
		switch {
		case line == "":
			d = documented{}
		case commentedOut || strings.HasPrefix(line, Prefix):
			variable, value, ok := strings.Cut(strings.TrimPrefix(assignment, Prefix), "=")
			if _, twice := out[Prefix+variable]; twice || !ok {
				t.Errorf("%s:%d: want NAME=value, each name once", name, i+1)
			}
			d.value, d.active = strings.Trim(value, `"`), !commentedOut
			out[Prefix+variable] = d
		case strings.HasPrefix(line, "# Default: "):
			d.byDef = strings.TrimPrefix(line, "# Default: ")
		case strings.HasPrefix(line, "# "):
			d.comment += strings.TrimPrefix(line, "#")
		case line != "#":
			t.Errorf("%s:%d: neither a comment nor a variable", name, i+1)
		}
	}
	return out
}

// environ is the file as a process sees it: its active lines, or with examples all of them.
func environ(file map[string]documented, examples bool) (out []string) {
	for variable, d := range file {
		if d.active || examples {
			out = append(out, variable+"="+d.value)
		}
	}
	return out
}
