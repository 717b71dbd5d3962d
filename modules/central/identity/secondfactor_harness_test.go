package identity_test

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 6238 as authenticator apps know it
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// authenticator is an app that shows one-time codes, written from RFC 6238 rather than with the library the server uses.
type authenticator struct {
	clock    *movable
	secret   []byte
	last     int64 // the step of the last code that was asked for
	recovery []string
}

func (x *authenticator) at(step int64) string {
	mac := hmac.New(sha1.New, x.secret)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[offset:])&0x7fffffff)%1_000_000)
}

func (x *authenticator) step() int64 { return x.clock.now().Unix() / 30 }

// next is a code that was not shown before; it sets the clock forward where there is none yet.
func (x *authenticator) next() string {
	if now := x.step(); x.last < now {
		x.last = now
	} else {
		x.last++
		if x.last > now {
			x.clock.forward(time.Duration(x.last-now) * 30 * time.Second)
		}
	}
	return x.at(x.last)
}

// wrong is a code that is none of the window's.
func (x *authenticator) wrong() string {
	for i := 0; ; i++ {
		code, good := fmt.Sprintf("%06d", i), false
		for step := x.step() - 3; step <= x.step()+3; step++ {
			good = good || x.at(step) == code
		}
		if !good {
			return code
		}
	}
}

// start begins an enrolment and returns the app that has read it.
func start(t *testing.T, c apptest.Caller, clock *movable, proof any) *authenticator {
	t.Helper()
	got := c.Post(t, "/auth/two-factor", proof).Want(t, 200).Object(t)
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(got["secret"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return &authenticator{clock: clock, secret: secret}
}

// enrol sets an authenticator app up for somebody.
func enrol(t *testing.T, c apptest.Caller, clock *movable) *authenticator {
	t.Helper()
	x := start(t, c, clock, nil)
	var answer struct {
		RecoveryCodes []string `json:"recovery_codes"`
	}
	c.Post(t, "/auth/two-factor/confirm", map[string]any{"code": x.next()}).Want(t, 200).Into(t, &answer)
	x.recovery = answer.RecoveryCodes
	return x
}

// challenged signs in and returns a caller with the challenge token.
func challenged(t *testing.T, a *apptest.App, p *apptest.Person) apptest.Caller {
	t.Helper()
	var answer struct {
		Status string `json:"status"`
		Token  string `json:"challenge_token"`
	}
	login(t, a, p.Email, p.Password).Want(t, 200).Into(t, &answer)
	if answer.Status != "two_factor_required" || answer.Token == "" {
		t.Fatalf("the sign-in is %q", answer.Status)
	}
	return a.On("").As(answer.Token)
}

func answer(t *testing.T, c apptest.Caller, proof map[string]any) *apptest.Response {
	t.Helper()
	return c.Post(t, "/auth/two-factor/challenge", proof)
}

func code(c string) map[string]any         { return map[string]any{"code": c} }
func recoveryCode(c string) map[string]any { return map[string]any{"recovery_code": c} }

// signedIn signs in with both factors.
func signedIn(t *testing.T, a *apptest.App, p *apptest.Person, x *authenticator) apptest.Session {
	t.Helper()
	var s apptest.Session
	answer(t, challenged(t, a, p), code(x.next())).Want(t, 200).Into(t, &s)
	return s
}

// sessionsOf counts somebody's live sessions.
func sessionsOf(t *testing.T, a *apptest.App, p *apptest.Person) int {
	t.Helper()
	return count(t, a, "select count(*) from central.sessions where user_id = $1 and revoked_at is null", p.ID)
}
