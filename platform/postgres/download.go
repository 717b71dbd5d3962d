package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// downloadVersion is pinned rather than the library's default: a new major version would leave developers' data behind.
const downloadVersion = embedded.V17

// download fetches a server with fergusstrange/embedded-postgres into the cache, or finds the one fetched before.
func download(ctx context.Context, o Options) (Binaries, error) {
	cache, err := cacheDir(o)
	if err != nil {
		return Binaries{}, err
	}
	home := filepath.Join(cache, "postgresql-"+string(downloadVersion))
	here := place{"downloaded", filepath.Join(home, "bin")}
	if b, err := inspect(ctx, here); err == nil || !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	if o.Offline {
		return Binaries{}, errors.New("downloading is switched off")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("make the folder for the download: %w", err)
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Info("downloading PostgreSQL, once", "version", downloadVersion, "to", home)
	fetched := make(chan error, 1)
	go func() { fetched <- fetch(cache, home, o.DownloadURL) }() // the library takes no context
	select {
	case err = <-fetched:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return Binaries{}, err
	}
	return inspect(ctx, here)
}

// fetch downloads and unpacks, into a folder that is renamed to home once whole.
//
// The library offers no such step on its own: only Start, which goes on to run the server, and refuses root. So it is given
// a data folder that passes for an existing one and that no server starts from, and its complaint about that is dropped.
func fetch(cache, home, url string) error {
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	unpacked, data := filepath.Join(work, "unpacked"), filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), nil, 0o600); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	config := embedded.DefaultConfig().Version(downloadVersion).Port(uint32(port)).Logger(io.Discard).
		CachePath(filepath.Join(work, "archive")).RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(unpacked).DataPath(data)
	if url != "" {
		config = config.BinaryRepositoryURL(url)
	}
	err = embedded.NewDatabase(config).Start()
	if err == nil {
		return errors.New("download PostgreSQL: the library has started a server on an empty folder")
	}
	if !strings.HasPrefix(err.Error(), "could not start postgres") {
		return fmt.Errorf("download PostgreSQL %s: %w", downloadVersion, err)
	}
	if err := os.Rename(unpacked, home); err != nil && !errors.Is(err, os.ErrExist) { // another process may have been first
		return err
	}
	return nil
}

func cacheDir(o Options) (string, error) {
	if o.CacheDir != "" {
		return filepath.Abs(o.CacheDir)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/homecore", nil // root's own is closed to the user the server runs as
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the download: %w", err)
	}
	return filepath.Join(dir, "homecore"), nil
}

// freePort returns a port that nobody listens on at this moment, if it can from below those that systems hand out by
// themselves, to listeners and to every outgoing connection: one of these would not stay free while a server is stopped.
func freePort() (int, error) {
	for range 20 {
		port := 20000 + rand.N(12768) //nolint:gosec // any will do
		if l, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
