//go:build unix

package postgres

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

var quiet = slog.New(slog.DiscardHandler)

// programs makes a folder of programs that do nothing but give a version.
func programs(t *testing.T, version string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		syscall.ForkLock.RLock() // a process forked while the file is open for writing keeps it from running (golang.org/issue/22315)
		err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755)
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func server(t *testing.T, version string) string {
	t.Helper()
	return programs(t, version, "postgres", "initdb", "pg_ctl")
}

func TestFind(t *testing.T) {
	t.Parallel()
	offline := Options{Offline: true, CacheDir: t.TempDir(), Logger: quiet}

	t.Run("takes the folder it is told to, and no other", func(t *testing.T) {
		t.Parallel()
		told, other := server(t, "16.3 (Debian 16.3-1)"), server(t, "17.5")
		b, err := find(t.Context(), Options{Dir: told}, []place{{"PATH", other}})
		if err != nil || b.Dir != told || b.Version != "16.3" || b.Major() != 16 || b.Source != "HOMECORE_PG_BIN" {
			t.Errorf("found %+v, %v", b, err)
		}
		_, err = find(t.Context(), Options{Dir: t.TempDir()}, []place{{"PATH", other}})
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "HOMECORE_PG_BIN") {
			t.Errorf("an empty folder: %v", err)
		}
	})
	t.Run("takes the first whole one that is new enough", func(t *testing.T) {
		t.Parallel()
		want := server(t, "14.0")
		b, err := find(t.Context(), offline, []place{
			{"PATH", "/nowhere"},
			{"PATH", programs(t, "17.5", "postgres", "pg_ctl")}, // as Debian's client packages: not all are there
			{"PATH", server(t, "9.6.24")},
			{"PATH", server(t, "13.21")},
			{"Homebrew", want},
			{"RPM packages", server(t, "18.1")},
		})
		if err != nil || b.Dir != want || b.Source != "Homebrew" {
			t.Errorf("found %+v, %v", b, err)
		}
	})
	t.Run("knows the psql that belongs to the server", func(t *testing.T) {
		t.Parallel()
		dir := programs(t, "17.5", "postgres", "initdb", "pg_ctl", "psql")
		b, err := find(t.Context(), Options{Dir: dir}, nil)
		if err != nil || b.Psql() != filepath.Join(dir, "psql") {
			t.Errorf("psql %s, %v", b.Psql(), err)
		}
	})
	t.Run("knows a version that is not out yet", func(t *testing.T) {
		t.Parallel()
		b, err := find(t.Context(), Options{Dir: server(t, "19beta1")}, nil)
		if err != nil || b.Version != "19" || b.Major() != 19 {
			t.Errorf("found %+v, %v", b, err)
		}
	})
	t.Run("says what to do when there is none", func(t *testing.T) {
		t.Parallel()
		_, err := find(t.Context(), offline, []place{{"PATH", server(t, "13.21")}})
		if none := (*NotFoundError)(nil); !errors.As(err, &none) {
			t.Fatalf("error %v", err)
		}
		for _, hint := range []string{"13.21", "switched off", "apt install postgresql", "HOMECORE_PG_BIN", "HOMECORE_DATABASE_URL"} {
			if !strings.Contains(err.Error(), hint) {
				t.Errorf("the error does not mention %s: %v", hint, err)
			}
		}
	})
	t.Run("leaves out relative entries of PATH", func(t *testing.T) {
		t.Parallel()
		if got := onPath("bin:.:/usr/bin:"); !slices.Equal(got, []place{{"PATH", "/usr/bin"}}) {
			t.Errorf("places %v", got)
		}
	})
}

// stubArchive holds bin/{postgres,initdb,pg_ctl}, shell scripts; postgres --version says 17.5.
//
//go:embed testdata/stub.txz
var stubArchive []byte

// repository serves one jar like those of Maven Central, with the given checksum, and counts the downloads.
func repository(t *testing.T, checksum func(jar []byte) string) (url string, downloads *atomic.Int32) {
	t.Helper()
	var jar bytes.Buffer
	archive := zip.NewWriter(&jar)
	entry, err := archive.Create("postgres-linux-x86_64.txz")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(stubArchive); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	downloads = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "-"+string(downloadVersion)+".jar"):
			downloads.Add(1)
			w.Write(jar.Bytes())
		case strings.HasSuffix(r.URL.Path, ".jar.sha256"):
			w.Write([]byte(checksum(jar.Bytes())))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, downloads
}

func TestDownload(t *testing.T) {
	t.Parallel()

	t.Run("unpacks a server once and finds it again", func(t *testing.T) {
		t.Parallel()
		url, downloads := repository(t, func(jar []byte) string {
			sum := sha256.Sum256(jar)
			return hex.EncodeToString(sum[:])
		})
		o := Options{CacheDir: t.TempDir(), DownloadURL: url, Logger: quiet}
		for range 2 {
			b, err := find(t.Context(), o, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b.Source != "downloaded" || b.Version != "17.5" {
				t.Errorf("found %+v", b)
			}
		}
		if n := downloads.Load(); n != 1 {
			t.Errorf("downloaded %d times", n)
		}
		if rest, _ := filepath.Glob(filepath.Join(o.CacheDir, "*")); len(rest) != 1 {
			t.Errorf("the cache holds %v", rest)
		}
	})
	t.Run("refuses an archive that is not what its checksum says", func(t *testing.T) {
		t.Parallel()
		url, _ := repository(t, func([]byte) string { return "0123" })
		o := Options{CacheDir: t.TempDir(), DownloadURL: url, Logger: quiet}
		_, err := find(t.Context(), o, nil)
		if err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("error %v", err)
		}
		if rest, _ := filepath.Glob(filepath.Join(o.CacheDir, "*")); len(rest) != 0 {
			t.Errorf("the cache holds %v", rest)
		}
	})
	t.Run("says what to do without a network", func(t *testing.T) {
		t.Parallel()
		o := Options{CacheDir: t.TempDir(), DownloadURL: "http://127.0.0.1:1", Logger: quiet}
		_, err := find(t.Context(), o, nil)
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "apt install postgresql") {
			t.Errorf("error %v", err)
		}
	})
}
