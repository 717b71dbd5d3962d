package identity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/platform/fault"
)

// weaker makes password hashing cheap, for tests that sign in very often.
var weaker = apptest.With(func(c *app.Config) { c.Identity.PasswordMemoryMiB, c.Identity.PasswordPasses = 8, 1 })

func TestAuth05_LoginDoesNotTellWhoExists(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	known, google, disabled := a.SignUp(t), a.SignUp(t), a.SignUp(t)
	exec(t, a, "update central.users set password_hash = null where id = $1", google.ID)
	if err := a.Identity.Disable(t.Context(), disabled.ID); err != nil {
		t.Fatal(err)
	}
	register(t, a, "Siti", "belum@example.com", password)

	const wrong = "bukan kata sandinya"
	cases := map[string][2]string{
		"unknown": {"tidak.ada@example.com", wrong}, "wrong": {known.Email, wrong}, "no password": {google.Email, wrong},
		"disabled, wrong": {disabled.Email, wrong}, "disabled": {disabled.Email, disabled.Password}, "unverified, wrong": {"belum@example.com", wrong},
	}
	bodies := map[string]bool{}
	least := map[string]time.Duration{}
	ratio := func() float64 {
		shortest, longest := time.Hour, time.Duration(0)
		for _, d := range least {
			shortest, longest = min(shortest, d), max(longest, d)
		}
		return float64(longest) / float64(shortest)
	}
	// The quickest of each is what it takes: one hash and as many statements. A hash more or less would be twice the time, or a tenth,
	// however often it is tried. In turn, and until the machine had time for each.
	for round := 0; round < 10 || round < 80 && ratio() > 1.5; round++ {
		for name, c := range cases {
			began := time.Now()
			r := login(t, a, c[0], c[1]).Want(t, 401, "auth.invalid_credentials")
			took := time.Since(began)
			if d, ok := least[name]; !ok || took < d {
				least[name] = took
			}
			var body map[string]any
			if err := json.Unmarshal(r.Raw, &body); err != nil {
				t.Fatal(err)
			}
			delete(body, "request_id")
			delete(body, "timestamp")
			rest, _ := json.Marshal(body)
			bodies[string(rest)+r.Header.Get("WWW-Authenticate")] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("answers differ: %v", bodies)
	}
	if ratio() > 1.5 {
		t.Errorf("the times tell: %v", least)
	}
}

func TestAuth07_FiftyParallelRegistrationsMakeOneAccount(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, weaker)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			email := []string{"Pemilik@Toko.example", "pemilik@toko.example", " PEMILIK@toko.example ", "ｐemilik@toko.example"}[i%4]
			if r := a.On("").Post(t, "/auth/register", map[string]any{"name": "Pemilik", "email": email, "password": password}); r.Status != http.StatusAccepted {
				t.Errorf("answer %d: %s", r.Status, r.Raw)
			}
		})
	}
	wg.Wait()
	if n := count(t, a, "select count(*) from central.users where email = 'pemilik@toko.example'"); n != 1 || count(t, a, "select count(*) from central.users") != 1 {
		t.Errorf("%d accounts", n)
	}
}

