package crypto

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// MaxPasswordBytes is the longest password taken. Up to it every byte counts: nothing is cut off.
const MaxPasswordBytes = 1024

const (
	saltBytes = 16
	hashBytes = 32

	// What a stored hash may ask of us at most. More than this was not written by us, and would be a way to exhaust the server.
	maxMemoryKiB = 256 << 10
	maxPasses    = 16
	maxLanes     = 8
)

// ErrPasswordHash says that a stored hash is not one we would have written; it was not computed.
var ErrPasswordHash = errors.New("the stored password hash is malformed or asks for absurd parameters")

// Argon2 are the costs of a password hash.
type Argon2 struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultArgon2 is OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
var DefaultArgon2 = Argon2{MemoryKiB: 19 << 10, Passes: 2, Lanes: 1}

// Passwords hashes and verifies passwords with argon2id, as many at once as there are processors: the memory in use is bounded
// by that number times the cost of one, however many ask.
//
// A password is normalised to NFKC first (NIST SP 800-63B), so that the same word typed on another keyboard is the same password.
type Passwords struct {
	cost  Argon2
	slots chan struct{}
	decoy string
}

// NewPasswords returns a hasher of the given cost; it refuses a cost below 8 MiB or above what a stored hash may ask.
func NewPasswords(cost Argon2) (*Passwords, error) {
	if cost.MemoryKiB < 8<<10 || !cost.sane() {
		return nil, fmt.Errorf("argon2id of %d KiB, %d passes, %d lanes is out of range", cost.MemoryKiB, cost.Passes, cost.Lanes)
	}
	return &Passwords{
		cost:  cost,
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		decoy: encodePHC(cost, Bytes(saltBytes), Bytes(hashBytes)), // the hash of nothing
	}, nil
}

// Hash returns a new hash of password as a PHC string. It fails only when ctx ends while it waits its turn.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	salt := Bytes(saltBytes)
	sum, err := p.compute(ctx, p.cost, password, salt, hashBytes)
	if err != nil {
		return "", err
	}
	return encodePHC(p.cost, salt, sum), nil
}

// Verify reports whether password is the one stored, and whether the hash should be made anew because its cost is another than
// today's. An empty stored hash (no such user, or one without a password) takes as long as a wrong password, also for a hash of an
// older, lower cost. A stored hash that cannot be ours is ErrPasswordHash, and takes as long too.
func (p *Passwords) Verify(ctx context.Context, stored, password string) (ok, rehash bool, err error) {
	if len(password) > MaxPasswordBytes {
		stored, password = "", password[:MaxPasswordBytes] // no such password exists; the time stays the same
	}
	none := stored == ""
	if none {
		stored = p.decoy
	}
	cost, salt, want, parseErr := parsePHC(stored)
	if parseErr != nil {
		none = true
		cost, salt, want, _ = parsePHC(p.decoy)
	}
	got, err := p.compute(ctx, cost, password, salt, len(want))
	if err != nil {
		return false, false, err
	}
	if subtle.ConstantTimeCompare(got, want) != 1 || none {
		if rest, some := p.cost.beyond(cost); some {
			if _, err := p.compute(ctx, rest, password, salt, hashBytes); err != nil {
				return false, false, err
			}
		}
		return false, false, parseErr
	}
	return true, cost != p.cost, nil
}

func (p *Passwords) compute(ctx context.Context, cost Argon2, password string, salt []byte, size int) ([]byte, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wait to hash a password: %w", err)
	}
	defer func() { <-p.slots }()
	return argon2.IDKey(norm.NFKC.Bytes([]byte(password)), salt, cost.Passes, cost.MemoryKiB, cost.Lanes, uint32(size)), nil //nolint:gosec // size is at most 64
}

// PasswordLength returns how many characters (code points) a password has, and whether it is short enough to be taken.
func PasswordLength(password string) (characters int, fits bool) {
	return utf8.RuneCountInString(password), len(password) <= MaxPasswordBytes
}

// beyond returns a cost that makes less up to a; false where nothing worth computing is missing. Time goes with memory times passes.
func (a Argon2) beyond(less Argon2) (rest Argon2, some bool) {
	all, done := a.MemoryKiB*a.Passes, less.MemoryKiB*less.Passes
	if done >= all {
		return Argon2{}, false
	}
	rest = Argon2{MemoryKiB: (all - done) / a.Passes, Passes: a.Passes, Lanes: a.Lanes}
	return rest, rest.sane()
}

func (a Argon2) sane() bool {
	return a.Passes >= 1 && a.Passes <= maxPasses && a.Lanes >= 1 && a.Lanes <= maxLanes &&
		a.MemoryKiB >= 8*uint32(a.Lanes) && a.MemoryKiB <= maxMemoryKiB
}

var phcBase64 = base64.RawStdEncoding.Strict()

func encodePHC(cost Argon2, salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, cost.MemoryKiB, cost.Passes, cost.Lanes,
		phcBase64.EncodeToString(salt), phcBase64.EncodeToString(sum))
}

func parsePHC(s string) (cost Argon2, salt, sum []byte, err error) {
	fields := strings.Split(s, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return cost, nil, nil, ErrPasswordHash
	}
	const costs = "m=%d,t=%d,p=%d"
	_, err = fmt.Sscanf(fields[3], costs, &cost.MemoryKiB, &cost.Passes, &cost.Lanes)
	if err != nil || fields[3] != fmt.Sprintf(costs, cost.MemoryKiB, cost.Passes, cost.Lanes) { // Sscanf takes signs and a tail
		return cost, nil, nil, ErrPasswordHash
	}
	salt, saltErr := phcBase64.DecodeString(fields[4])
	sum, sumErr := phcBase64.DecodeString(fields[5])
	if saltErr != nil || sumErr != nil || !cost.sane() || len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return cost, nil, nil, ErrPasswordHash
	}
	return cost, salt, sum, nil
}
