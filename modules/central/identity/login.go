package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

type loginInput struct {
	Body struct {
		Email       string `json:"email" maxLength:"320"`
		Password    string `json:"password"`
		DeviceName  string `json:"device_name,omitempty" maxLength:"100"`
		DeviceToken string `json:"device_token,omitempty" maxLength:"512" doc:"From an earlier second factor that was to be remembered."`
	}
}

func (s *Service) handleLogin(ctx context.Context, in *loginInput) (*api.Data[SignedIn], error) {
	answer, err := s.Login(ctx, in.Body.Email, in.Body.Password, in.Body.DeviceName, in.Body.DeviceToken)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

// Login signs in who knows the password. An unknown address, a wrong password, an account without one and a disabled account are
// one answer, auth.invalid_credentials, after the same work; so is what throttling makes of them. DeviceToken is of a remembered
// device, "" where there is none.
//
// It takes four statements where nothing goes wrong: admission and account, session and tokens, the event, and the memberships
// where they are not in memory.
func (s *Service) Login(ctx context.Context, email, password, device, deviceToken string) (SignedIn, error) {
	identifier, err := normaliseEmail(email)
	if err != nil { // no account has it; tries are counted all the same
		identifier = fold(strings.TrimSpace(email))
	}
	u, failures, err := s.admitLogin(ctx, identifier, password, deviceToken)
	if err != nil {
		return SignedIn{}, err
	}
	ok, rehash, err := s.passwords.Verify(ctx, u.storedHash(), password)
	if errors.Is(err, crypto.ErrPasswordHash) {
		s.Log.ErrorContext(ctx, "the stored password hash of an account is unreadable", "user_id", u.ID)
		ok, err = false, nil
	}
	if err != nil {
		return SignedIn{}, err
	}
	if !ok || u.DisabledAt != nil {
		return SignedIn{}, s.refuseLogin(ctx, u, identifier, password, ok)
	}
	if err := s.confirmClaim(ctx, u); err != nil {
		return SignedIn{}, err
	}
	var renewed string
	if rehash {
		if renewed, err = s.passwords.Hash(ctx, password); err != nil {
			return SignedIn{}, err
		}
	}
	answer, err := s.finish(ctx, wayIn{
		user: *u, amr: amrPassword, device: device, deviceToken: deviceToken,
		unchanged: func(now user) error {
			if !sameTime(now.PasswordSetAt, u.PasswordSetAt) || claimChanged(*u, now) {
				return invalidCredentials
			}
			return nil
		},
		within: s.renewHash(u, renewed),
	})
	if err != nil {
		return SignedIn{}, err
	}
	if failures > 0 {
		return answer, s.succeeded(ctx, throttleLogin, identifier)
	}
	return answer, nil
}

// renewHash puts a hash of today's cost in place of the one that was just verified; nil where there is nothing to renew.
func (s *Service) renewHash(verified *user, renewed string) func(ctx context.Context, now user) error {
	if renewed == "" {
		return nil
	}
	return func(ctx context.Context, now user) error {
		if now.storedHash() != verified.storedHash() {
			return nil
		}
		return s.DB.Gorm(ctx).Model(&now).Select("password_hash").Updates(user{PasswordHash: &renewed}).Error
	}
}

// Admission and account in one round trip: the attempt is counted whatever follows, and who is not admitted learns of no account.
var admitAndFind = "with a as materialized (select * from throttle_admit(cast(@keys as bytea[]), cast(@every as float8[]), cast(@bursts as float8[]))) " +
	"select greatest(a.wait, extract(epoch from p.shut_until - now())) as wait, a.tell, a.failures, " + columnsOf(&user{}, "u") + " from a " +
	"left join sprayed_passwords p on p.fingerprint = @fingerprint and p.shut_until > now() " +
	"left join users u on u.email = @email and a.wait <= 0 and p.fingerprint is null"

// noFingerprint is no password's.
const noFingerprint = -1

// admitLogin counts a sign-in, and returns the account it is for, nil where there is none, and how often it has failed of late. A password
// that is being tried on many accounts is refused like a try too many, unless it comes from the account's own remembered device.
func (s *Service) admitLogin(ctx context.Context, identifier, password, deviceToken string) (*user, int, error) {
	if s.throttle.off {
		u, err := s.findByEmail(ctx, identifier)
		return u, 0, err
	}
	device, err := s.deviceFor(ctx, identifier, deviceToken)
	if err != nil {
		return nil, 0, err
	}
	fingerprint := int32(noFingerprint)
	if device == uuid.Nil {
		fingerprint = s.throttle.fingerprint(password)
	}
	var found struct {
		Wait     float64
		Tell     bool
		Failures int
		User     user `gorm:"embedded;embeddedPrefix:u_"`
	}
	args := s.admissionArgs(ctx, throttleLogin, identifier, device)
	err = s.DB.Gorm(ctx).Raw(admitAndFind, map[string]any{"keys": args[0], "every": args[1], "bursts": args[2],
		"fingerprint": fingerprint, "email": identifier}).Scan(&found).Error
	if err != nil {
		return nil, 0, fmt.Errorf("find an account: %w", err)
	}
	if err := s.refusal(ctx, admission{found.Wait, found.Tell, found.Failures}, throttleLogin, identifier); err != nil {
		return nil, 0, err
	}
	if device != uuid.Nil {
		found.Failures++ // a device's own allowance does not know of any: they are forgotten without a look
	}
	if found.User.ID == uuid.Nil {
		return nil, found.Failures, nil
	}
	return &found.User, found.Failures, nil
}

const deviceForSQL = `select d.id from remembered_devices d join users u on u.id = d.user_id
where d.id = @id and d.hash = @hash and d.expires_at > @now and u.email = @email`

// deviceFor returns the device that is remembered for the account of that name, zero where token is none of its. It asks the same for an
// account that is not there: who makes a token up must not see by the time whether there is one.
func (s *Service) deviceFor(ctx context.Context, identifier, token string) (uuid.UUID, error) {
	id, secret, ok := decodeDeviceToken(token)
	if !ok {
		return uuid.Nil, nil
	}
	var found []uuid.UUID
	hash := sha256.Sum256(secret)
	err := s.DB.Gorm(ctx).Raw(deviceForSQL, map[string]any{"id": id, "hash": hash[:], "now": s.now(), "email": identifier}).Scan(&found).Error
	if err != nil || len(found) == 0 {
		return uuid.Nil, wrap(err, "look for a remembered device")
	}
	return found[0], nil
}

// columnsOf lists a model's columns, of the table known as alias, for scanning into a struct that embeds the model with the prefix
// alias_.
func columnsOf(model any, alias string) string {
	parsed, err := schema.Parse(model, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		panic(err) // a model of ours
	}
	names := make([]string, len(parsed.DBNames))
	for i, name := range parsed.DBNames {
		names[i] = alias + "." + name + " " + alias + "_" + name
	}
	return strings.Join(names, ", ")
}

// refuseLogin counts and records a password that was not the account's, or had none to be, or is a disabled account's. The caller
// learns nothing of the difference.
func (s *Service) refuseLogin(ctx context.Context, u *user, identifier, password string, right bool) error {
	if err := s.failedLogin(ctx, identifier, password); err != nil {
		return err
	}
	e := Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: "unknown_account", Identifier: identifier, AMR: amrPassword}
	switch {
	case u == nil:
	case right:
		e.UserID, e.Reason = u.ID, "disabled"
	default:
		e.UserID, e.Reason = u.ID, "wrong_password"
	}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return invalidCredentials
}

// findByEmail returns the account of an address, however it is written; nil where there is none.
func (s *Service) findByEmail(ctx context.Context, email string) (*user, error) {
	email, err := normaliseEmail(email)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // what is no address has no account
	}
	var u user
	err = s.DB.Gorm(ctx).Where("email = ?", email).Take(&u).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("find an account: %w", err)
	}
	return &u, nil
}

// lockUser reads u again, locked against changes; sessions may still refer to it.
func (s *Service) lockUser(ctx context.Context, u *user) (user, error) {
	var now user
	err := s.DB.Gorm(ctx).Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", u.ID).Take(&now).Error
	if err != nil {
		return user{}, fmt.Errorf("lock account %s: %w", u.ID, err)
	}
	return now, nil
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// wrap says what was being done when err came up, unless err is a refusal, which says it all.
func wrap(err error, doing string) error {
	if _, ok := fault.From(err); ok || err == nil {
		return err
	}
	return fmt.Errorf("%s: %w", doing, err)
}
