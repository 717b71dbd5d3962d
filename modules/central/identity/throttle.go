package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// What is throttled, each kind apart from the others.
const (
	throttleLogin     = "login"
	throttleRegister  = "register"
	throttleForgot    = "forgot"
	throttleResend    = "resend"
	throttleChallenge = "challenge"
	throttleGoogle    = "google"
	throttlePasskey   = "passkey"
	throttleReset     = "reset"
	throttleAccept    = "invitation"

	throttleOnboarding = "onboarding"
)

// allowance is how many attempts are there at once, and how soon a spent one comes back. The zero value allows everything.
type allowance struct {
	burst int
	every time.Duration
}

// throttleRule is what a kind allows from one address (an IPv6 network of 64 bits), for one identifier from one address, and for
// one identifier from everywhere. The second is the smallest: who tries from one place never spends what the owner needs elsewhere.
type throttleRule struct{ address, both, identifier allowance }

func throttleRules(kind string) throttleRule {
	switch kind {
	case throttleLogin, throttleChallenge:
		return throttleRule{address: allowance{100, time.Second}, both: allowance{10, 30 * time.Second}, identifier: allowance{30, 10 * time.Second}}
	case throttleRegister, throttleForgot, throttleResend:
		return throttleRule{address: allowance{20, 10 * time.Second}, identifier: allowance{5, 2 * time.Minute}}
	case throttleOnboarding:
		return throttleRule{identifier: allowance{5, 10 * time.Minute}}
	default:
		return throttleRule{address: allowance{60, time.Second}, both: allowance{10, 30 * time.Second}, identifier: allowance{30, 10 * time.Second}}
	}
}

// A remembered device has this for itself. Nobody who lacks its secret can spend it.
var deviceAllowance = allowance{10, 30 * time.Second}

const (
	// Failures in a row that cost no wait, and the longest wait before the hundredth: for one identifier from one address, and from
	// everywhere. Who fails for somebody else's account from one place makes its owner wait a minute at most.
	freeFailuresBoth, longestWaitBoth             = 5, 15 * time.Minute
	freeFailuresIdentifier, longestWaitIdentifier = 20, time.Minute
	// An address that fails for so many identifiers within an hour tries one password on many accounts.
	sprayedIdentifiers = 50
)

// eventStuffing is an address that failed for too many accounts.
const eventStuffing = "credential_stuffing"

// throttle counts attempts in Postgres.
type throttle struct {
	mac crypto.Authenticator
	off bool
}

func (t throttle) key(kind, what string, parts ...[]byte) []byte {
	return t.mac.Sum(append([][]byte{[]byte(kind), []byte(what)}, parts...)...)
}

// network is what counts as one address: a /64 of IPv6, which any customer has whole.
func network(ip netip.Addr) []byte {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			ip = p.Addr()
		}
	}
	return ip.AsSlice()
}

// tries is the keys of one attempt; nil where a part is not known.
type tries struct{ address, both, identifier []byte }

func (s *Service) triedAs(ctx context.Context, kind, identifier string) (a tries) {
	ip := api.ClientFrom(ctx).IP
	if ip.IsValid() {
		a.address = s.throttle.key(kind, "address", network(ip))
	}
	if identifier != "" {
		a.identifier = s.throttle.key(kind, "identifier", []byte(identifier))
	}
	if a.address != nil && a.identifier != nil {
		a.both = s.throttle.key(kind, "both", network(ip), []byte(identifier))
	}
	return a
}

// admissionArgs are the arguments of throttle_admit.
func (s *Service) admissionArgs(ctx context.Context, kind, identifier string, device uuid.UUID) []any {
	var (
		keys          [][]byte
		every, bursts []float64
		rule, of      = throttleRules(kind), s.triedAs(ctx, kind, identifier)
	)
	add := func(key []byte, a allowance) {
		if key != nil && a.burst > 0 {
			keys, every, bursts = append(keys, key), append(every, a.every.Seconds()), append(bursts, float64(a.burst))
		}
	}
	if device != uuid.Nil {
		add(s.throttle.key(kind, "device", device[:]), deviceAllowance)
	} else {
		add(of.address, rule.address)
		add(of.both, rule.both)
		add(of.identifier, rule.identifier)
	}
	return []any{byteaArray(keys), floatArray(every), floatArray(bursts)}
}

