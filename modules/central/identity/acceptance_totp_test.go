package identity_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	osexec "os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth12_CodeIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)

	enrolment := x.at(x.last)
	answer(t, challenged(t, a, p), code(enrolment)).Want(t, 401, "auth.two_factor_invalid") // the code that proved the app

	good := x.next()
	answer(t, challenged(t, a, p), code(good)).Want(t, 200)
	answer(t, challenged(t, a, p), code(good)).Want(t, 401, "auth.two_factor_invalid") // in a new challenge
	clock.forward(30 * time.Second)
	answer(t, challenged(t, a, p), code(good)).Want(t, 401, "auth.two_factor_invalid") // in the next step, inside the window

	t.Run("nor one older than the last, inside the window", func(t *testing.T) {
		clock.forward(2 * time.Minute)
		now := x.step()
		answer(t, challenged(t, a, p), code(x.at(now))).Want(t, 200)
		answer(t, challenged(t, a, p), code(x.at(now-1))).Want(t, 401, "auth.two_factor_invalid")
		answer(t, challenged(t, a, p), code(x.at(now+1))).Want(t, 200) // a clock that is fast
		answer(t, challenged(t, a, p), code(x.at(now))).Want(t, 401, "auth.two_factor_invalid")
		x.last = now + 1
	})
	t.Run("nor one outside the window", func(t *testing.T) {
		clock.forward(5 * time.Minute)
		now := x.step()
		answer(t, challenged(t, a, p), code(x.at(now-2))).Want(t, 401, "auth.two_factor_invalid")
		answer(t, challenged(t, a, p), code(x.at(now+2))).Want(t, 401, "auth.two_factor_invalid")
		answer(t, challenged(t, a, p), code(x.at(now-1))).Want(t, 200) // a slow typist
		x.last = now - 1
	})
	t.Run("with the blank that apps show", func(t *testing.T) {
		next := x.next()
		answer(t, challenged(t, a, p), code(next[:3]+" "+next[3:])).Want(t, 200)
	})
	t.Run("whatever it is used for", func(t *testing.T) {
		s := signedIn(t, a, p, x)
		used := x.at(x.last)
		a.On("").As(s.AccessToken).Post(t, "/auth/two-factor", code(used)).Want(t, 401, "auth.two_factor_invalid")
		next := x.next()
		a.On("").As(s.AccessToken).Post(t, "/auth/two-factor", code(next)).Want(t, 200)
		answer(t, challenged(t, a, p), code(next)).Want(t, 401, "auth.two_factor_invalid")
	})
}

func TestAuth12_FiftyInParallel(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	challenges := make([]apptest.Caller, 50)
	for i := range challenges {
		challenges[i] = challenged(t, a, p)
	}
	before, good := sessionsOf(t, a, p), x.next()
	var (
		wg       sync.WaitGroup
		accepted atomic.Int32
	)
	for _, c := range challenges {
		wg.Go(func() {
			if r := answer(t, c, code(good)); r.Status == 200 {
				accepted.Add(1)
			} else if r.Code != "auth.two_factor_invalid" {
				t.Errorf("%d %s", r.Status, r.Code)
			}
		})
	}
	wg.Wait()
	if n := sessionsOf(t, a, p) - before; n != 1 || accepted.Load() != 1 {
		t.Errorf("%d sessions, %d accepted", n, accepted.Load())
	}
}

