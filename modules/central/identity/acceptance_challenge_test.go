package identity_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth11_LoginYieldsAChallengeTokenOnly(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	before := sessionsOf(t, a, p)

	got := login(t, a, p.Email, p.Password).Want(t, 200).Object(t)
	if got["status"] != "two_factor_required" || got["expires_in"] != 300.0 {
		t.Errorf("%v", got)
	}
	if methods := got["methods"].([]any); len(methods) != 2 || methods[0] != "totp" || methods[1] != "recovery_code" {
		t.Errorf("methods %v", methods)
	}
	for _, field := range []string{"access_token", "refresh_token", "user", "tenants", "device_token"} {
		if got[field] != nil {
			t.Errorf("a challenge comes with %s", field)
		}
	}
	if n := sessionsOf(t, a, p); n != before {
		t.Errorf("%d sessions, %d before the first factor", n, before)
	}

	t.Run("which everything else refuses", func(t *testing.T) {
		token := got["challenge_token"].(string)
		for _, o := range a.Router.Operations() {
			if o.Surface != "core" || o.Rule.String() == "public" {
				continue
			}
			path := strings.TrimPrefix(o.Path, "/api/v1")
			for strings.Contains(path, "{") {
				from, to := strings.Index(path, "{"), strings.Index(path, "}")
				path = path[:from] + uuid.NewString() + path[to+1:]
			}
			if r := a.On("").As(token).Do(t, o.Method, path, "{}"); r.Status != 401 || r.Code != "auth.unauthenticated" {
				t.Errorf("%s %s answers %d %s", o.Method, o.Path, r.Status, r.Code)
			}
		}
		refresh(t, a.On(""), token).Want(t, 401, "auth.refresh_invalid")
	})
	t.Run("and which opens a session with both factors", func(t *testing.T) {
		var s apptest.Session
		answer(t, a.On("").As(got["challenge_token"].(string)), code(x.next())).Want(t, 200).Into(t, &s)
		me := a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 200).Object(t)
		amr, _ := json.Marshal(me["session"].(map[string]any)["amr"])
		if string(amr) != `["pwd","otp","mfa"]` {
			t.Errorf("amr %s", amr)
		}
		if two := me["user"].(map[string]any)["two_factor"].(map[string]any); two["enabled"] != true || two["required"] != false {
			t.Errorf("%v", two)
		}
	})
}

func TestAuth11_FiveWrongCodesEndAChallenge(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)

	c := challenged(t, a, p)
	for range 4 {
		answer(t, c, code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
	}
	answer(t, c, code(x.next())).Want(t, 200) // the fifth may still be right

	c = challenged(t, a, p)
	for range 5 {
		answer(t, c, code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
	}
	good := x.next()
	answer(t, c, code(good)).Want(t, 401, "auth.two_factor_invalid")
	answer(t, c, recoveryCode(x.recovery[0])).Want(t, 401, "auth.two_factor_invalid")
	answer(t, challenged(t, a, p), code(good)).Want(t, 200) // a dead challenge has not used it up
	answer(t, challenged(t, a, p), recoveryCode(x.recovery[0])).Want(t, 200)

	t.Run("whatever number comes at once", func(t *testing.T) {
		c := challenged(t, a, p)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { answer(t, c, code(x.wrong())) })
		}
		wg.Wait()
		if n := count(t, a, "select max(attempts) from central.challenges where user_id = $1", p.ID); n != 5 {
			t.Errorf("%d answers were judged", n)
		}
		answer(t, c, code(x.next())).Want(t, 401, "auth.two_factor_invalid")
	})
}

func TestAuth11_TwoRightAnswersMakeOneSession(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	for round := range 5 {
		before := sessionsOf(t, a, p)
		c := challenged(t, a, p)
		// Two that are both right, and different: nothing but the challenge itself stands between them.
		proofs := []map[string]any{code(x.next()), recoveryCode(x.recovery[round])}
		statuses := make([]int, len(proofs))
		var wg sync.WaitGroup
		for i, proof := range proofs {
			wg.Go(func() { statuses[i] = answer(t, c, proof).Status })
		}
		wg.Wait()
		if n := sessionsOf(t, a, p) - before; n != 1 || statuses[0]+statuses[1] != 200+401 {
			t.Fatalf("%d sessions, answers %v", n, statuses)
		}
		answer(t, c, code(x.next())).Want(t, 401, "auth.two_factor_invalid") // single use
	}
}

func TestAuth11_EveryFailureLooksTheSame(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p, other := a.SignUp(t), a.SignUp(t)
	x, y := enrol(t, p.Caller, clock), enrol(t, other.Caller, clock)

	used := challenged(t, a, p)
	answer(t, used, code(x.next())).Want(t, 200)
	dead := challenged(t, a, p)
	for range 5 {
		answer(t, dead, code(x.wrong()))
	}
	reused := x.at(x.last)
	changed := challenged(t, a, other) // open while the factors change
	other.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200)

	bodies := map[string]string{}
	look := func(what string, r *apptest.Response) {
		t.Helper()
		r.Want(t, 401, "auth.two_factor_invalid")
		var body map[string]any
		if err := json.Unmarshal(r.Raw, &body); err != nil {
			t.Fatal(err)
		}
		delete(body, "request_id")
		delete(body, "timestamp")
		rest, _ := json.Marshal(body)
		bodies[string(rest)+r.Header.Get("WWW-Authenticate")] = what
	}
	look("a wrong code", answer(t, challenged(t, a, p), code(x.wrong())))
	look("a code of before", answer(t, challenged(t, a, p), code(reused)))
	look("letters", answer(t, challenged(t, a, p), code("abcdef")))
	look("a wrong recovery code", answer(t, challenged(t, a, p), recoveryCode("AAAA-BBBB-CCCC")))
	look("a void recovery code", answer(t, changed, recoveryCode(y.recovery[0])))
	look("another's recovery code", answer(t, challenged(t, a, p), recoveryCode(y.recovery[1])))
	look("no passkey", answer(t, challenged(t, a, p), map[string]any{"passkey": map[string]any{"ceremony": "x", "credential": map[string]any{}}}))
	look("a challenge that is used up", answer(t, used, code(x.next())))
	look("one that was answered wrongly five times", answer(t, dead, code(x.next())))
	look("an access token", answer(t, a.On("").As(p.AccessToken), code(x.next())))
	look("a refresh token", answer(t, a.On("").As(p.RefreshToken), code(x.next())))
	look("no token", answer(t, a.On(""), code(x.next())))
	expired := challenged(t, a, p)
	parts := strings.Split(expired.Token, ".")
	look("a forged token", answer(t, a.On("").As(parts[0]+"."+parts[1]+"."+strings.Repeat("A", len(parts[2]))), code(x.next())))
	clock.forward(5*time.Minute + time.Second)
	look("one that is over", answer(t, expired, code(x.next())))
	disabled := challenged(t, a, p)
	if err := a.Identity.Disable(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	look("a disabled account", answer(t, disabled, code(x.next())))
	if len(bodies) != 1 {
		t.Errorf("%v", bodies)
	}

	t.Run("what is no answer at all is not counted", func(t *testing.T) {
		c := challenged(t, a, other)
		for _, body := range []map[string]any{{}, {"code": "1", "recovery_code": "2"}, {"remember_device": true}} {
			answer(t, c, body).WantField(t, "code")
		}
		answer(t, c, map[string]any{"code": "1", "code2": "2"}).Want(t, http.StatusUnprocessableEntity)
		answer(t, c, code(y.next())).Want(t, 200)
	})
}
