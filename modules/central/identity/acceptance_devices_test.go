package identity_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth16_RememberedDevices(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))

	// remembering is somebody with an authenticator, a device that is remembered, and the session it was remembered in.
	remembering := func(t *testing.T) (p *apptest.Person, x *authenticator, device string, s apptest.Session) {
		t.Helper()
		p = a.SignUp(t)
		x = enrol(t, p.Caller, clock)
		var got struct {
			apptest.Session
			DeviceToken string `json:"device_token"`
		}
		answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true, "device_name": "Laptop kantor"}).Want(t, 200).Into(t, &got)
		return p, x, got.DeviceToken, got.Session
	}
	with := func(t *testing.T, p *apptest.Person, device string) *apptest.Response {
		t.Helper()
		return a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password, "device_token": device}).Want(t, 200)
	}
	spared := func(t *testing.T, p *apptest.Person, device string) bool {
		t.Helper()
		return with(t, p, device).Object(t)["status"] == "authenticated"
	}

	t.Run("are spared the second factor, and nobody else is", func(t *testing.T) {
		t.Parallel()
		p, _, device, s := remembering(t)
		raw := count(t, a, "select octet_length(hash) from central.remembered_devices where user_id = $1", p.ID)
		if len(device) < 64 || raw != 32 {
			t.Errorf("a token of %d characters, a hash of %d bytes", len(device), raw)
		}
		for range 2 {
			if !spared(t, p, device) {
				t.Error("it is asked again")
			}
		}
		if spared(t, p, "") || spared(t, p, device[:len(device)-4]+"AAAA") || spared(t, p, "x"+device) {
			t.Error("another is spared")
		}
		other := a.SignUp(t)
		enrol(t, other.Caller, clock)
		if spared(t, other, device) {
			t.Error("another's account is open to it")
		}
		login(t, a, p.Email, "kata sandi yang salah").Want(t, 401, "auth.invalid_credentials")
		a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": "kata sandi yang salah", "device_token": device}).Want(t, 401, "auth.invalid_credentials")

		list := a.On("").As(s.AccessToken).Get(t, "/auth/devices").Want(t, 200).List(t)
		if len(list) != 1 || list[0]["name"] != "Laptop kantor" || list[0]["ip"] != "127.0.0.1" || list[0]["last_used_at"].(string) < list[0]["created_at"].(string) {
			t.Errorf("%v", list)
		}
	})
	t.Run("never suffice for a step-up", func(t *testing.T) {
		t.Parallel()
		p, x, device, _ := remembering(t)
		var in apptest.Session
		with(t, p, device).Into(t, &in)
		c := a.On("").As(in.AccessToken)
		if amr := amrOf(t, a, in.AccessToken); amr != `["pwd"]` {
			t.Errorf("amr %s", amr)
		}
		for _, ask := range []func() *apptest.Response{
			func() *apptest.Response { return c.Post(t, "/auth/two-factor/recovery-codes", nil) },
			func() *apptest.Response { return c.Post(t, "/auth/two-factor", code(x.wrong())) },
			func() *apptest.Response { return c.Post(t, "/auth/passkeys/register/options", nil) },
			func() *apptest.Response { return c.Do(t, "DELETE", "/auth/two-factor", code(x.wrong())) },
		} {
			ask().Want(t, 403, "auth.step_up_required")
		}
		confirm := func(more map[string]any) *apptest.Response {
			more["password"] = p.Password
			return c.Post(t, "/auth/password/confirm", more)
		}
		confirm(map[string]any{}).WantField(t, "code") // the password is what signed in already
		confirm(code(x.wrong())).Want(t, 401, "auth.two_factor_invalid")
		c.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 403, "auth.step_up_required")
		confirm(code(x.next())).Want(t, 200)
		c.Post(t, "/auth/two-factor/recovery-codes", nil).Want(t, 200)
		if amr := amrOf(t, a, refreshed(t, a.On(""), in.RefreshToken).AccessToken); amr != `["pwd","otp","mfa"]` {
			t.Errorf("amr %s", amr)
		}
	})
	for what, end := range map[string]func(t *testing.T, p *apptest.Person, x *authenticator, s apptest.Session){
		"a new password": func(t *testing.T, p *apptest.Person, _ *authenticator, s apptest.Session) {
			next := "kata sandi yang sama sekali lain"
			a.On("").As(s.AccessToken).Put(t, "/auth/password", map[string]any{"current_password": p.Password, "password": next}).Want(t, 200)
			p.Password = next
		},
		"another second factor": func(t *testing.T, _ *apptest.Person, x *authenticator, s apptest.Session) {
			y := start(t, a.On("").As(s.AccessToken), clock, code(x.next()))
			a.On("").As(s.AccessToken).Post(t, "/auth/two-factor/confirm", code(y.next())).Want(t, 200)
		},
		"signing out everywhere": func(t *testing.T, _ *apptest.Person, _ *authenticator, s apptest.Session) {
			a.On("").As(s.AccessToken).Post(t, "/auth/logout-all", nil).Want(t, 200)
		},
		"a refresh token that is used again": func(t *testing.T, _ *apptest.Person, _ *authenticator, s apptest.Session) {
			next := refreshed(t, a.On(""), s.RefreshToken)
			refreshed(t, a.On(""), next.RefreshToken)
			refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_reused")
		},
		"hand": func(t *testing.T, p *apptest.Person, _ *authenticator, s apptest.Session) {
			c := a.On("").As(s.AccessToken)
			id := c.Get(t, "/auth/devices").Want(t, 200).List(t)[0]["id"].(string)
			a.SignUp(t).Delete(t, "/auth/devices/"+id).Want(t, 404)
			c.Delete(t, "/auth/devices/"+uuid.NewString()).Want(t, 404)
			c.Delete(t, "/auth/devices/"+id).Want(t, 200)
			c.Delete(t, "/auth/devices/"+id).Want(t, 404)
			if list := c.Get(t, "/auth/devices").Want(t, 200).List(t); len(list) != 0 {
				t.Errorf("%v", list)
			}
			if n := count(t, a, "select count(*) from central.sessions where user_id = $1 and revoked_at is null and device_id is not null", p.ID); n != 0 {
				t.Errorf("%d sessions that it opened live on", n)
			}
		},
	} {
		t.Run("are ended by "+what, func(t *testing.T) {
			t.Parallel()
			p, x, device, s := remembering(t)
			if !spared(t, p, device) {
				t.Fatal("it is not remembered")
			}
			end(t, p, x, s)
			if spared(t, p, device) {
				t.Error("it is still remembered")
			}
		})
	}
}

func TestAuth16_RememberedDevicesExpire(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p := a.SignUp(t)
	x := enrol(t, p.Caller, clock)
	device := answer(t, challenged(t, a, p), map[string]any{"code": x.next(), "remember_device": true}).Want(t, 200).Object(t)["device_token"]
	status := func() any {
		return a.On("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password, "device_token": device}).Want(t, 200).Object(t)["status"]
	}
	clock.forward(29 * 24 * time.Hour)
	if status() != "authenticated" {
		t.Error("before its time")
	}
	clock.forward(25 * time.Hour) // using it does not make it last longer
	if status() != "two_factor_required" {
		t.Error("after its time")
	}
	if err := a.Identity.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, a, "select count(*) from central.remembered_devices"); n != 0 {
		t.Errorf("%d are left", n)
	}
}