func TestAuth17_RefreshRotates(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	b := a.Another(t)

	t.Run("twenty at once, in two processes, get the same token and nobody is logged out", func(t *testing.T) {
		p := a.SignUp(t)
		var (
			mu  sync.Mutex
			got = map[string]bool{}
			wg  sync.WaitGroup
		)
		for i := range 20 {
			wg.Go(func() {
				r := refresh(t, []*apptest.App{a, b}[i%2].On(""), p.RefreshToken)
				if r.Status != http.StatusOK {
					t.Errorf("%d: %s", r.Status, r.Raw)
					return
				}
				var s apptest.Session
				r.Into(t, &s)
				mu.Lock()
				got[s.RefreshToken] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if len(got) != 1 {
			t.Fatalf("%d different tokens", len(got))
		}
		for token := range got {
			s := refreshed(t, p.Caller, token)
			p.As(s.AccessToken).Get(t, "/auth/me").Want(t, 200)
			// The child has been used: the grace of its parent is over.
			refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_reused")
		}
	})
	t.Run("what is older is reuse: the session dies at once, in every process, and it is recorded", func(t *testing.T) {
		p := a.SignUp(t)
		s := refreshed(t, p.Caller, p.RefreshToken)
		clock.forward(11 * time.Second)
		refresh(t, p.Caller, p.RefreshToken).Want(t, 401, "auth.refresh_reused")
		p.As(s.AccessToken).Get(t, "/auth/me").Want(t, 401)
		refresh(t, b.On(""), s.RefreshToken).Want(t, 401, "auth.refresh_invalid")
		withinASecond(t, "the other process refuses the access token", func() bool { return b.On("").As(s.AccessToken).Get(t, "/auth/me").Status == 401 })
		if n := count(t, a, "select count(*) from central.sessions where user_id = $1 and revoked_for = 'refresh_reused'", p.ID); n != 1 {
			t.Errorf("%d sessions ended for it", n)
		}
		if n := count(t, a, "select count(*) from central.security_activities where user_id = $1 and type = 'refresh_reused'", p.ID); n != 1 {
			t.Errorf("%d rows in the security log", n)
		}
		apptest.Until(t, "the mail that tells the owner", func() bool {
			return count(t, a, "select count(*) from central.kept_mail where recipient = $1 and subject like 'Aktivitas%'", p.Email) > 0
		})
	})
}

// Each round one ends the session while others renew it, in two processes: whoever wins, no token of it is good afterwards.
func TestAuth18_RevokeRacingRotateAThousandTimesLeavesNothingAlive(t *testing.T) {
	t.Parallel()
	rounds := 1000
	if testing.Short() {
		rounds = 50
	}
	a := apptest.New(t, weaker)
	b := a.Another(t)
	p := a.SignUp(t)
	for round := range rounds {
		p.SignIn(t)
		tokens := []apptest.Session{p.Session}
		var (
			mu sync.Mutex
			wg sync.WaitGroup
		)
		for _, process := range []*apptest.App{a, b} {
			wg.Go(func() {
				got, err := process.Identity.Refresh(t.Context(), p.RefreshToken)
				if err != nil {
					if !isRefusal(err) {
						t.Errorf("round %d: %v", round, err)
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				tokens = append(tokens, apptest.Session{AccessToken: got.AccessToken, RefreshToken: got.RefreshToken})
			})
		}
		wg.Go(func() { p.Post(t, "/auth/logout", nil).Want(t, 200) })
		wg.Wait()
		for _, s := range tokens {
			if _, err := b.Identity.Refresh(t.Context(), s.RefreshToken); err == nil {
				t.Fatalf("round %d: a refresh token outlived its session", round)
			}
			if _, err := a.Identity.Authenticate(t.Context(), s.AccessToken); !errors.Is(err, fault.Unauthorized) {
				t.Fatalf("round %d: an access token outlived its session: %v", round, err)
			}
		}
	}
}

func isRefusal(err error) bool {
	_, ok := fault.From(err)
	return ok
}

func TestAuth19_ARefreshWritesOneRowAndLeavesNoneBehind(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p := a.SignUp(t)
	m := p.Onboard(t, "satu-baris")
	rows := func() string {
		var all []string
		conn := connect(t, a)
		found, err := conn.Query(t.Context(), "select relname from pg_class where relnamespace = 'central'::regnamespace and relkind = 'r' and relname not like 'river%' order by 1")
		if err != nil {
			t.Fatal(err)
		}
		var tables []string
		for found.Next() {
			var name string
			if err := found.Scan(&name); err != nil {
				t.Fatal(err)
			}
			tables = append(tables, name)
		}
		for _, table := range tables {
			all = append(all, fmt.Sprint(table, " ", count(t, a, "select count(*) from central."+table)))
		}
		return strings.Join(all, "\n")
	}
	before := rows()
	versions := func() (v []string) {
		conn := connect(t, a)
		var s string
		if err := conn.QueryRow(t.Context(), "select coalesce(string_agg(x.id::text || x.xmin::text, ' ' order by x.id), '') from (select id, xmin from central.refresh_chains union all select id, xmin from central.sessions union all select id, xmin from central.users) x").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return strings.Fields(s)
	}
	was := versions()
	refreshed(t, p.Caller, p.RefreshToken)
	now := versions()
	written := 0
	for _, v := range now {
		if !slices.Contains(was, v) {
			written++
		}
	}
	if written != 1 {
		t.Errorf("%d rows were written", written)
	}
	refreshed(t, m.Caller, m.RefreshToken)
	if after := rows(); after != before {
		t.Errorf("rows before:\n%s\nafter:\n%s", before, after)
	}
}

func TestAuth20_LifetimesAreNotExtendedByRotation(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	idle, busy := a.SignUp(t), a.SignUp(t)
	token, refreshes := busy.RefreshToken, 0
	for ; refreshes < 5; refreshes++ { // 29 days each: the session has 90
		clock.forward(29 * 24 * time.Hour)
		r := refresh(t, busy.Caller, token)
		if r.Status == http.StatusUnauthorized {
			break
		}
		token = r.Want(t, 200).Object(t)["refresh_token"].(string)
	}
	if refreshes != 3 {
		t.Errorf("renewed %d times", refreshes)
	}
	refresh(t, busy.Caller, token).Want(t, 401, "auth.refresh_invalid")
	refresh(t, idle.Caller, idle.RefreshToken).Want(t, 401, "auth.refresh_invalid")
}

// withinASecond asks until reached, and fails the test if it was not by something asked more than a second after the beginning. How long an
// answer takes does not count: the machine may be busy.
func withinASecond(t *testing.T, what string, reached func() bool) {
	t.Helper()
	within(t, time.Second, what, reached)
}

func within(t *testing.T, limit time.Duration, what string, reached func() bool) {
	t.Helper()
	began := time.Now()
	for asked := began; !reached(); asked = time.Now() {
		if took := asked.Sub(began); took > limit {
			t.Errorf("%s: not after %s", what, took)
			return
		}
	}
}

func TestAuth20_EndsTakeEffectInEveryProcessWithinASecond(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	b := a.Another(t)
	refused := func(c apptest.Caller, status int) func() bool {
		return func() bool { return c.Get(t, "/auth/me").Status == status }
	}
	there := func(c apptest.Caller) apptest.Caller { return b.On("").As(c.Token) }

	t.Run("logout", func(t *testing.T) {
		p, bystander := a.SignUp(t), a.SignUp(t)
		m := p.Onboard(t, "keluar")
		for _, c := range []apptest.Caller{p.Caller, m.Caller, bystander.Caller} {
			there(c).Get(t, "/auth/me").Want(t, 200)
		}
		p.Post(t, "/auth/logout", nil).Want(t, 200)
		p.Get(t, "/auth/me").Want(t, 401)
		m.Get(t, "/auth/me").Want(t, 401)
		withinASecond(t, "the other process refuses the central token", refused(there(p.Caller), 401))
		withinASecond(t, "the other process refuses the tenant's token", refused(there(m.Caller), 401))
		there(bystander.Caller).Get(t, "/auth/me").Want(t, 200)
	})
	t.Run("logout everywhere", func(t *testing.T) {
		p := a.SignUp(t)
		first := p.Caller
		p.SignIn(t)
		there(first).Get(t, "/auth/me").Want(t, 200)
		p.Post(t, "/auth/logout-all", nil).Want(t, 200)
		first.Get(t, "/auth/me").Want(t, 401)
		withinASecond(t, "the other process refuses", refused(there(first), 401))
	})
	t.Run("a disabled account", func(t *testing.T) {
		p := a.SignUp(t)
		there(p.Caller).Get(t, "/auth/me").Want(t, 200)
		if err := a.Identity.Disable(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		withinASecond(t, "the other process refuses", refused(there(p.Caller), 401))
		refresh(t, b.On(""), p.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	})
	t.Run("a membership that is removed, and one that is suspended, by whoever does it", func(t *testing.T) {
		for slug, statement := range map[string]string{
			"dikeluarkan": "delete from central.memberships where tenant_id = $1",
			"ditahan":     "update central.memberships set status = 'suspended' where tenant_id = $1",
		} {
			p := a.SignUp(t)
			m, other := p.Onboard(t, slug), p.Onboard(t, slug+"-lain")
			there(m.Caller).Get(t, "/auth/me").Want(t, 200)
			exec(t, a, statement, m.TenantID)
			withinASecond(t, "this process refuses", refused(m.Caller, 403))
			withinASecond(t, "the other process refuses", refused(there(m.Caller), 403))
			refresh(t, m.Caller, m.RefreshToken).Want(t, 401, "auth.refresh_invalid")
			other.Get(t, "/auth/me").Want(t, 200)
			p.Get(t, "/auth/me").Want(t, 200)
			refreshed(t, other.Caller, other.RefreshToken)
		}
	})
	t.Run("also where the notification was lost", func(t *testing.T) {
		p := a.SignUp(t)
		there(p.Caller).Get(t, "/auth/me").Want(t, 200)
		cut := func() int64 {
			return exec(t, a, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'homecore listener'")
		}
		if cut() < 2 {
			t.Error("nobody was listening")
		}
		exec(t, a, "update central.sessions set revoked_at = clock_timestamp(), revoked_for = 'ended' where user_id = $1", p.ID)
		withinASecond(t, "the other process refuses", refused(there(p.Caller), 401))
	})
}

func TestAuth20_CheckingATokenReadsNoDatabase(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now), apptest.With(func(c *app.Config) { c.Identity.OperatorsNeedTwoFactor = true }))
	p := a.SignUp(t)
	m := p.Onboard(t, "tanpa-baca")
	op := a.Operator(t, "owner")
	x := enrol(t, op.Caller, clock)
	op.Session = signedIn(t, a, op, x)
	op.Token = op.AccessToken
	strict := op.Onboard(t, "dua-langkah")
	strict.Put(t, "/auth/sign-in-policy", map[string]any{"two_factor_required": true, "remembered_devices_forbidden": true}).Want(t, 200)
	soon(t, 200, "", func() *apptest.Response { return op.Get(t, "/tenants") })
	soon(t, 200, "", func() *apptest.Response { return strict.Get(t, "/master-data/taxonomies") })
	for _, c := range []apptest.Caller{p.Caller, m.Caller, op.Caller, strict.Caller} {
		c.Get(t, "/auth/me").Want(t, 200)
	}
	central, err := a.Identity.Authenticate(t.Context(), op.Token)
	if err != nil {
		t.Fatal(err)
	}
	member, err := a.Identity.Authenticate(t.Context(), strict.Token)
	if err != nil {
		t.Fatal(err)
	}
	// What is locked cannot be read: me would wait for it in vain. News of how the account was made may come late and make it read once more.
	db := connect(t, a)
	apptest.Until(t, "two seconds without reading", func() bool {
		for _, c := range []apptest.Caller{p.Caller, op.Caller} {
			c.Get(t, "/auth/me").Want(t, 200)
		}
		tx, err := db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context()) //nolint:errcheck // it changes nothing
		if _, err := tx.Exec(t.Context(), "lock table central.users, central.sessions, central.refresh_chains, central.memberships, central.membership_changes, central.platform_roles in access exclusive mode"); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 2*time.Second; {
			if p.Get(t, "/auth/me").Status != 200 {
				return false
			}
			// Nor is it asked for what a sign-in has shown, of operators and in tenants that want a second factor.
			if a.Identity.PlatformPermits(t.Context(), central, "tenants.read") != nil || a.Identity.TenantLetsIn(t.Context(), member) != nil {
				return false
			}
		}
		return true
	})
}

func TestAuth22_SessionList(t *testing.T) {
	t.Parallel()
	clock := &movable{}
	a := apptest.New(t, apptest.WithClock(clock.now))
	p, other := a.SignUp(t), a.SignUp(t)
	first := p.Session
	p.As("").Post(t, "/auth/login", map[string]any{"email": p.Email, "password": p.Password, "device_name": "Tablet gudang"},
		"User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0").Want(t, 200).Into(t, &p.Session)
	p.Token = p.AccessToken
	p.Onboard(t, "gudang")
	clock.forward(time.Minute)
	p.Session = refreshed(t, p.Caller, p.RefreshToken)
	p.Token = p.AccessToken

	listed := p.Get(t, "/auth/sessions").Want(t, 200).List(t)
	if len(listed) != 2 {
		t.Fatalf("%d sessions", len(listed))
	}
	now, before := listed[0], listed[1]
	if now["device"] != "Tablet gudang" || now["current"] != true || before["current"] != false || now["ip"] != "127.0.0.1" || !strings.Contains(now["user_agent"].(string), "Firefox/128") {
		t.Errorf("%v", listed)
	}
	created, _ := time.Parse(time.RFC3339, now["created_at"].(string))
	seen, _ := time.Parse(time.RFC3339, now["last_seen_at"].(string))
	if d := seen.Sub(created); d < 30*time.Second || d > 5*time.Minute {
		t.Errorf("created %s, last seen %s", created, seen)
	}
	if got := now["tenants"].([]any); len(got) != 1 || got[0].(map[string]any)["slug"] != "gudang" {
		t.Errorf("%v", got)
	}
	path := "/auth/sessions/" + before["id"].(string)
	other.Delete(t, path).Want(t, 404, "resource.not_found")
	p.As(first.AccessToken).Get(t, "/auth/me").Want(t, 200)
	p.Delete(t, path).Want(t, 200)
	p.As(first.AccessToken).Get(t, "/auth/me").Want(t, 401)
	p.Delete(t, path).Want(t, 404, "resource.not_found")
}

func TestAuth28_SelectTenantIsOneAnswerAndTwoTabsWork(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	p, stranger := a.SignUp(t), a.SignUp(t)
	first, second, shut := p.Onboard(t, "tab-satu"), p.Onboard(t, "tab-dua"), p.Onboard(t, "ditutup")
	exec(t, a, "update central.tenants set status = 'suspended' where id = $1", shut.TenantID)

	bodies := map[string]bool{}
	for _, try := range []struct {
		who    *apptest.Person
		tenant string
	}{{p, "tidak-ada"}, {stranger, "tab-satu"}, {stranger, first.TenantID.String()}, {p, "ditutup"}, {p, shut.TenantID.String()}} {
		r := try.who.Post(t, "/auth/select-tenant", map[string]any{"tenant": try.tenant}).Want(t, 404, "tenant.unknown")
		bodies[r.Code+r.Message+string(r.Data)] = true
	}
	if len(bodies) != 1 {
		t.Errorf("answers differ: %v", bodies)
	}
	for range 3 {
		for _, m := range []*apptest.Member{first, second} {
			if got := m.Get(t, "/auth/me").Want(t, 200).Object(t)["tenant"].(map[string]any)["slug"]; got != m.Slug {
				t.Errorf("the tab of %s is in %v", m.Slug, got)
			}
			m.Session = refreshed(t, m.Caller, m.RefreshToken)
			m.Caller = m.As(m.AccessToken)
		}
	}
	first.As(second.AccessToken).Get(t, "/auth/me").Want(t, 403, "tenant.context_mismatch")
	p.Get(t, "/auth/me").Want(t, 200)
}

// Who has been told that they have no such tenant is told otherwise once it comes back.
func TestAuth28_ATenantThatComesBackIsThereForItsMembers(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	b := a.Another(t)
	p := a.SignUp(t)
	m := p.Onboard(t, "kembali-lagi")
	listed := func(n int) func() bool {
		return func() bool {
			for _, x := range []*apptest.App{a, b} {
				if me := x.On("").As(p.Token).Get(t, "/auth/me").Want(t, 200).Object(t); len(me["tenants"].([]any)) != n {
					return false
				}
			}
			return true
		}
	}
	apptest.Until(t, "it is listed", listed(1))
	exec(t, a, "update central.tenants set status = 'archived', status_before = 'active' where id = $1", m.TenantID)
	apptest.Until(t, "it is gone", listed(0))
	refresh(t, m.Caller, m.RefreshToken).Want(t, 401, "auth.refresh_invalid")
	exec(t, a, "update central.tenants set status = 'active', status_before = null where id = $1", m.TenantID)
	apptest.Until(t, "it is listed again", listed(1))
	refresh(t, m.Caller, m.RefreshToken).Want(t, 200)
}

func TestAuth29_ARoleChangeTakesARightAwayFromLiveTokensWithinASecond(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	b := a.Another(t)
	p := a.SignUp(t)
	m, elsewhere := p.Onboard(t, "turun-peran"), p.Onboard(t, "tetap-pemilik")
	there := b.On(m.Slug).As(m.Token)
	word := func(c apptest.Caller, code string) *apptest.Response {
		return c.Post(t, "/master-data/taxonomies", map[string]any{"kind": "color", "code": code, "name": code})
	}
	word(m.Caller, "MERAH").Want(t, 201)
	word(there, "BIRU").Want(t, 201)

	// From owner to member, in the tenant's own schema and in the directory.
	var schema string
	if err := connect(t, a).QueryRow(t.Context(), "select schema_name from central.tenants where id = $1", m.TenantID).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	exec(t, a, "update "+schema+".members set role_id = (select id from "+schema+".roles where key = 'member') where user_id = $1", p.ID)
	exec(t, a, "update central.memberships set role = 'member' where tenant_id = $1 and user_id = $2", m.TenantID, p.ID)
	n := 0
	gone := func(c apptest.Caller) func() bool {
		return func() bool { n++; return word(c, fmt.Sprint("KODE", n)).Status == http.StatusForbidden }
	}
	withinASecond(t, "this process has taken the right away", gone(m.Caller))
	withinASecond(t, "the other process has taken the right away", gone(there))
	m.Get(t, "/master-data/taxonomies").Want(t, 200) // what a member may do goes on, on the same token
	word(elsewhere.Caller, "MERAH").Want(t, 201)

	var claims jwt.MapClaims
	s := refreshed(t, m.Caller, m.RefreshToken)
	if _, _, err := jwt.NewParser().ParseUnverified(s.AccessToken, &claims); err != nil || claims["ver"].(float64) < 2 {
		t.Errorf("%v, %v", claims, err)
	}
}
