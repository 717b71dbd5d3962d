package activity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

// fired fails the test unless the row has the reason, or has it not.
func fired(t *testing.T, row seen, kind string, want bool) {
	t.Helper()
	if slices.Contains(row.Reasons, kind) != want {
		t.Errorf("reasons %v: %s, want %v", row.Reasons, kind, want)
	}
	if want && row.Score == 0 {
		t.Errorf("%s has no score", kind)
	}
}

// warned returns how many letters to p say what word the kind has in them.
func warned(t *testing.T, a *apptest.App, p *apptest.Person, words string) (n int) {
	t.Helper()
	for _, l := range letters(t, a, p.Email) {
		if strings.Contains(strings.Join(strings.Fields(l.Text), " "), words) {
			n++
		}
	}
	return n
}

func TestAuth32_NewDevice(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	fired(t, last(t, p, "login"), "new_device", false) // the first of all is no news
	signIn(t, a, p, p.Password, bandung, newer).Want(t, 200)
	fired(t, last(t, p, "login"), "new_device", false) // another version
	signIn(t, a, p, p.Password, bandung, phone).Want(t, 200)
	fired(t, last(t, p, "login"), "new_device", true)
	signIn(t, a, p, p.Password, bandung, phone).Want(t, 200)
	fired(t, last(t, p, "login"), "new_device", false)

	t.Run("is mailed at most once an hour", func(t *testing.T) {
		const words = "dari perangkat baru"
		signIn(t, a, p, p.Password, bandung, "curl/8.5.0").Want(t, 200)
		fired(t, last(t, p, "login"), "new_device", true)
		if n := warned(t, a, p, words); n != 1 {
			t.Errorf("%d letters, want 1", n)
		}
		clock.forward(59 * time.Minute)
		signIn(t, a, p, p.Password, bandung, "Wget/1.21").Want(t, 200)
		if n := warned(t, a, p, words); n != 1 {
			t.Errorf("%d letters within the hour, want 1", n)
		}
		clock.forward(2 * time.Minute)
		signIn(t, a, p, p.Password, bandung, "PostmanRuntime/7.39").Want(t, 200)
		fired(t, last(t, p, "login"), "new_device", true)
		if n := warned(t, a, p, words); n != 2 {
			t.Errorf("%d letters after an hour, want 2", n)
		}
	})
}

func TestAuth32_NewCountry(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	fired(t, last(t, p, "login"), "new_country", false)
	clock.forward(24 * time.Hour)
	signIn(t, a, p, p.Password, jakarta, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", false)
	signIn(t, a, p, p.Password, nowhere, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", false) // an address without a place says nothing
	clock.forward(24 * time.Hour)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", true)
	clock.forward(24 * time.Hour)
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", false)
	clock.forward(178 * 24 * time.Hour)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", false) // 179 days ago
	clock.forward(181 * 24 * time.Hour)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "new_country", true) // 181 days ago
	if n := warned(t, a, p, "dari negara yang baru"); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}

func TestAuth32_ImpossibleTravel(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	clock.forward(time.Minute)
	signIn(t, a, p, p.Password, jakarta, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "impossible_travel", false) // 117 km: within what the file errs
	clock.forward(10 * time.Hour)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "impossible_travel", true) // 11,700 km in ten hours
	clock.forward(14 * time.Hour)
	signIn(t, a, p, p.Password, jakarta, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "impossible_travel", false) // in fourteen a plane does it
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "impossible_travel", true) // at once
	if n := warned(t, a, p, "dua tempat yang terlalu jauh"); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
}

func TestAuth32_SuccessAfterFailures(t *testing.T) {
	t.Parallel()
	a, clock := start(t, unthrottled)
	p := person(t, a, bandung, firefox)
	fail := func(n int) {
		for range n {
			signIn(t, a, p, "bukan kata sandinya", bandung, firefox).Want(t, 401)
		}
	}
	in := func(want bool) {
		t.Helper()
		signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
		fired(t, last(t, p, "login"), "success_after_failures", want)
	}
	fail(4)
	in(false)
	fail(1)
	in(false) // a success begins anew
	fail(5)
	in(true)
	in(false)
	fail(5)
	clock.forward(61 * time.Minute)
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "success_after_failures", false) // long ago
	if n := warned(t, a, p, "setelah beberapa kali kata sandi salah"); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

