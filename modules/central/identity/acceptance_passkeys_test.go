package identity_test

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// passkey is an authenticator written in software, with one credential.
type passkey struct {
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	cred virtualwebauthn.Credential
}

func newPasskey(owner uuid.UUID) *passkey {
	return &passkey{
		rp:   virtualwebauthn.RelyingParty{ID: "localhost", Name: "Garment.id", Origin: "http://" + apptest.BaseHost},
		auth: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: owner[:]}),
		cred: newCredential(),
	}
}

// newCredential makes one whose coordinates both begin with no zero byte: the library leaves that out, and one key in 128 is refused for it.
func newCredential() virtualwebauthn.Credential {
	const whole = 77 // bytes of a COSE key with two coordinates of 32
	for {
		if c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}

// begin asks for options, and returns their ceremony and what the authenticator is given.
func begin(t *testing.T, c apptest.Caller, path string) (ceremony, options string) {
	t.Helper()
	return optionsOf(t, c.Post(t, path, nil))
}

func optionsOf(t *testing.T, r *apptest.Response) (ceremony, options string) {
	t.Helper()
	var got struct {
		Ceremony  string          `json:"ceremony"`
		PublicKey json.RawMessage `json:"public_key"`
	}
	r.Want(t, 200).Into(t, &got)
	return got.Ceremony, string(got.PublicKey)
}

// made is what the browser makes of options for a new passkey.
func (k *passkey) made(t *testing.T, ceremony, options string) map[string]any {
	t.Helper()
	parsed, err := virtualwebauthn.ParseAttestationOptions(options)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"ceremony": ceremony, "credential": json.RawMessage(virtualwebauthn.CreateAttestationResponse(k.rp, k.auth, k.cred, *parsed))}
}

// register adds it to the caller's account; proof is the current second factor, nil where there is none.
func (k *passkey) register(t *testing.T, c apptest.Caller, proof any) *apptest.Response {
	t.Helper()
	ceremony, options := optionsOf(t, c.Post(t, "/auth/passkeys/register/options", proof))
	body := k.made(t, ceremony, options)
	body["name"] = "Kunci kantor"
	return c.Post(t, "/auth/passkeys", body)
}

// used is what the browser makes of options for using it; each use counts.
func (k *passkey) used(t *testing.T, ceremony, options string) map[string]any {
	t.Helper()
	parsed, err := virtualwebauthn.ParseAssertionOptions(options)
	if err != nil {
		t.Fatal(err)
	}
	k.cred.Counter++
	return map[string]any{"ceremony": ceremony, "credential": json.RawMessage(virtualwebauthn.CreateAssertionResponse(k.rp, k.auth, k.cred, *parsed))}
}

func (k *passkey) login(t *testing.T, c apptest.Caller) *apptest.Response {
	t.Helper()
	ceremony, options := begin(t, c, "/auth/passkeys/login/options")
	return c.Post(t, "/auth/passkeys/login", k.used(t, ceremony, options))
}

// proof is the passkey as a second factor, of a challenge or of an access token.
func (k *passkey) proof(t *testing.T, c apptest.Caller) map[string]any {
	t.Helper()
	ceremony, options := begin(t, c, "/auth/two-factor/passkey/options")
	return map[string]any{"passkey": k.used(t, ceremony, options)}
}

