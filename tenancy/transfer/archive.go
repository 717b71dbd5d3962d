package transfer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// Format is the version of archives that this package writes; it reads no other.
const Format = 1

// Manifest is what an archive says of itself. It comes last: an archive without one is no archive.
type Manifest struct {
	Format       int       `json:"format"`
	CreatedAt    time.Time `json:"created_at"`
	Installation string    `json:"installation"`
	Postgres     string    `json:"postgres"`
	Tenant       struct {
		ID                 uuid.UUID `json:"id"`
		Slug               string    `json:"slug"`
		Name               string    `json:"name"`
		Plan               *string   `json:"plan"`
		Country            string    `json:"country"`
		Currency           string    `json:"currency"`
		Timezone           string    `json:"timezone"`
		Locale             string    `json:"locale"`
		StatementTimeoutMS *int32    `json:"statement_timeout_ms"`
	} `json:"tenant"`
	SchemaVersion int          `json:"schema_version"` // the newest migration of the tenant's set that the rows are of
	Tables        []Table      `json:"tables"`
	Sequences     []Sequence   `json:"sequences"`
	Memberships   []Membership `json:"memberships"`
}

// Membership is who belonged to the tenant. It is for people to read: a restore leaves memberships as they are.
type Membership struct {
	UserID uuid.UUID `json:"user_id"`
	Role   string    `json:"role"`
	Status string    `json:"status"`
}

// Rows is how many rows all tables have together.
func (m *Manifest) Rows() (n int64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// ErrArchive is in every error about a file that is no archive, not a whole one, or one of something else.
var ErrArchive = errors.New("not an archive that can be restored")

func badArchive(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrArchive, fmt.Errorf(format, args...))
}

const (
	manifestName = "manifest.json"
	partSize     = 1 << 20 // of a table's data: a tar entry says its length before its contents, so they are collected first
	manifestMax  = 64 << 20
)

func partName(table string, part int) string { return fmt.Sprintf("tables/%s/%08d", table, part) }

// archive is one being written, under a name of its own until it is whole.
type archive struct {
	file *os.File
	zip  *zstd.Encoder
	tar  *tar.Writer
	path string
	now  time.Time
}

// create begins an archive. A file that stands at path is replaced once the new one is whole, and not before.
func create(path string, now time.Time, disk func(path string, file io.Writer) io.Writer) (*archive, error) {
	dir, base := filepath.Split(path)
	// What a killed process left of the same.
	if left, err := filepath.Glob(filepath.Join(dir, "."+base+".*.partial")); err == nil {
		for _, name := range left {
			_ = os.Remove(name)
		}
	}
	file, err := os.CreateTemp(filepath.Clean(dir+"."), "."+base+".*.partial")
	if err != nil {
		return nil, fmt.Errorf("begin archive %s: %w", path, err)
	}
	zip, err := zstd.NewWriter(disk(path, file), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return &archive{file: file, zip: zip, tar: tar.NewWriter(zip), path: path, now: now}, nil
}

// abandon leaves nothing behind. After finish it does nothing.
func (a *archive) abandon() {
	if a.file == nil {
		return
	}
	_ = a.zip.Close()
	_ = a.file.Close()
	_ = os.Remove(a.file.Name())
	a.file = nil
}

func (a *archive) entry(name string, content []byte) error {
	err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: a.now, Format: tar.FormatPAX})
	if err == nil {
		_, err = a.tar.Write(content)
	}
	if err != nil {
		return fmt.Errorf("write archive %s: %w", a.path, err)
	}
	return nil
}

// finish writes the manifest, and gives the file its name once it is on the disk.
func (a *archive) finish(m *Manifest) error {
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := a.entry(manifestName, append(content, '\n')); err != nil {
		return err
	}
	for _, step := range []func() error{
		a.tar.Close, a.zip.Close, a.file.Sync, a.file.Close,
		func() error { return os.Rename(a.file.Name(), a.path) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("write archive %s: %w", a.path, err)
		}
	}
	a.file = nil
	dir, err := os.Open(filepath.Clean(filepath.Dir(a.path)))
	if err != nil {
		return fmt.Errorf("write archive %s: %w", a.path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write archive %s: %w", a.path, err)
	}
	return nil
}

// measure counts and hashes a table's data in COPY's text format, where a line is a row.
type measure struct {
	hash  hash.Hash
	rows  int64
	bytes int64
}

func newMeasure() *measure { return &measure{hash: sha256.New()} }

func (m *measure) Write(p []byte) (int, error) {
	m.hash.Write(p)
	m.rows += int64(bytes.Count(p, []byte{'\n'}))
	m.bytes += int64(len(p))
	return len(p), nil
}

func (m *measure) into(t *Table) {
	t.Rows, t.Bytes, t.SHA256 = m.rows, m.bytes, hex.EncodeToString(m.hash.Sum(nil))
}

// parts is a table's data on its way into an archive.
type parts struct {
	*measure
	to     *archive
	table  string
	buffer []byte
	n      int
	told   func(rows, bytes int64) // of each part
}

func (p *parts) Write(b []byte) (int, error) {
	_, _ = p.measure.Write(b)
	p.buffer = append(p.buffer, b...)
	if len(p.buffer) < partSize {
		return len(b), nil
	}
	return len(b), p.flush()
}

func (p *parts) flush() error {
	if len(p.buffer) == 0 {
		return nil
	}
	p.n++
	err := p.to.entry(partName(p.table, p.n), p.buffer)
	p.buffer = p.buffer[:0]
	p.told(p.rows, p.bytes)
	return err
}

// reader reads an archive from its beginning.
type reader struct {
	file  *os.File
	zip   *zstd.Decoder
	tar   *tar.Reader
	ahead *tar.Header // read, and not yet of the table before
}

func open(path string) (*reader, error) {
	file, err := os.Open(path) //nolint:gosec // a file the operator names
	if err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, badArchive("%s is no file", path)
	}
	zip, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	return &reader{file: file, zip: zip, tar: tar.NewReader(zip)}, nil
}