func TestAuth32_RefreshReuse(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	p := person(t, a, bandung, firefox)
	first := p.RefreshToken
	turn := func(token string) *apptest.Response {
		return a.On("").Post(t, "/auth/refresh", map[string]any{"refresh_token": token}, "X-Forwarded-For", bandung, "User-Agent", firefox)
	}
	var next apptest.Session
	turn(first).Want(t, 200).Into(t, &next)
	turn(first).Want(t, 200) // within the grace: two tabs
	turn(next.RefreshToken).Want(t, 200)
	if rows := list(t, p.Caller, "/auth/activities?filter[type]=refresh_reused"); len(rows) != 0 {
		t.Errorf("a refresh within the grace is told as reuse: %+v", rows)
	}
	turn(first).Want(t, 401, "auth.refresh_reused")
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	row := last(t, p, "refresh_reused")
	fired(t, row, "refresh_reuse", true)
	if row.Score < 90 {
		t.Errorf("score %d", row.Score)
	}
	if n := warned(t, a, p, "dipakai dari dua tempat"); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

func TestAuth32_CredentialStuffing(t *testing.T) {
	t.Parallel()
	a, _ := start(t, unthrottled)
	p := person(t, a, bandung, firefox)
	try := func(from string, n int) {
		for i := range n {
			a.On("").Post(t, "/auth/login", map[string]any{"email": fmt.Sprintf("korban%d@example.com", i), "password": "kata sandi yang sama"},
				"X-Forwarded-For", from, "User-Agent", firefox).Want(t, 401)
		}
	}
	try(jakarta, 19)
	signIn(t, a, p, p.Password, jakarta, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "credential_stuffing", false)
	for range 25 { // one account again and again is something else
		a.On("").Post(t, "/auth/login", map[string]any{"email": "korban0@example.com", "password": "kata sandi yang sama"}, "X-Forwarded-For", jakarta).Want(t, 401)
	}
	signIn(t, a, p, p.Password, jakarta, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "credential_stuffing", false)
	try(london, 20)
	signIn(t, a, p, "bukan kata sandinya", london, firefox).Want(t, 401)
	fired(t, last(t, p, "login_failed"), "credential_stuffing", true)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "credential_stuffing", true)
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "credential_stuffing", false) // from elsewhere
	if n := warned(t, a, p, "mencoba banyak akun"); n != 2 {    // of the failure and, graver, of the success
		t.Errorf("%d letters, want 2", n)
	}
	signIn(t, a, p, "bukan kata sandinya", london, firefox).Want(t, 401)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	if n := warned(t, a, p, "mencoba banyak akun"); n != 2 {
		t.Errorf("%d letters within the hour, want 2", n)
	}
}

