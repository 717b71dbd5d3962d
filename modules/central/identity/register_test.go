package identity_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)

	t.Run("makes an account that its mail verifies", func(t *testing.T) {
		t.Parallel()
		register(t, a, "Siti", " Siti@Example.com", password)
		mail := letters(t, a, "siti@example.com", 1)[0]
		var me struct {
			User struct {
				Email         string
				EmailVerified bool `json:"email_verified"`
			}
		}
		var s apptest.Session
		login(t, a, "siti@example.com", password).Want(t, 200).Into(t, &s)
		a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 200).Into(t, &me)
		if me.User.EmailVerified {
			t.Error("verified without a mail")
		}
		if verify(t, a, mail.token(t)).Want(t, 200).Object(t)["verified"] != true {
			t.Error("not verified")
		}
		a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 200).Into(t, &me)
		if !me.User.EmailVerified || me.User.Email != "siti@example.com" {
			t.Errorf("%+v", me)
		}
	})
	t.Run("answers alike for a known address and tells its owner by mail", func(t *testing.T) {
		t.Parallel()
		known := a.SignUp(t)
		first := register(t, a, "Orang Lain", "baru@example.com", password)
		second := register(t, a, "Orang Lain", strings.ToUpper(known.Email), password)
		if string(first.Data) != string(second.Data) {
			t.Errorf("%s and %s", first.Data, second.Data)
		}
		if got := letters(t, a, known.Email, 1)[0]; got.Subject != "Anda sudah memiliki akun" {
			t.Errorf("%q", got.Subject)
		}
		login(t, a, known.Email, known.Password).Want(t, 200)
	})
	t.Run("makes one row of 50 at once", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { register(t, a, "Budi", []string{"A@balapan.id", "a@BALAPAN.id"}[i%2], password) })
		}
		wg.Wait()
		if n := count(t, a, "select count(*) from central.users where email = 'a@balapan.id'"); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
	t.Run("says all that is wrong, in both languages, and not the password", func(t *testing.T) {
		t.Parallel()
		for lang, want := range map[string]string{"id": "minimal 12", "en": "at least 12"} {
			r := a.On("").Post(t, "/auth/register?lang="+lang, map[string]any{"name": "a\nb", "email": "siapa", "password": "sebelas-11!"})
			r.WantField(t, "name").WantField(t, "email").WantField(t, "password")
			if !strings.Contains(r.Errors["password"][0], want) || strings.Contains(string(r.Raw), "sebelas") {
				t.Errorf("%s", r.Raw)
			}
		}
	})
	t.Run("takes 12 to 1,024 bytes of any Unicode", func(t *testing.T) {
		t.Parallel()
		for i, pass := range []string{"日本語日本語日本語日本語", strings.Repeat("x", 1024), "            ", "rt7mq2xz9pkw"} {
			email := fmt.Sprintf("unicode%d@example.com", i)
			register(t, a, "Siti", email, pass)
			login(t, a, email, pass).Want(t, 200)
			login(t, a, email, pass+"x").Want(t, 401, "auth.invalid_credentials")
		}
		a.On("").Post(t, "/auth/register", map[string]any{"name": "Siti", "email": "x@example.com", "password": strings.Repeat("x", 1025)}).WantField(t, "password")
	})
	t.Run("gives an unverified address to who opens the mail, not to who came first", func(t *testing.T) {
		t.Parallel()
		const email, attackers = "korban@example.com", "milik penyerang 123"
		register(t, a, "Penyerang", email, attackers)
		var s apptest.Session
		login(t, a, email, attackers).Want(t, 200).Into(t, &s)
		register(t, a, "Korban", email, password)
		mails := letters(t, a, email, 2)
		verify(t, a, mails[1].token(t)).Want(t, 200)

		login(t, a, email, attackers).Want(t, 401, "auth.invalid_credentials")
		a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
		refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		login(t, a, email, password).Want(t, 200)
		verify(t, a, mails[0].token(t)).Want(t, 200) // verified already: changes nothing
		login(t, a, email, password).Want(t, 200)
	})
}

func TestVerifyEmail(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	link := func(t *testing.T, email string) string {
		t.Helper()
		register(t, a, "Siti", email, password)
		return letters(t, a, email, 1)[0].token(t)
	}

	t.Run("may be opened by scanners, twice, and opens no session", func(t *testing.T) {
		token := link(t, "pindai@example.com")
		for _, method := range []string{"HEAD", "GET", "HEAD", "GET"} {
			if r := a.On("").Do(t, method, "/auth/email/verify?token="+token, nil); r.Status != 200 || len(r.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s: %d", method, r.Status)
			}
		}
		if n := count(t, a, "select count(*) from central.sessions"); n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
	t.Run("sends a browser on, without the token", func(t *testing.T) {
		token := link(t, "peramban@example.com")
		const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		for given, want := range map[string]string{token: "http://localhost:8080/?verified=1", token + "x": "http://localhost:8080/?verified=0"} {
			r := verify(t, a, given, "Accept", browser, "Host", "evil.example").Want(t, 303)
			if r.Header.Get("Location") != want {
				t.Errorf("to %q, want %q", r.Header.Get("Location"), want)
			}
		}
	})
	t.Run("refuses a token that was altered, or is for another address by now", func(t *testing.T) {
		token := link(t, "pindah@example.com")
		for _, bad := range []string{"", "x", token[1:], token[:len(token)-2] + "AA", strings.Repeat("A", len(token))} {
			verify(t, a, bad).Want(t, 422)
		}
		verified := link(t, "sudah@example.com")
		verify(t, a, verified).Want(t, 200)
		exec(t, a, "update central.users set email = 'lain-' || email where email in ('pindah@example.com', 'sudah@example.com')")
		verify(t, a, token).Want(t, 422, "auth.link_invalid")
		verify(t, a, verified).Want(t, 422, "auth.link_invalid")
	})
	t.Run("refuses an expired one until another is sent", func(t *testing.T) {
		token := link(t, "telat@example.com")
		clock.forward(49 * time.Hour)
		verify(t, a, token).Want(t, 422, "auth.link_invalid")
		a.On("").Post(t, "/auth/email/resend", map[string]any{"email": "Telat@example.com"}).Want(t, 202)
		verify(t, a, letters(t, a, "telat@example.com", 2)[1].token(t)).Want(t, 200)
	})
	t.Run("resend answers alike for every address and sends once a minute", func(t *testing.T) {
		link(t, "ulang@example.com")
		known := a.SignUp(t)
		var answers []string
		for _, email := range []string{"ulang@example.com", "ulang@example.com", known.Email, "tidakada@example.com"} {
			answers = append(answers, string(a.On("").Post(t, "/auth/email/resend", map[string]any{"email": email}).Want(t, 202).Data))
		}
		for _, answer := range answers {
			if answer != answers[0] {
				t.Errorf("%v", answers)
			}
		}
		letters(t, a, "ulang@example.com", 2)
		if n := count(t, a, "select count(*) from central.river_job where args->>'letter' = 'verify_resent' and args->>'user_id' = "+
			"(select id::text from central.users where email = 'ulang@example.com')"); n != 1 {
			t.Errorf("%d mails queued", n)
		}
		if got := letters(t, a, known.Email, 1)[0]; got.Subject != "Alamat email Anda sudah diverifikasi" || len(got.Links) > 1 {
			t.Errorf("%q with %v", got.Subject, got.Links)
		}
		if n := count(t, a, "select count(*) from central.kept_mail where recipient = 'tidakada@example.com'"); n != 0 {
			t.Errorf("%d mails to who has no account", n)
		}
	})
}