func (r *reader) close() {
	r.zip.Close()
	r.file.Close()
}

// next returns the next table's name, or "" at the manifest.
func (r *reader) next() (string, error) {
	h := r.ahead
	if h == nil {
		var err error
		if h, err = r.tar.Next(); err != nil {
			return "", badArchive("it ends before its manifest: %w", err)
		}
	}
	if h.Name == manifestName {
		return "", nil
	}
	table, ok := tableOf(h, 1)
	if !ok {
		return "", badArchive("entry %q does not belong here", h.Name)
	}
	r.ahead = h
	return table, nil
}

func tableOf(h *tar.Header, part int) (string, bool) {
	dir, _, _ := strings.Cut(strings.TrimPrefix(h.Name, "tables/"), "/")
	return dir, h.Typeflag == tar.TypeReg && dir != "" && h.Name == partName(dir, part)
}

// table reads all parts of the table that next returned.
func (r *reader) table(name string) io.Reader { return &joined{r: r, table: name} }

type joined struct {
	r     *reader
	table string
	n     int
	open  bool
}

func (j *joined) Read(p []byte) (int, error) {
	for {
		if j.open {
			n, err := j.r.tar.Read(p)
			if errors.Is(err, io.EOF) {
				j.open, err = false, nil
			}
			if n > 0 || err != nil {
				if err != nil {
					err = badArchive("table %s: %w", j.table, err)
				}
				return n, err
			}
			continue
		}
		h := j.r.ahead
		if h == nil {
			var err error
			if h, err = j.r.tar.Next(); err != nil {
				return 0, badArchive("it ends within table %s: %w", j.table, err)
			}
		}
		if name, ok := tableOf(h, j.n+1); !ok || name != j.table {
			j.r.ahead = h
			return 0, io.EOF
		}
		j.r.ahead, j.open = nil, true
		j.n++
	}
}

// manifest reads the manifest, where next returned "", and what follows it: nothing.
func (r *reader) manifest() (*Manifest, error) {
	var m Manifest
	content, err := io.ReadAll(io.LimitReader(r.tar, manifestMax))
	if err != nil {
		return nil, badArchive("read its manifest: %w", err)
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, badArchive("read its manifest: %w", err)
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, badArchive("something follows its manifest")
	}
	// To the end: the checksum of the compressed stream is its last word.
	rest, err := io.Copy(io.Discard, io.LimitReader(r.zip, partSize))
	if err != nil {
		return nil, badArchive("read its end: %w", err)
	}
	if rest > 0 {
		return nil, badArchive("something follows its manifest")
	}
	if m.Format != Format {
		return nil, badArchive("it is of format %d, and this version reads %d", m.Format, Format)
	}
	return &m, nil
}

// Verify reads a whole archive and compares every table with what the manifest says of it. It changes nothing.
func Verify(path string) (*Manifest, error) {
	r, err := open(path)
	if err != nil {
		return nil, err
	}
	defer r.close()
	found := map[string]Table{}
	for {
		name, err := r.next()
		if err != nil {
			return nil, err
		}
		if name == "" {
			break
		}
		if _, twice := found[name]; twice {
			return nil, badArchive("table %s comes twice", name)
		}
		m, t := newMeasure(), Table{}
		if _, err := io.Copy(m, r.table(name)); err != nil {
			return nil, err
		}
		m.into(&t)
		found[name] = t
	}
	m, err := r.manifest()
	if err != nil {
		return nil, err
	}
	for _, t := range m.Tables {
		have, ok := found[t.Name]
		if !ok {
			newMeasure().into(&have) // a table without rows has no part
		}
		if have.Rows != t.Rows || have.Bytes != t.Bytes || have.SHA256 != t.SHA256 {
			return nil, badArchive("the rows of table %s are not those it was written with", t.Name)
		}
		delete(found, t.Name)
	}
	for name := range found {
		return nil, badArchive("table %s is not in its manifest", name)
	}
	return m, nil
}