func TestAuth12_InteroperatesWithOathtool(t *testing.T) {
	t.Parallel()
	tool, err := osexec.LookPath("oathtool")
	if err != nil {
		t.Skip("oathtool is not installed (Debian's package of that name; .ci/run installs it)")
	}
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	started := p.Post(t, "/auth/two-factor", nil).Want(t, 200).Object(t)
	shown := func(at time.Time) string {
		out, err := osexec.CommandContext(t.Context(), tool, "--totp", "--base32", "--now", at.UTC().Format("2006-01-02 15:04:05 UTC"),
			started["secret"].(string)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	p.Post(t, "/auth/two-factor/confirm", code(shown(clock.now()))).Want(t, 200)
	for range 5 {
		clock.forward(time.Hour + 30*time.Second)
		answer(t, challenged(t, a, p), code(shown(clock.now()))).Want(t, 200)
	}
}

func TestAuth13_SecretIsSealedAndShownOnce(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	log := &lockedBuffer{}
	a := apptest.New(t, apptest.WithClock(clock.now), apptest.WithLog(log))
	p := a.SignUp(t)
	started := p.Post(t, "/auth/two-factor", nil).Want(t, 200).Object(t)
	text := started["secret"].(string)
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(secret) != 20 {
		t.Fatalf("%d bytes, %v", len(secret), err)
	}
	if url := started["otpauth_url"].(string); !strings.HasPrefix(url, "otpauth://totp/Garment.id:") || !strings.Contains(url, "secret="+text) ||
		!strings.Contains(url, "issuer=Garment.id") {
		t.Errorf("%s", url)
	}
	if svg := started["qr_svg"].(string); !strings.HasPrefix(svg, "<svg ") || !strings.HasSuffix(svg, "</svg>") || strings.Contains(svg, text) {
		t.Errorf("%.60s", svg)
	}
	x := &authenticator{clock: clock, secret: secret}
	for lang, want := range map[string]string{"id": "Kode salah. Masukkan kode yang kini ditampilkan aplikasi Anda.", "en": "The code is not right. Enter the one that your app shows now."} {
		if r := p.Post(t, "/auth/two-factor/confirm?lang="+lang, code(x.wrong())).Want(t, 401, "auth.two_factor_invalid"); r.Message != want {
			t.Errorf("%s", r.Message)
		}
	}
	answered := p.Post(t, "/auth/two-factor/confirm", code(x.next())).Want(t, 200)
	if strings.Contains(string(answered.Raw), text) {
		t.Error("the answer to the confirmation repeats the secret")
	}
	p.Post(t, "/auth/two-factor/confirm", code(x.next())).Want(t, 409, "auth.two_factor_not_started")
	if me := p.Get(t, "/auth/me").Want(t, 200); strings.Contains(string(me.Raw), text) {
		t.Error("me shows the secret")
	}

	var sealed []byte
	if err := connect(t, a).QueryRow(t.Context(), "select secret from central.totp_factors where user_id = $1", p.ID).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	if sealed[0] != 1 || bytes.Contains(sealed, secret) { // a version, the key's id of four bytes, then the cipher text
		t.Errorf("%x", sealed[:5])
	}
	t.Run("a dump and the log hold neither secret nor codes", func(t *testing.T) {
		var codes struct {
			RecoveryCodes []string `json:"recovery_codes"`
		}
		answered.Into(t, &codes)
		remembered := answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)
		token := remembered["device_token"].(string)
		dump := rowsOf(t, a, "users", "totp_factors", "totp_enrolments", "recovery_codes", "challenges", "remembered_devices", "sessions") + log.String()
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		for what, needle := range map[string]string{
			"secret": text, "secret in hex": hex.EncodeToString(secret), "recovery code": codes.RecoveryCodes[0],
			"recovery code without dashes": strings.ReplaceAll(codes.RecoveryCodes[0], "-", ""), "device token": token,
			"device secret": hex.EncodeToString(raw[17:]),
		} {
			if strings.Contains(dump, needle) {
				t.Errorf("the %s is there", what)
			}
		}
	})
	t.Run("another server's key does not open it", func(t *testing.T) {
		changed := exec(t, a, "update central.totp_factors set secret = set_byte(secret, 1, (get_byte(secret, 1) + 1) % 256) where user_id = $1", p.ID)
		if changed != 1 {
			t.Fatal(changed)
		}
		answer(t, challenged(t, a, p), code(x.next())).Want(t, 500, "server.error")
	})
}

func TestAuth13_RecoveryCodes(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)

	t.Run("ten, of letters nobody mistakes", func(t *testing.T) {
		seen := map[string]bool{}
		for _, c := range x.recovery {
			seen[c] = true
			if len(c) != 14 || strings.Trim(c, "23456789ABCDEFGHJKLMNPQRSTUVWXYZ-") != "" {
				t.Errorf("%q", c)
			}
		}
		if len(seen) != 10 || count(t, a, "select count(*) from central.recovery_codes where user_id = $1", p.ID) != 10 {
			t.Errorf("%v", x.recovery)
		}
	})
	t.Run("good once each, however typed; using one says how many are left", func(t *testing.T) {
		for i, typed := range []string{
			x.recovery[0], strings.ToLower(x.recovery[1]), strings.ReplaceAll(x.recovery[2], "-", ""), " " + strings.ReplaceAll(strings.ToLower(x.recovery[3]), "-", " ") + " ",
		} {
			got := answer(t, challenged(t, a, p), recoveryCode(typed)).Want(t, 200).Object(t)
			if got["recovery_codes_left"] != float64(9-i) {
				t.Errorf("left %v", got["recovery_codes_left"])
			}
			answer(t, challenged(t, a, p), recoveryCode(x.recovery[i])).Want(t, 401, "auth.two_factor_invalid")
		}
		mails := letters(t, a, p.Email, 5) // two-factor is on; four codes used
		left := map[string]bool{}
		for _, l := range mails {
			for _, n := range []string{"9", "8", "7", "6"} {
				if strings.Contains(l.Subject, "pemulihan") && strings.Contains(l.Text, "tersisa "+n) {
					left[n] = true
				}
			}
		}
		if len(left) != 4 {
			t.Errorf("the mails tell of %v left", left)
		}
	})
	t.Run("new ones void the old", func(t *testing.T) {
		s := signedIn(t, a, p, x)
		var fresh struct {
			RecoveryCodes []string `json:"recovery_codes"`
		}
		a.On("").As(s.AccessToken).Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200).Into(t, &fresh)
		answer(t, challenged(t, a, p), recoveryCode(x.recovery[5])).Want(t, 401, "auth.two_factor_invalid")
		if got := answer(t, challenged(t, a, p), recoveryCode(fresh.RecoveryCodes[0])).Want(t, 200).Object(t); got["recovery_codes_left"] != 9.0 {
			t.Errorf("%v", got["recovery_codes_left"])
		}
		x.recovery = fresh.RecoveryCodes
		clock.forward(time.Hour)
		var later apptest.Session
		refresh(t, a.On(""), s.RefreshToken).Want(t, 200).Into(t, &later)
		a.On("").As(later.AccessToken).Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 403, "auth.step_up_required")
	})
	t.Run("once under fifty parallel tries", func(t *testing.T) {
		challenges := make([]apptest.Caller, 50)
		for i := range challenges {
			challenges[i] = challenged(t, a, p)
		}
		before := sessionsOf(t, a, p)
		var (
			wg       sync.WaitGroup
			accepted atomic.Int32
		)
		for _, c := range challenges {
			wg.Go(func() {
				if answer(t, c, recoveryCode(x.recovery[1])).Status == 200 {
					accepted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := sessionsOf(t, a, p) - before; n != 1 || accepted.Load() != 1 {
			t.Errorf("%d sessions, %d accepted", n, accepted.Load())
		}
	})
	t.Run("none without a second factor", func(t *testing.T) {
		a.SignUp(t).Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 409, "auth.two_factor_off")
	})
}

// rowsOf is all rows of tables of schema central, as text.
func rowsOf(t *testing.T, a *apptest.App, tables ...string) string {
	t.Helper()
	var b strings.Builder
	conn := connect(t, a)
	for _, table := range tables {
		var rows json.RawMessage
		if err := conn.QueryRow(t.Context(), "select coalesce(jsonb_agg(to_jsonb(r)), '[]') from central."+table+" r").Scan(&rows); err != nil {
			t.Fatal(err)
		}
		b.Write(rows)
	}
	return b.String()
}