func TestPasskeys_SecondFactor(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	older := p.Session
	p.SignIn(t)
	k := newPasskey(p.ID)
	added := k.register(t, p.Caller, nil).Want(t, 201).Object(t)
	if codes := added["recovery_codes"].([]any); len(codes) != 10 { // it is the first second factor
		t.Errorf("%v", added)
	}
	refresh(t, a.On(""), older.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	letters(t, a, p.Email, 1)

	got := login(t, a, p.Email, p.Password).Want(t, 200).Object(t)
	if methods, _ := json.Marshal(got["methods"]); string(methods) != `["recovery_code","passkey"]` {
		t.Errorf("%s", methods)
	}
	c := a.On("").As(got["challenge_token"].(string))
	proof := k.proof(t, c)
	var s apptest.Session
	answer(t, c, proof).Want(t, 200).Into(t, &s)
	if amr := amrOf(t, a, s.AccessToken); amr != `["pwd","hwk","mfa"]` {
		t.Errorf("amr %s", amr)
	}
	answer(t, c, proof).Want(t, 401, "auth.two_factor_invalid")

	t.Run("of one challenge only", func(t *testing.T) {
		one, other := challenged(t, a, p), challenged(t, a, p)
		proof := k.proof(t, one)
		answer(t, other, proof).Want(t, 401, "auth.two_factor_invalid")
		answer(t, one, proof).Want(t, 200)
		loginCeremony, options := begin(t, a.On(""), "/auth/passkeys/login/options")
		answer(t, other, map[string]any{"passkey": k.used(t, loginCeremony, options)}).Want(t, 401, "auth.two_factor_invalid")
	})
	t.Run("another's is none", func(t *testing.T) {
		q := a.SignUp(t)
		theirs := newPasskey(q.ID)
		theirs.register(t, q.Caller, nil).Want(t, 201)
		c := challenged(t, a, p)
		ceremony, options := begin(t, c, "/auth/two-factor/passkey/options")
		answer(t, c, map[string]any{"passkey": theirs.used(t, ceremony, options)}).Want(t, 401, "auth.two_factor_invalid")
	})
	t.Run("without its user's PIN it is a second factor still, and no way in", func(t *testing.T) {
		k.auth.Options.UserNotVerified = true
		defer func() { k.auth.Options.UserNotVerified = false }()
		c := challenged(t, a, p)
		answer(t, c, k.proof(t, c)).Want(t, 200)
		k.login(t, a.On("")).Want(t, 401, "auth.passkey_invalid")
	})
	t.Run("it is the current factor where one is asked for", func(t *testing.T) {
		me := a.On("").As(s.AccessToken)
		me.Post(t, "/auth/two-factor", nil).WantField(t, "code")
		x := start(t, me, clock, k.proof(t, me))
		me.Post(t, "/auth/two-factor/confirm", code(x.next())).Want(t, 200)
		me.Do(t, "DELETE", "/auth/two-factor", k.proof(t, me)).Want(t, 200)
		challenged(t, a, p) // the passkey is left
	})
	t.Run("taking off the last one turns two-factor off", func(t *testing.T) {
		me := a.On("").As(s.AccessToken)
		list := me.Get(t, "/auth/passkeys").Want(t, 200).List(t)
		if len(list) != 1 || list[0]["last_used_at"] == nil {
			t.Fatalf("%v", list)
		}
		id := list[0]["id"].(string)
		a.SignUp(t).Delete(t, "/auth/passkeys/"+id).Want(t, 404)
		me.Delete(t, "/auth/passkeys/"+id).WantField(t, "code") // the current factor, as for turning it off in one go
		me.Do(t, "DELETE", "/auth/passkeys/"+id, recoveryCode("AAAA-BBBB-CCCC")).Want(t, 401, "auth.two_factor_invalid")
		me.Do(t, "DELETE", "/auth/passkeys/"+id, k.proof(t, me)).Want(t, 200)
		me.Delete(t, "/auth/passkeys/"+id).Want(t, 404)
		if got := login(t, a, p.Email, p.Password).Want(t, 200).Object(t); got["status"] != "authenticated" {
			t.Errorf("%v", got["status"])
		}
		k.login(t, a.On("")).Want(t, 401, "auth.passkey_invalid")
	})
}

func TestPasskeys_WayIn(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	p.Onboard(t, "rapi-jahit")
	k := newPasskey(p.ID)
	k.register(t, p.Caller, nil).Want(t, 201)

	var s apptest.Session
	k.login(t, a.On("")).Want(t, 200).Into(t, &s)
	if amr := amrOf(t, a, s.AccessToken); amr != `["hwk","user","mfa"]` { // two factors at once: no challenge
		t.Errorf("amr %s", amr)
	}
	a.On("").As(s.AccessToken).Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200)

	t.Run("on every subdomain", func(t *testing.T) {
		k.rp.Origin = "http://rapi-jahit." + apptest.BaseHost
		defer func() { k.rp.Origin = "http://" + apptest.BaseHost }()
		k.login(t, a.On("rapi-jahit")).Want(t, 200)
	})
	t.Run("nowhere else", func(t *testing.T) {
		defer func(rp virtualwebauthn.RelyingParty) { k.rp = rp }(k.rp)
		for _, origin := range []string{"https://evil.example", "http://localhost.evil.example", "http://evillocalhost:8080", "https://" + apptest.BaseHost,
			"http://x@" + apptest.BaseHost, "http://" + apptest.BaseHost + "/x", "null", ""} {
			k.rp.Origin = origin
			k.login(t, a.On("")).Want(t, 401, "auth.passkey_invalid")
		}
		k.rp = virtualwebauthn.RelyingParty{ID: "evil.example", Origin: "http://" + apptest.BaseHost}
		k.login(t, a.On("")).Want(t, 401, "auth.passkey_invalid")
	})
	t.Run("an assertion is good once, also in parallel", func(t *testing.T) {
		ceremony, options := begin(t, a.On(""), "/auth/passkeys/login/options")
		body := k.used(t, ceremony, options)
		before := sessionsOf(t, a, p)
		var (
			wg       sync.WaitGroup
			accepted atomic.Int32
		)
		for range 20 {
			wg.Go(func() {
				if a.On("").Post(t, "/auth/passkeys/login", body).Status == 200 {
					accepted.Add(1)
				}
			})
		}
		wg.Wait()
		if n := sessionsOf(t, a, p) - before; n != 1 || accepted.Load() != 1 {
			t.Errorf("%d sessions, %d accepted", n, accepted.Load())
		}
	})
	t.Run("a counter that does not grow is a copy's", func(t *testing.T) {
		k.cred.Counter -= 2
		k.login(t, a.On("")).Want(t, 401, "auth.passkey_invalid")
		k.cred.Counter += 2
		k.login(t, a.On("")).Want(t, 200)
	})
	t.Run("every failure looks the same", func(t *testing.T) {
		bodies := map[string]string{}
		look := func(what string, body map[string]any) {
			t.Helper()
			r := a.On("").Post(t, "/auth/passkeys/login", body).Want(t, 401, "auth.passkey_invalid")
			bodies[r.Message] = what
		}
		fresh := func(k *passkey) map[string]any {
			ceremony, options := begin(t, a.On(""), "/auth/passkeys/login/options")
			return k.used(t, ceremony, options)
		}
		look("a credential nobody has", fresh(newPasskey(p.ID)))
		stranger := newPasskey(uuid.New())
		look("an account that is not there", fresh(stranger))
		wrongHandle := *k
		other := a.SignUp(t)
		wrongHandle.auth.Options.UserHandle = other.ID[:]
		look("another's handle", fresh(&wrongHandle))
		forged := *k
		forged.cred.Key = newCredential().Key
		look("a forged signature", fresh(&forged))
		ceremony, _ := begin(t, a.On(""), "/auth/passkeys/login/options")
		_, options := begin(t, a.On(""), "/auth/passkeys/login/options")
		look("another ceremony's", k.used(t, ceremony, options))
		mine, options := optionsOf(t, p.Post(t, "/auth/passkeys/register/options", k.proof(t, p.Caller)))
		look("a registration's", map[string]any{"ceremony": mine, "credential": json.RawMessage(`{}`)})
		look("nothing of ours", map[string]any{"ceremony": strings.Repeat("A", 100), "credential": map[string]any{"id": "x"}})
		late := fresh(k)
		clock.forward(5*time.Minute + time.Second)
		look("late", late)
		_ = options
		disabled := newPasskey(other.ID)
		disabled.register(t, other.Caller, nil).Want(t, 201)
		if err := a.Identity.Disable(t.Context(), other.ID); err != nil {
			t.Fatal(err)
		}
		look("a disabled account", fresh(disabled))
		if len(bodies) != 1 {
			t.Errorf("%v", bodies)
		}
	})
}