// byteaArray and floatArray write arrays as Postgres reads them: GORM would take a slice apart.
func byteaArray(all [][]byte) string {
	parts := make([]string, len(all))
	for i, b := range all {
		parts[i] = `"\\x` + hex.EncodeToString(b) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func floatArray(all []float64) string {
	parts := make([]string, len(all))
	for i, f := range all {
		parts[i] = strconv.FormatFloat(f, 'f', -1, 64)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// admission is what throttle_admit answers.
type admission struct {
	wait     float64
	tell     bool
	failures int
}

// refusal is the fault for an attempt that was not admitted, nil for one that was. The first in a minute is recorded: all of them
// would be a way to fill the disk.
func (s *Service) refusal(ctx context.Context, a admission, kind, identifier string) error {
	if a.wait <= 0 {
		return nil
	}
	if a.tell {
		if err := s.record(ctx, Event{Type: kind + "_failed", Outcome: outcomeFailure, Reason: "rate_limited", Identifier: identifier}); err != nil {
			return err
		}
	}
	return a.fault()
}

func (a admission) fault() error {
	return fault.TooManyRequests.WithRetryAfter(time.Duration(math.Ceil(a.wait)) * time.Second)
}

// AdmitOnboarding counts a workspace that a user makes, in the transaction ctx carries: one that comes to nothing is not counted. It
// refuses with rate_limited and Retry-After where there were too many.
func (s *Service) AdmitOnboarding(ctx context.Context, userID uuid.UUID) error {
	if s.throttle.off {
		return nil
	}
	var a admission
	err := s.DB.Gorm(ctx).Raw("select wait from throttle_admit(cast(? as bytea[]), cast(? as float8[]), cast(? as float8[]))",
		s.admissionArgs(ctx, throttleOnboarding, userID.String(), uuid.Nil)...).Row().Scan(&a.wait)
	if err != nil {
		return fmt.Errorf("count an onboarding: %w", err)
	}
	if a.wait > 0 {
		return a.fault()
	}
	return nil
}

// admit counts an attempt before anything is done about it, and refuses it with rate_limited and Retry-After where there were too
// many from the client's address, for the identifier, or both together. The identifier need not exist. A device is one that is
// remembered for that identifier, zero where there is none: it has an allowance of its own, which nobody else can use up.
// One round trip, committed by itself whatever becomes of the attempt.
func (s *Service) admit(ctx context.Context, kind, identifier string, device uuid.UUID) error {
	if s.throttle.off {
		return nil
	}
	var a admission
	err := s.DB.Ask(ctx, "select wait, tell, failures from throttle_admit($1::bytea[], $2::float8[], $3::float8[])", s.admissionArgs(ctx, kind, identifier, device),
		&a.wait, &a.tell, &a.failures)
	if err != nil {
		return fmt.Errorf("count an attempt: %w", err)
	}
	return s.refusal(ctx, a, kind, identifier)
}

// failed makes the identifier's next attempts of this kind wait, longer each time, and notices an address that fails for many
// identifiers. One round trip.
func (s *Service) failed(ctx context.Context, kind, identifier string) error {
	of := s.triedAs(ctx, kind, identifier)
	if s.throttle.off || of.identifier == nil {
		return nil
	}
	var sprayed bool
	if err := s.DB.Ask(ctx, "select throttle_fail($1, $2, $3, $4, $5, $6)", of.failure(), &sprayed); err != nil {
		return fmt.Errorf("count a failure: %w", err)
	}
	if sprayed {
		return s.record(ctx, Event{Type: eventStuffing, Outcome: outcomeFailure, Reason: kind, Identifier: identifier})
	}
	return nil
}

// failedLogin is failed for a sign-in, and notices a password that fails for many identifiers. One round trip.
func (s *Service) failedLogin(ctx context.Context, identifier, password string) error {
	of := s.triedAs(ctx, throttleLogin, identifier)
	if s.throttle.off || of.identifier == nil {
		return nil
	}
	var address, onePassword bool
	fingerprint := s.throttle.fingerprint(password)
	args := append(of.failure(), fingerprint, s.throttle.accountBit(fingerprint, identifier), sprayedAccounts)
	if err := s.DB.Ask(ctx, failSprayedSQL, args, &address, &onePassword); err != nil {
		return fmt.Errorf("count a failure: %w", err)
	}
	for _, sprayed := range []struct {
		is  bool
		why string
	}{{address, throttleLogin}, {onePassword, reasonOnePassword}} {
		if !sprayed.is {
			continue
		}
		if err := s.record(ctx, Event{Type: eventStuffing, Outcome: outcomeFailure, Reason: sprayed.why, Identifier: identifier}); err != nil {
			return err
		}
	}
	return nil
}

// failure are the arguments of throttle_fail.
func (t tries) failure() []any {
	keys, free, caps := [][]byte{t.identifier}, []int32{freeFailuresIdentifier}, []float64{longestWaitIdentifier.Seconds()}
	if t.both != nil { // first: the order of the locks
		keys, free, caps = [][]byte{t.both, t.identifier}, []int32{freeFailuresBoth, freeFailuresIdentifier},
			[]float64{longestWaitBoth.Seconds(), longestWaitIdentifier.Seconds()}
	}
	return []any{keys, free, caps, t.address, t.identifier, sprayedIdentifiers}
}

// Locked in the order of throttle_admit and throttle_fail: both before identifier.
const forgetFailures = `with mine as (select key from throttles where key in ? order by key = ? for update)
update throttles t set failures = 0, waits_until = null from mine where t.key = mine.key`

// succeeded ends that wait. One round trip.
func (s *Service) succeeded(ctx context.Context, kind, identifier string) error {
	of := s.triedAs(ctx, kind, identifier)
	if s.throttle.off || of.identifier == nil {
		return nil
	}
	keys := [][]byte{of.identifier}
	if of.both != nil {
		keys = [][]byte{of.both, of.identifier}
	}
	err := s.DB.Gorm(ctx).Exec(forgetFailures, keys, of.identifier).Error
	if err != nil {
		return fmt.Errorf("forget failures: %w", err)
	}
	return nil
}

// errThrottle says what THROTTLE may be.
var errThrottle = errors.New("THROTTLE: want on or off")
