package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/locale"
)

// Networks that people are on.
const (
	strangers = "203.0.113.66"
	owners    = "198.51.100.7"
	phones    = "2001:db8:1:2::99"
	scanners  = "192.0.2.25"

	strangersPassword = "milik orang asing 123"
	newPassword       = "kata sandi yang baru sekali"
)

// behindProxy lets a test say from where a request comes: X-Forwarded-For of its own is believed.
func behindProxy() apptest.Option {
	return apptest.With(func(c *app.Config) { c.TrustedProxies = []string{"127.0.0.1"} })
}

func post(t *testing.T, a *apptest.App, ip, path string, body map[string]any) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, path, body, "X-Forwarded-For", ip)
}

func registerFrom(t *testing.T, a *apptest.App, ip, email, pass string) {
	t.Helper()
	post(t, a, ip, "/auth/register", map[string]any{"name": "Dari " + ip, "email": email, "password": pass}).Want(t, 202)
}

func loginFrom(t *testing.T, a *apptest.App, ip, email, pass string) *apptest.Response {
	t.Helper()
	return post(t, a, ip, "/auth/login", map[string]any{"email": email, "password": pass})
}

func openFrom(t *testing.T, a *apptest.App, ip, token string) {
	t.Helper()
	if verify(t, a, token, "X-Forwarded-For", ip).Want(t, 200).Object(t)["verified"] != true {
		t.Error("not verified")
	}
}

func forgot(t *testing.T, a *apptest.App, email string) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, "/auth/password/forgot", map[string]any{"email": email}).Want(t, 202)
}

func reset(t *testing.T, a *apptest.App, token, pass string) *apptest.Response {
	t.Helper()
	return a.On("").Post(t, "/auth/password/reset", map[string]any{"token": token, "password": pass})
}

// tokenOf returns the token in the letter's link to a page.
func (l letter) tokenOf(t *testing.T, page string) string {
	t.Helper()
	for _, link := range l.Links {
		if u, err := url.Parse(link); err == nil && u.Path == page {
			if u.Host != apptest.BaseHost {
				t.Errorf("the link leads to %s", u.Host)
			}
			return u.Query().Get("token")
		}
	}
	t.Fatalf("no link to %s in %q: %v", page, l.Subject, l.Links)
	return ""
}

// lettersAbout waits for n letters with that subject, whatever else was sent.
func lettersAbout(t *testing.T, a *apptest.App, to, subject string, n int) (got []letter) {
	t.Helper()
	apptest.Until(t, "mail to "+to+" about "+subject, func() bool {
		var all []letter
		if err := json.Unmarshal(a.On("").Get(t, "//dev/mail.json?to="+url.QueryEscape(to)).Raw, &all); err != nil {
			t.Fatal(err)
		}
		got = got[:0]
		for _, l := range slices.Backward(all) {
			if l.Subject == subject {
				got = append(got, l)
			}
		}
		return len(got) >= n
	})
	if len(got) > n {
		t.Fatalf("%d letters to %s about %q, want %d", len(got), to, subject, n)
	}
	return got
}

const (
	aboutReset   = "Atur ulang kata sandi Anda"
	aboutConfirm = "Tetapkan kata sandi Anda"
	aboutChange  = "Kata sandi Anda telah diubah"
	resetPage    = "/account/reset"
)