func TestPasskeys_Registration(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p, q := a.SignUp(t), a.SignUp(t)
	k := newPasskey(p.ID)
	ceremony, options := begin(t, p.Caller, "/auth/passkeys/register/options")
	body := k.made(t, ceremony, options)
	q.Post(t, "/auth/passkeys", body).Want(t, 422, "auth.passkey_refused") // begun by somebody else
	a.On("").Post(t, "/auth/passkeys", body).Want(t, 401)
	p.Post(t, "/auth/passkeys", body).Want(t, 201)
	p.Post(t, "/auth/passkeys", body).Want(t, 422, "auth.passkey_refused") // once
	k.register(t, p.Caller, k.proof(t, p.Caller)).Want(t, 409, "auth.passkey_known")
	k.register(t, q.Caller, nil).Want(t, 409, "auth.passkey_known") // nobody takes another's over

	foreign := newPasskey(p.ID)
	foreign.rp.Origin = "https://evil.example"
	foreign.register(t, p.Caller, k.proof(t, p.Caller)).Want(t, 422, "auth.passkey_refused")
	p.Post(t, "/auth/passkeys/register/options", nil).WantField(t, "code") // another way in wants the factor that is there
	second := newPasskey(p.ID)
	if got := second.register(t, p.Caller, k.proof(t, p.Caller)).Want(t, 201).Object(t); got["recovery_codes"] != nil {
		t.Error("the second brings recovery codes")
	}
	if dump := rowsOf(t, a, "passkeys"); strings.Contains(dump, "publicKey") {
		t.Error("credentials are not sealed")
	}
	late, options := optionsOf(t, p.Post(t, "/auth/passkeys/register/options", k.proof(t, p.Caller)))
	third := newPasskey(p.ID)
	clock.forward(6 * time.Minute)
	p.Post(t, "/auth/passkeys", third.made(t, late, options)).Want(t, 422, "auth.passkey_refused")

	clock.forward(10 * time.Minute)
	s := refreshed(t, a.On(""), p.RefreshToken)
	c := a.On("").As(s.AccessToken)
	c.Post(t, "/auth/passkeys/register/options", nil).Want(t, 403, "auth.step_up_required")
	id := c.Get(t, "/auth/passkeys").Want(t, 200).List(t)[0]["id"].(string)
	c.Delete(t, "/auth/passkeys/"+id).Want(t, 403, "auth.step_up_required")
}