// 5: also where the address of the client is suspicious, a failed sign-in makes as many rows and jobs for an account as for none.
func TestAuth05_StuffingCostsTheSameForEveryAccount(t *testing.T) {
	t.Parallel()
	a, _ := start(t, unthrottled)
	p, disabled := person(t, a, bandung, firefox), person(t, a, bandung, firefox)
	if err := a.Identity.Disable(t.Context(), disabled.ID); err != nil {
		t.Fatal(err)
	}
	fail := func(email, password string) {
		a.On("").Post(t, "/auth/login", map[string]any{"email": email, "password": password}, "X-Forwarded-For", london, "User-Agent", firefox).Want(t, 401)
	}
	for i := range 20 {
		fail(fmt.Sprintf("korban%d@example.com", i), "kata sandi yang sama")
	}
	made := func(email, password string) (rows, jobs int) {
		const inLog, inQueue = "select count(*) from central.security_activities", "select count(*) from central.river_job where kind = 'activity_alert'"
		rows, jobs = count(t, a, inLog), count(t, a, inQueue)
		fail(email, password)
		return count(t, a, inLog) - rows, count(t, a, inQueue) - jobs
	}
	for what, who := range map[string][2]string{"unknown": {"tidak.ada@example.com", "bukan kata sandinya"}, "wrong password": {p.Email, "bukan kata sandinya"},
		"disabled": {disabled.Email, disabled.Password}} {
		if rows, jobs := made(who[0], who[1]); rows != 1 || jobs != 1 {
			t.Errorf("%s: %d rows and %d jobs, want one of each", what, rows, jobs)
		}
	}
	if n := warned(t, a, p, "mencoba banyak akun"); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

// Who knows the threshold pads the tries that count with failures that name nobody.
func TestAuth32_CredentialStuffingIsSeenThroughPadding(t *testing.T) {
	t.Parallel()
	a, _ := start(t, unthrottled)
	p := person(t, a, bandung, firefox)
	for i := range 20 {
		a.On("").Post(t, "/auth/login", map[string]any{"email": fmt.Sprintf("korban%d@example.com", i), "password": "kata sandi yang sama"}, "X-Forwarded-For", london).Want(t, 401)
	}
	exec(t, a, `insert into central.security_activities (id, at, type, outcome, reason, ip, network)
		select gen_random_uuid(), now(), 'login_failed', 'failure', 'google_invalid', $1, $1 from generate_series(1, 600)`, london)
	signIn(t, a, p, p.Password, london, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "credential_stuffing", true)
}

// An account that slept for longer than the log remembers has slept for longer than thirty days.
func TestAuth32_DormantBeyondTheLog(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	clock.forward(31 * 24 * time.Hour)
	exec(t, a, "delete from central.security_activities where user_id = $1", p.ID)
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "dormant_account", true)
	signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
	fired(t, last(t, p, "login"), "dormant_account", false)
}

func TestAuth32_DormantAccount(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	for _, step := range []struct {
		days int
		want bool
	}{{29, false}, {31, true}, {1, false}} {
		clock.forward(time.Duration(step.days) * 24 * time.Hour)
		signIn(t, a, p, p.Password, bandung, firefox).Want(t, 200)
		fired(t, last(t, p, "login"), "dormant_account", step.want)
	}
	if n := warned(t, a, p, "setelah lama tidak dipakai"); n != 1 {
		t.Errorf("%d letters, want 1", n)
	}
}

func TestAuth32_SuspiciousIsSortedByScore(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	operator := a.Operator(t, "owner")
	p := person(t, a, bandung, firefox)
	signIn(t, a, p, p.Password, bandung, phone).Want(t, 200) // 25
	clock.forward(5 * time.Minute)
	signIn(t, a, p, p.Password, london, "curl/8.5.0").Want(t, 200) // new device, new country, impossible travel
	rows := list(t, operator.Caller, "/auth/activities/suspicious?filter[user]="+p.ID.String())
	if len(rows) != 2 || rows[0].Score <= rows[1].Score || rows[0].Score > 100 || len(rows[0].Reasons) != 3 || rows[0].Reasons[0] != "impossible_travel" {
		t.Errorf("%+v", rows)
	}
	rows = list(t, operator.Caller, "/auth/activities/suspicious?sort=-at&filter[min_score]=50&filter[user]="+p.ID.String())
	if len(rows) != 1 || rows[0].IP != london {
		t.Errorf("%+v", rows)
	}
	if got := letters(t, a, p.Email); len(got) != 2 {
		t.Errorf("%d letters: one event is one letter, however many signals it fires", len(got))
	}
}

func TestAuth32_NobodyVerifiedIsWarned(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	p := person(t, a, bandung, firefox)
	exec(t, a, "update central.users set email_verified_at = null where id = $1", p.ID)
	exec(t, a, "insert into central.security_activities (id, at, type, outcome, user_id, device) values (gen_random_uuid(), now(), 'login', 'success', $1, 'Firefox, Linux')", p.ID)
	signIn(t, a, p, p.Password, bandung, phone)
	if got := letters(t, a, p.Email); len(got) != 0 {
		t.Errorf("%d letters to an address that may be somebody else's", len(got))
	}
}