// 4: changing the password needs the current one or a fresh step-up; it ends other sessions, devices and reset links, and mails the owner.
func TestAuth04_ChangingThePassword(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)

	change := func(t *testing.T, p *apptest.Person, body map[string]any) *apptest.Response {
		t.Helper()
		return p.Put(t, "/auth/password", body)
	}
	t.Run("needs the current one", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		wrong := change(t, p, map[string]any{"current_password": "bukan kata sandinya", "password": newPassword}).Want(t, 401, "auth.invalid_credentials")
		if wrong.Message != "Kata sandi salah." { // no e-mail was given that could be wrong
			t.Errorf("%s", wrong.Message)
		}
		change(t, p, map[string]any{"password": newPassword}).Want(t, 403, "auth.step_up_required")
		change(t, p, map[string]any{"current_password": p.Password, "password": "pendek"}).WantField(t, "password")
		a.On("").Put(t, "/auth/password", map[string]any{"current_password": p.Password, "password": newPassword}).Want(t, 401, "auth.unauthenticated")
		login(t, a, p.Email, p.Password).Want(t, 200)
		change(t, p, map[string]any{"current_password": p.Password, "password": newPassword}).Want(t, 200)
		login(t, a, p.Email, p.Password).Want(t, 401, "auth.invalid_credentials")
		login(t, a, p.Email, newPassword).Want(t, 200)
	})
	t.Run("or a confirmation of a moment ago", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		wrong := p.Post(t, "/auth/password/confirm?lang=en", map[string]any{"password": "bukan kata sandinya"}).Want(t, 401, "auth.invalid_credentials")
		if wrong.Message != "The password is not right." {
			t.Errorf("%s", wrong.Message)
		}
		change(t, p, map[string]any{"password": newPassword}).Want(t, 403, "auth.step_up_required")
		if got := p.Post(t, "/auth/password/confirm", map[string]any{"password": p.Password}).Want(t, 200).Object(t)["expires_in"]; got != 900.0 {
			t.Errorf("good for %v seconds", got)
		}
		change(t, p, map[string]any{"password": newPassword}).Want(t, 200)
		login(t, a, p.Email, newPassword).Want(t, 200)
	})
	t.Run("which is over after 15 minutes", func(t *testing.T) {
		t.Parallel()
		clock := &movable{}
		a := apptest.New(t, apptest.WithClock(clock.now), apptest.With(func(c *app.Config) { c.Identity.AccessTTL = time.Hour }))
		p := a.SignUp(t)
		p.Post(t, "/auth/password/confirm", map[string]any{"password": p.Password}).Want(t, 200)
		clock.forward(16 * time.Minute)
		change(t, p, map[string]any{"password": newPassword}).Want(t, 403, "auth.step_up_required")
	})
	t.Run("ends other sessions and reset links, keeps the one that asks, and tells the owner", func(t *testing.T) {
		t.Parallel()
		p, other := a.SignUp(t), apptest.Session{}
		login(t, a, p.Email, p.Password).Want(t, 200).Into(t, &other)
		forgot(t, a, p.Email)
		link := lettersAbout(t, a, p.Email, aboutReset, 1)[0].tokenOf(t, resetPage)

		change(t, p, map[string]any{"current_password": p.Password, "password": newPassword}).Want(t, 200)
		p.Get(t, "/auth/me").Want(t, 200)
		p.Session = refreshed(t, p.Caller, p.RefreshToken)
		a.On("").As(other.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
		refresh(t, a.On(""), other.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		reset(t, a, link, "kata sandi penyusup 1").Want(t, 422, "auth.link_invalid")
		got := lettersAbout(t, a, p.Email, aboutChange, 1)[0]
		if !strings.Contains(got.Text, "127.0.0.1") || strings.Contains(got.Text+got.HTML, newPassword) {
			t.Errorf("%s", got.Text)
		}
	})
	t.Run("of many at once, one is done", func(t *testing.T) {
		t.Parallel()
		p := a.SignUp(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		done := map[int]int{}
		for i := range 8 {
			wg.Go(func() {
				r := change(t, p, map[string]any{"current_password": p.Password, "password": fmt.Sprintf("kata sandi nomor %d", i)})
				mu.Lock()
				defer mu.Unlock()
				done[r.Status]++
			})
		}
		wg.Wait()
		if done[200] != 1 || done[200]+done[401]+done[429] != 8 {
			t.Errorf("%v", done)
		}
	})
}

// 6: one answer for every address; the mail is queued, never sent in the request; the owner of a known address is told.
func TestAuth06_OneAnswerForEveryAddress(t *testing.T) {
	t.Parallel()

	t.Run("register, forgot and resend answer alike", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t)
		known, disabled, google := a.SignUp(t), a.SignUp(t), a.SignUp(t)
		if err := a.Identity.Disable(t.Context(), disabled.ID); err != nil {
			t.Fatal(err)
		}
		exec(t, a, "update central.users set password_hash = null where id = $1", google.ID)
		register(t, a, "Belum", "belum@example.com", password)
		for _, path := range []string{"/auth/register", "/auth/password/forgot", "/auth/email/resend"} {
			answers := map[string]bool{}
			for _, email := range []string{known.Email, strings.ToUpper(known.Email), disabled.Email, google.Email, "belum@example.com", fmt.Sprintf("hantu%d@example.com", len(path))} {
				body := map[string]any{"email": email}
				if path == "/auth/register" {
					body = map[string]any{"email": email, "name": "Siti", "password": password}
				}
				r := a.On("").Post(t, path, body).Want(t, 202)
				r.Header.Del("Date")
				r.Header.Del("X-Request-Id")
				r.Header.Del("Content-Length") // the request id's and the time's
				answers[fmt.Sprint(string(r.Data), r.Code, r.Message, r.Header)] = true
			}
			if len(answers) != 1 {
				t.Errorf("%s: %v", path, answers)
			}
			a.On("").Post(t, path, map[string]any{"email": "bukan alamat", "name": "Siti", "password": password}).Want(t, 422)
		}
		lettersAbout(t, a, known.Email, "Anda sudah memiliki akun", 1)
		lettersAbout(t, a, known.Email, aboutReset, 1)
		lettersAbout(t, a, known.Email, "Alamat email Anda sudah diverifikasi", 1)
		lettersAbout(t, a, google.Email, aboutReset, 1)
		lettersAbout(t, a, "belum@example.com", aboutReset, 1)
		if n := count(t, a, "select count(*) from central.kept_mail where recipient in ('hantu21@example.com', 'hantu18@example.com') or recipient = $1 and subject <> 'Anda sudah memiliki akun'", disabled.Email); n != 0 {
			t.Errorf("%d mails to who has no account, or links to who is disabled", n)
		}
	})
	t.Run("a mail is a job of the request's transaction, and the request sends nothing", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t)
		known := a.SignUp(t)
		if err := a.Runner.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		register(t, a, "Siti", "siti@example.com", password)
		register(t, a, "Siti", known.Email, password)
		forgot(t, a, known.Email)
		a.On("").Post(t, "/auth/email/resend", map[string]any{"email": "siti@example.com"}).Want(t, 202)
		if n := count(t, a, "select count(*) from central.river_job where kind = 'identity_send_mail' and state = 'available'"); n != 4 {
			t.Errorf("%d letters wait", n)
		}
		if n := count(t, a, "select count(*) from central.kept_mail"); n != 0 {
			t.Errorf("%d letters sent by requests", n)
		}
	})
	t.Run("forgot and resend do the same for an address without an account: an event and a job", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t)
		known, disabled := a.SignUp(t), a.SignUp(t)
		if err := a.Identity.Disable(t.Context(), disabled.ID); err != nil {
			t.Fatal(err)
		}
		register(t, a, "Belum", "belum@example.com", password)
		letters(t, a, "belum@example.com", 1)
		if err := a.Runner.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		rows := func() (now [5]int) {
			t.Helper()
			for i, table := range []string{"security_activities", "river_job", "mail_links", "throttles", "kept_mail"} {
				now[i] = count(t, a, "select count(*) from central."+table)
			}
			return now
		}
		for _, path := range []string{"/auth/password/forgot", "/auth/email/resend"} {
			for _, email := range []string{known.Email, disabled.Email, "belum@example.com", "hantu@example.com"} {
				before := rows()
				a.On("").Post(t, path, map[string]any{"email": email}).Want(t, 202)
				a.On("").Post(t, path, map[string]any{"email": email}).Want(t, 202) // one mail a minute, for nobody either
				after := rows()
				for i := range after {
					after[i] -= before[i]
				}
				if after != [5]int{2, 1, 0, 0, 0} {
					t.Errorf("%s for %s: %v rows", path, email, after)
				}
			}
		}
		if n := count(t, a, "select count(*) from central.river_job x where x::text like '%hantu@%'") + count(t, a, "select count(*) from central.security_activities x where x::text like '%hantu@%'"); n != 0 {
			t.Errorf("%d rows hold an address that is nobody's here", n)
		}
	})
	t.Run("an unproved name is no line in the mail to an address' owner", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t)
		const line = "hadiah di evil.example"
		register(t, a, line, "sasaran@example.com", password)
		a.On("").Post(t, "/auth/email/resend", map[string]any{"email": "sasaran@example.com"}).Want(t, 202)
		register(t, a, line, "sasaran@example.com", newPassword)
		forgot(t, a, "sasaran@example.com")
		for _, l := range letters(t, a, "sasaran@example.com", 4) {
			if strings.Contains(l.Text+l.HTML+l.Subject, line) {
				t.Errorf("%s: %s", l.Subject, l.Text)
			}
		}
	})
	t.Run("every letter is text and HTML, in the reader's language, and needs nothing from the network", func(t *testing.T) {
		t.Parallel()
		a := apptest.New(t)
		for _, language := range []string{"id", "en"} {
			email := "bahasa-" + language + "@example.com"
			ask := func(path string, body map[string]any) { a.On("").Post(t, path, body).Want(t, 202) }
			ask("/auth/register", map[string]any{"name": "Siti <b>Aminah</b>", "email": email, "password": password, "locale": language})
			ask("/auth/register", map[string]any{"name": "Siti", "email": email, "password": password})
			ask("/auth/email/resend", map[string]any{"email": email})
			verify(t, a, letters(t, a, email, 3)[0].token(t)).Want(t, 200)
			ask("/auth/register", map[string]any{"name": "Siti", "email": email, "password": password})
			ask("/auth/password/forgot", map[string]any{"email": email})
			verified := "sudah-" + email // for the first the other letter has just been asked for
			if _, err := a.Identity.CreateVerified(t.Context(), "Siti", verified, password, locale.Language(language)); err != nil {
				t.Fatal(err)
			}
			ask("/auth/email/resend", map[string]any{"email": verified})
			var s apptest.Session
			login(t, a, email, password).Want(t, 200).Into(t, &s)
			a.On("").As(s.AccessToken).Put(t, "/auth/password", map[string]any{"current_password": password, "password": newPassword}).Want(t, 200)
			for _, l := range append(letters(t, a, email, 6), letters(t, a, verified, 1)...) {
				if l.Text == "" || !strings.Contains(l.HTML, `<html lang="`+language+`">`) || strings.Contains(l.HTML, "<b>Aminah") {
					t.Errorf("%s: %q", language, l.Subject)
				}
				if regexp.MustCompile(`(?i)<(script|img|link|iframe)|url\(|%!`).MatchString(l.HTML) || strings.Contains(l.Text, "%!") {
					t.Errorf("%q needs the network, or is badly formatted", l.Subject)
				}
				greeting := map[string]string{"id": "Halo", "en": "Hello"}[language]
				if !strings.HasPrefix(l.Text, greeting) {
					t.Errorf("%s: %s", language, l.Text)
				}
				for _, link := range l.Links {
					if !strings.Contains(strings.ReplaceAll(l.HTML, "&amp;", "&"), link) {
						t.Errorf("%q: %s is in the text alone", l.Subject, link)
					}
				}
			}
		}
	})
}