// Not everybody has a password to confirm.
func TestPasskeys_StepUp(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	k := newPasskey(p.ID)
	k.register(t, p.Caller, nil).Want(t, 201)
	exec(t, a, "update central.users set password_hash = null where id = $1", p.ID)
	var s apptest.Session
	k.login(t, a.On("")).Want(t, 200).Into(t, &s)
	clock.forward(16 * time.Minute)
	me := a.On("").As(refreshed(t, a.On(""), s.RefreshToken).AccessToken)
	changing := func() *apptest.Response {
		return me.Put(t, "/auth/password", map[string]any{"password": "kata sandi yang sama sekali lain"})
	}
	confirm := func(c apptest.Caller) *apptest.Response {
		ceremony, options := begin(t, c, "/auth/passkeys/confirm/options")
		return c.Post(t, "/auth/passkeys/confirm", k.used(t, ceremony, options))
	}
	changing().Want(t, 403, "auth.step_up_required")

	t.Run("not without its user's PIN", func(t *testing.T) {
		k.auth.Options.UserNotVerified = true
		defer func() { k.auth.Options.UserNotVerified = false }()
		confirm(me).Want(t, 401, "auth.passkey_invalid")
	})
	t.Run("not by a ceremony of another session, or for something else", func(t *testing.T) {
		var other apptest.Session
		k.login(t, a.On("")).Want(t, 200).Into(t, &other)
		ceremony, options := begin(t, a.On("").As(other.AccessToken), "/auth/passkeys/confirm/options")
		me.Post(t, "/auth/passkeys/confirm", k.used(t, ceremony, options)).Want(t, 401, "auth.passkey_invalid")
		me.Post(t, "/auth/passkeys/confirm", k.proof(t, me)["passkey"]).Want(t, 401, "auth.passkey_invalid")
		changing().Want(t, 403, "auth.step_up_required")
	})
	ceremony, options := begin(t, me, "/auth/passkeys/confirm/options")
	proof := k.used(t, ceremony, options)
	if got := me.Post(t, "/auth/passkeys/confirm", proof).Want(t, 200).Object(t); got["expires_in"] != 900.0 {
		t.Errorf("%v", got)
	}
	me.Post(t, "/auth/passkeys/confirm", proof).Want(t, 401, "auth.passkey_invalid") // once
	changing().Want(t, 200)
	clock.forward(16 * time.Minute)
	me.Post(t, "/auth/two-factor", nil).Want(t, 401, "auth.token_expired")
	a.SignUp(t).Post(t, "/auth/passkeys/confirm/options", nil).Want(t, 404, "resource.not_found")

	t.Run("on a session that a remembered device opened, it is the second factor too", func(t *testing.T) {
		q := a.SignUp(t)
		k := newPasskey(q.ID)
		k.register(t, q.Caller, nil).Want(t, 201)
		c := challenged(t, a, q)
		proof := k.proof(t, c)
		proof["remember_device"] = true
		device := answer(t, c, proof).Want(t, 200).Object(t)["device_token"]
		var in apptest.Session
		a.On("").Post(t, "/auth/login", map[string]any{"email": q.Email, "password": q.Password, "device_token": device}).Want(t, 200).Into(t, &in)
		me := a.On("").As(in.AccessToken)
		me.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 403, "auth.step_up_required")
		ceremony, options := begin(t, me, "/auth/passkeys/confirm/options")
		me.Post(t, "/auth/passkeys/confirm", k.used(t, ceremony, options)).Want(t, 200)
		me.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200)
		if amr := amrOf(t, a, refreshed(t, a.On(""), in.RefreshToken).AccessToken); amr != `["pwd","hwk","mfa"]` {
			t.Errorf("amr %s", amr)
		}
	})
}