// 25, for an address whose owner has not shown up yet: whatever a stranger who was first left there is worth nothing once they have.
func TestAuth25_AnAddressIsItsOwners(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, behindProxy())

	// The ordinary ways, which must stay easy.
	t.Run("who registers and opens the mail on one network notices nothing", func(t *testing.T) {
		t.Parallel()
		const email = "biasa@example.com"
		registerFrom(t, a, owners, email, password)
		var before apptest.Session
		loginFrom(t, a, owners, email, password).Want(t, 200).Into(t, &before)
		mail := letters(t, a, email, 1)[0].token(t)
		openFrom(t, a, scanners, mail)
		openFrom(t, a, owners, mail)
		loginFrom(t, a, owners, email, password).Want(t, 200)
		loginFrom(t, a, phones, email, password).Want(t, 200) // once proved, from anywhere
	})
	t.Run("nor who is signed in and opens the mail there: the session goes on, verified", func(t *testing.T) {
		t.Parallel()
		const email = "lanjut@example.com"
		registerFrom(t, a, owners, email, password)
		var s apptest.Session
		loginFrom(t, a, phones, email, password).Want(t, 200).Into(t, &s)
		openFrom(t, a, "2001:db8:1:2:ffff::1", letters(t, a, email, 1)[0].token(t)) // the same /64
		if a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 200).Object(t)["user"].(map[string]any)["email_verified"] != true {
			t.Error("not verified")
		}
		loginFrom(t, a, owners, email, password).Want(t, 200)
	})
	t.Run("who opens the mail on the phone signs in there first", func(t *testing.T) {
		t.Parallel()
		const email = "ponsel@example.com"
		registerFrom(t, a, owners, email, password)
		openFrom(t, a, phones, letters(t, a, email, 1)[0].token(t))
		loginFrom(t, a, phones, email, password).Want(t, 200)
		loginFrom(t, a, owners, email, password).Want(t, 200)
	})
	t.Run("or sets the password anew, by a mail that the refusal sends", func(t *testing.T) {
		t.Parallel()
		const email = "lain-jaringan@example.com"
		registerFrom(t, a, owners, email, password)
		openFrom(t, a, phones, letters(t, a, email, 1)[0].token(t))
		loginFrom(t, a, owners, email, password).Want(t, 403, "auth.password_unconfirmed")
		loginFrom(t, a, owners, email, password).Want(t, 403, "auth.password_unconfirmed") // one mail a minute
		loginFrom(t, a, owners, email, password+"x").Want(t, 401, "auth.invalid_credentials")
		link := lettersAbout(t, a, email, aboutConfirm, 1)[0].tokenOf(t, resetPage)
		reset(t, a, link, newPassword).Want(t, 200)
		loginFrom(t, a, owners, email, newPassword).Want(t, 200)
		loginFrom(t, a, owners, email, password).Want(t, 401, "auth.invalid_credentials")
	})

	// The attacks.
	t.Run("a stranger's password does not become the account's when scanners and the owner open the mail", func(t *testing.T) {
		t.Parallel()
		const email = "korban1@example.com"
		registerFrom(t, a, strangers, email, strangersPassword)
		var s apptest.Session
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 200).Into(t, &s)
		mail := letters(t, a, email, 1)[0].token(t)
		openFrom(t, a, scanners, mail)
		openFrom(t, a, owners, mail)

		a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
		refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 403, "auth.password_unconfirmed")
		reset(t, a, lettersAbout(t, a, email, aboutConfirm, 1)[0].tokenOf(t, resetPage), newPassword).Want(t, 200)
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
		loginFrom(t, a, owners, email, newPassword).Want(t, 200)
		openFrom(t, a, strangers, mail) // even with the link in hand: nothing is claimed any more
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
	})
	for name, order := range map[string][]int{"the first mail first": {0, 1}, "the last mail first": {1, 0}} {
		t.Run("nor when the owner registers too and a scanner opens both, "+name, func(t *testing.T) {
			t.Parallel()
			email := fmt.Sprintf("korban2-%d@example.com", order[0])
			registerFrom(t, a, strangers, email, strangersPassword)
			registerFrom(t, a, owners, email, password)
			mails := letters(t, a, email, 2)
			slices.SortFunc(mails, func(a, b letter) int { return strings.Compare(b.Subject, a.Subject) }) // Verifikasi…, Alamat…
			for _, i := range order {
				openFrom(t, a, scanners, mails[i].token(t))
			}
			openFrom(t, a, owners, mails[1].token(t))
			loginFrom(t, a, owners, email, password).Want(t, 200)
			openFrom(t, a, owners, mails[0].token(t)) // out of curiosity
			openFrom(t, a, scanners, mails[0].token(t))
			loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
			loginFrom(t, a, owners, email, password).Want(t, 200)
		})
	}
	t.Run("nor when the stranger registers again, after the owner", func(t *testing.T) {
		t.Parallel()
		const email = "korban3@example.com"
		registerFrom(t, a, owners, email, password)
		registerFrom(t, a, strangers, email, strangersPassword)
		mails := letters(t, a, email, 2)
		for _, ip := range []string{scanners, owners} {
			for _, m := range mails {
				openFrom(t, a, ip, m.token(t))
			}
		}
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
		loginFrom(t, a, owners, email, password).Want(t, 200)
	})
	t.Run("a stranger who registers over and over does not keep the owner from it", func(t *testing.T) {
		t.Parallel()
		const email = "korban4@example.com"
		for range 10 {
			registerFrom(t, a, strangers, email, strangersPassword)
		}
		registerFrom(t, a, owners, email, password)
		mails := letters(t, a, email, 3) // one of the account, one of each network
		openFrom(t, a, owners, mails[2].token(t))
		loginFrom(t, a, owners, email, password).Want(t, 200)
	})
	t.Run("a session that begins while the address is verified does not outlive it", func(t *testing.T) {
		t.Parallel()
		const email = "korban5@example.com"
		registerFrom(t, a, strangers, email, strangersPassword)
		mail := letters(t, a, email, 1)[0].token(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var sessions []apptest.Session
		for i := range 12 {
			wg.Go(func() {
				if i == 6 {
					openFrom(t, a, owners, mail)
					return
				}
				if r := loginFrom(t, a, strangers, email, strangersPassword); r.Status == 200 {
					var s apptest.Session
					r.Into(t, &s)
					mu.Lock()
					defer mu.Unlock()
					sessions = append(sessions, s)
				}
			})
		}
		wg.Wait()
		for _, s := range sessions {
			refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
			a.On("").As(s.AccessToken).Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
		}
		if n := count(t, a, "select count(*) from central.sessions s join central.users u on u.id = s.user_id where u.email = $1 and revoked_at is null", email); n != 0 {
			t.Errorf("%d sessions of the stranger live", n)
		}
	})
	t.Run("nothing can be added to an account before its address is verified", func(t *testing.T) {
		t.Parallel()
		const email = "korban6@example.com"
		registerFrom(t, a, strangers, email, strangersPassword)
		var s apptest.Session
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 200).Into(t, &s)
		stranger := a.On("").As(s.AccessToken)
		stranger.Put(t, "/auth/password", map[string]any{"current_password": strangersPassword, "password": newPassword}).Want(t, 403, "auth.email_unverified")
		stranger.Post(t, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": "milik-asing"}).Want(t, 403, "auth.email_unverified")
	})
	t.Run("a reset by the owner of an unverified address verifies it and ends what was there", func(t *testing.T) {
		t.Parallel()
		const email = "korban7@example.com"
		registerFrom(t, a, strangers, email, strangersPassword)
		var s apptest.Session
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 200).Into(t, &s)
		forgot(t, a, email)
		reset(t, a, lettersAbout(t, a, email, aboutReset, 1)[0].tokenOf(t, resetPage), newPassword).Want(t, 200)
		refresh(t, a.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		loginFrom(t, a, strangers, email, strangersPassword).Want(t, 401, "auth.invalid_credentials")
		if loginFrom(t, a, owners, email, newPassword).Want(t, 200).Object(t)["user"].(map[string]any)["email_verified"] != true {
			t.Error("not verified")
		}
	})
}

// 27: opening a link consumes nothing and makes no session; links are long, kept by no row, expire, and are void once the address changed.
func TestAuth27_LinksInMails(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))

	resetLink := func(t *testing.T, email string) (link letter, token string) {
		t.Helper()
		a.On("").Post(t, "/auth/password/forgot", map[string]any{"email": email}, "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example").Want(t, 202)
		link = lettersAbout(t, a, email, aboutReset, 1)[0]
		return link, link.tokenOf(t, resetPage)
	}
	open := func(t *testing.T, path string) {
		t.Helper()
		for _, method := range []string{"HEAD", "GET", "HEAD", "GET"} {
			for _, accept := range []string{"*/*", "application/json", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"} {
				r := a.On("").Do(t, method, path, nil, "Accept", accept)
				if r.Status != 200 && r.Status != 303 || len(r.Header.Values("Set-Cookie")) > 0 {
					t.Errorf("%s %s: %d, %v", method, path, r.Status, r.Header.Values("Set-Cookie"))
				}
				if strings.Contains(r.Header.Get("Location"), "token=") || r.Header.Get("Referrer-Policy") != "no-referrer" || r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: %v", method, path, r.Header)
				}
			}
		}
	}
	sessionsOf := func(t *testing.T, email string) int {
		t.Helper()
		return count(t, a, "select count(*) from central.sessions s join central.users u on u.id = s.user_id where u.email = $1 and s.revoked_at is null", email)
	}
	t.Run("a verification is opened by scanners and still works, twice", func(t *testing.T) {
		const email = "pindai1@example.com"
		register(t, a, "Siti", email, password)
		token := letters(t, a, email, 1)[0].token(t)
		open(t, "/auth/email/verify?token="+token)
		if n := sessionsOf(t, email); n != 0 {
			t.Errorf("%d sessions", n)
		}
		for range 2 {
			if verify(t, a, token).Want(t, 200).Object(t)["verified"] != true {
				t.Error("not verified")
			}
		}
		login(t, a, email, password).Want(t, 200)
	})
	t.Run("a reset is opened by scanners, and only its form acts, once", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		open(t, "//account/reset?token="+token)
		login(t, a, p.Email, p.Password).Want(t, 200)
		p.Get(t, "/auth/me").Want(t, 200)
		before := sessionsOf(t, p.Email)
		reset(t, a, token, "pendek").WantField(t, "password")
		reset(t, a, token, newPassword).Want(t, 200)
		if n := sessionsOf(t, p.Email); n != 0 || before == 0 {
			t.Errorf("%d sessions of %d", n, before)
		}
		p.Get(t, "/auth/me").Want(t, 401, "auth.unauthenticated")
		refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		login(t, a, p.Email, newPassword).Want(t, 200)
		reset(t, a, token, "kata sandi ketiga kali").Want(t, 422, "auth.link_invalid")
		lettersAbout(t, a, p.Email, aboutChange, 1)
	})
	t.Run("of many resets by one link at once, one is done", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		var wg sync.WaitGroup
		var mu sync.Mutex
		done := map[int]int{}
		for i := range 10 {
			wg.Go(func() {
				r := reset(t, a, token, fmt.Sprintf("kata sandi nomor %d", i))
				mu.Lock()
				defer mu.Unlock()
				done[r.Status]++
			})
		}
		wg.Wait()
		if done[200] != 1 || done[422] != 9 {
			t.Errorf("%v", done)
		}
	})
	t.Run("one purpose's token is no other's, and none may be altered", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		register(t, a, "Siti", "lain-guna@example.com", password)
		other := letters(t, a, "lain-guna@example.com", 1)[0].token(t)
		verify(t, a, token).Want(t, 422, "auth.link_invalid")
		for _, bad := range []string{other, "", "x", token[1:], token + "A", token[:20] + "A" + token[21:], strings.Repeat("A", len(token))} {
			if bad == token {
				continue
			}
			reset(t, a, bad, newPassword).Want(t, 422, "auth.link_invalid")
		}
		reset(t, a, token, newPassword).Want(t, 200)
	})
	t.Run("they hold 128 bits at least, and nothing of them is kept", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(raw) < 17+16 {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		mac := base64.RawURLEncoding.EncodeToString(raw[18:])
		for _, table := range []string{"mail_links", "users", "river_job"} {
			if n := count(t, a, "select count(*) from central."+table+" x where x::text like $1 or x::text like $2", "%"+token+"%", "%"+mac[:20]+"%"); n != 0 {
				t.Errorf("%s has it", table)
			}
		}
	})
	t.Run("they lead to the configured origin, whatever the request's Host", func(t *testing.T) {
		p := a.SignUp(t)
		p.Onboard(t, "rapi-jahit")
		a.On("rapi-jahit").Post(t, "/auth/password/forgot", map[string]any{"email": p.Email}, "X-Forwarded-Host", "evil.example").Want(t, 202)
		for _, link := range lettersAbout(t, a, p.Email, aboutReset, 1)[0].Links {
			if u, err := url.Parse(link); err != nil || u.Host != apptest.BaseHost {
				t.Errorf("%s", link)
			}
		}
	})
	t.Run("they are void once the address is another", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		exec(t, a, "update central.users set email = 'pindah-' || email where id = $1", p.ID)
		reset(t, a, token, newPassword).Want(t, 422, "auth.link_invalid")
		login(t, a, "pindah-"+p.Email, p.Password).Want(t, 200)
	})
	t.Run("they expire", func(t *testing.T) {
		p := a.SignUp(t)
		_, token := resetLink(t, p.Email)
		clock.forward(61 * time.Minute)
		reset(t, a, token, newPassword).Want(t, 422, "auth.link_invalid")
		login(t, a, p.Email, p.Password).Want(t, 200)
	})
}
