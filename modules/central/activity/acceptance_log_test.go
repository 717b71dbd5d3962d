package activity_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

func TestAuth31_EveryEventLeavesARow(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	operator := a.Operator(t, "auditor")
	p := person(t, a, bandung, firefox)

	t.Run("a sign-in says who, what, session, address, agent and request", func(t *testing.T) {
		answer := signIn(t, a, p, p.Password, bandung, newer).Want(t, 200)
		row := last(t, p, "login")
		if row.Outcome != "success" || row.User == nil || row.User.ID != p.ID.String() || row.User.Email != p.Email || row.SessionID == "" ||
			row.IP != bandung || row.UserAgent != newer || row.Device != "Firefox, Linux" || row.RequestID != answer.RequestID ||
			row.Location == nil || row.Location.Country != "ID" || row.Location.City != "Bandung" {
			t.Errorf("%+v", row)
		}
	})
	t.Run("a wrong password too", func(t *testing.T) {
		answer := signIn(t, a, p, "bukan kata sandinya", jakarta, phone).Want(t, 401)
		row := last(t, p, "login_failed")
		if row.Outcome != "failure" || row.Reason != "wrong_password" || row.SessionID != "" || row.IP != jakarta || row.RequestID != answer.RequestID {
			t.Errorf("%+v", row)
		}
	})
	t.Run("somebody unknown leaves a row without what they typed", func(t *testing.T) {
		const typed = "tidak-dikenal@example.com"
		var answers []*apptest.Response
		for range 2 {
			answers = append(answers, a.On("").Post(t, "/auth/login", map[string]any{"email": typed, "password": "kata sandi apa saja"},
				"X-Forwarded-For", london).Want(t, 401))
		}
		rows := list(t, operator.Caller, "/auth/activities?filter[ip]="+london)
		if len(rows) != 2 || rows[0].User != nil || rows[0].Reason != "unknown_account" || rows[1].RequestID != answers[0].RequestID {
			t.Errorf("%+v", rows)
		}
		if n := count(t, a, "select count(*) from central.security_activities a where a::text ilike '%tidak-dikenal%'"); n != 0 {
			t.Errorf("%d rows hold the address", n)
		}
		if n := count(t, a, "select count(distinct identifier_hash) from central.security_activities where ip = $1", london); n != 1 {
			t.Errorf("two tries for one address have %d hashes", n)
		}
	})
	t.Run("signing out, tenants and reused tokens are told as well", func(t *testing.T) {
		q := a.SignUp(t)
		q.Onboard(t, "rapi-jahit")
		q.Post(t, "/auth/logout", nil).Want(t, 200)
		for _, want := range []string{"login", "tenant_selected", "session_ended"} {
			rows := list(t, operator.Caller, "/auth/activities?filter[user]="+q.ID.String())
			if !slices.ContainsFunc(rows, func(s seen) bool {
				return s.Type == want && s.Outcome == "success" && (want != "tenant_selected" || s.Tenant != nil && s.Tenant.Slug == "rapi-jahit")
			}) {
				t.Errorf("no row %s in %+v", want, rows)
			}
		}
	})
}

func TestAuth31_TheLogCanOnlyGrow(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	p := person(t, a, bandung, firefox)
	conn := connect(t, a)
	as := func(role string, statement string) error {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context()) //nolint:errcheck // that is the intention
		if _, err := tx.Exec(t.Context(), "set local role "+role); err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(t.Context(), statement)
		return err
	}
	application := "hc_" + a.Installation.ID + "_central"
	row := fmt.Sprintf("insert into central.security_activities (id, at, type, outcome, user_id) values (gen_random_uuid(), now(), 'login', 'success', '%s')", p.ID)
	if err := as(application, row); err != nil {
		t.Errorf("the application cannot add a row: %v", err)
	}
	for _, statement := range []string{
		"update central.security_activities set outcome = 'failure'", "delete from central.security_activities", "truncate central.security_activities",
		"alter table central.security_activities disable trigger all", "drop table central.security_activities",
		"with e as (delete from central.security_activities returning id) select * from e",
		row + " on conflict (id) do update set type = 'logout'",
	} {
		if err := as(application, statement); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want that Postgres refuses the right", statement, err)
		}
	}
	for _, statement := range []string{"update central.security_activities set outcome = 'failure'", "truncate central.security_activities"} {
		if err := as("homecore_test_owner", statement); err == nil || !strings.Contains(err.Error(), "not changed afterwards") {
			t.Errorf("the owner: %s: %v", statement, err)
		}
	}
}

// Whoever gets to run SQL as the application, or as a tenant, finds no way round that either.
func TestAuth31_NoRoleButTheOwnersGetsRoundIt(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	person(t, a, bandung, firefox)
	// Of the log and what guards it: the rows, the table and whose it is, what it grants, its triggers and what they run.
	look := func() (state string) {
		t.Helper()
		err := connect(t, a).QueryRow(t.Context(), `select concat_ws(' ', (select count(*) from central.security_activities), (select md5(string_agg(a::text, ' ' order by id)) from central.security_activities a),
			c.oid, c.relkind, c.relowner, c.relacl, c.relhasrules, obj_description(c.oid),
			(select string_agg(concat(t.tgname, t.tgenabled, md5(pg_get_functiondef(t.tgfoid))), ' ' order by t.tgname) from pg_trigger t where t.tgrelid = c.oid),
			(select count(*) from pg_inherits where c.oid in (inhparent, inhrelid)))
			from pg_class c where c.oid = 'central.security_activities'::regclass`).Scan(&state)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	before := look()
	ways := []string{
		"update central.security_activities set at = at", "delete from central.security_activities", "truncate central.security_activities",
		"merge into central.security_activities a using (select 1) one on true when matched then delete",
		"select * from central.security_activities for update", "do $$ begin lock table central.security_activities in access exclusive mode; end $$",
		// Partitions and children: rows moved, or the table given a part that may be changed.
		"create table central.part partition of central.security_activities for values in (1)", "create table central.child () inherits (central.security_activities)",
		"alter table central.security_activities attach partition central.users default", "alter table central.security_activities detach partition central.users",
		"alter table central.users inherit central.security_activities", "create table central.copy (like central.security_activities including all)",
		// What guards it.
		"alter table central.security_activities disable trigger security_activities_stay", "alter table central.security_activities disable trigger all",
		"drop trigger security_activities_stay on central.security_activities", "set session_replication_role = replica",
		"create or replace function central.security_activities_stay() returns trigger language plpgsql as 'begin return null; end'",
		"drop function central.security_activities_stay() cascade",
		"create trigger swallow before insert on central.security_activities for each row execute function pg_catalog.suppress_redundant_updates_trigger()",
		"create rule swallow as on insert to central.security_activities do instead nothing",
		"alter table central.security_activities enable row level security", "create policy nothing on central.security_activities using (false)",
		"comment on table central.security_activities is 'not append-only'", // which the next installation would believe
		// The table itself.
		"drop table central.security_activities", "drop schema central cascade", "alter table central.security_activities rename to other",
		"alter table central.security_activities set schema public", "alter table central.security_activities drop column ip",
		"alter table central.security_activities alter column at type text", "drop owned by homecore_test_owner", "vacuum full central.security_activities",
		// Another's rights.
		"set role homecore_test_owner", "alter table central.security_activities owner to current_user", "grant delete on central.security_activities to current_user",
		"alter role current_user superuser", "create role other in role homecore_test_owner",
	}
	for _, role := range []string{"central", "g0"} {
		role = "hc_" + a.Installation.ID + "_" + role
		conn := connect(t, a)
		if _, err := conn.Exec(t.Context(), "set session authorization "+role); err != nil { // as though it had signed in: SET ROLE asks this one
			t.Fatal(err)
		}
		for _, statement := range ways {
			// To grant what one has not, and to vacuum what is not one's own, is only warned of; look says that nothing came of it.
			verb, _, _ := strings.Cut(statement, " ")
			if _, err := conn.Exec(t.Context(), statement); err == nil && verb != "grant" && verb != "vacuum" {
				t.Errorf("%s: %s: Postgres lets it", role, statement)
			} else if err != nil && !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %s: %v, want that Postgres refuses the right", role, statement, err)
			}
		}
		if after := look(); after != before {
			t.Errorf("%s: the log was\n%s\nand is\n%s", role, before, after)
		}
	}
	if _, err := connect(t, a).Exec(t.Context(), "set session authorization hc_"+a.Installation.ID+"_g0; select * from central.security_activities"); err == nil {
		t.Error("a tenant's role reads the log")
	}
}

func TestAuth31_OldRowsAreForgotten(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	p := person(t, a, bandung, firefox)
	exec(t, a, "insert into central.security_activities (id, at, type, outcome, user_id) select gen_random_uuid(), now() - interval '401 days', 'logout', 'success', $1 from generate_series(1, 5100)", p.ID)
	if err := a.Activity.ForgetOld(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, a, "select count(*) from central.security_activities where at < now() - interval '400 days'"); n != 0 {
		t.Errorf("%d old rows are left", n)
	}
	if n := count(t, a, "select count(*) from central.security_activities where user_id = $1", p.ID); n == 0 {
		t.Error("young rows are gone")
	}
	clock.forward(401 * 24 * time.Hour)
	if err := a.Activity.ForgetOld(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, a, "select count(*) from central.security_activities where user_id = $1", p.ID); n != 0 {
		t.Errorf("%d rows outlive their time", n)
	}
}

// buffer is a log that several goroutines write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAuth31_NoSecretInRowsAndLogLines(t *testing.T) {
	t.Parallel()
	log := &buffer{}
	a, _ := start(t, apptest.WithLog(log))
	p := person(t, a, bandung, firefox)
	const wrong = "rahasia-yang-salah-ketik"
	signIn(t, a, p, wrong, bandung, firefox).Want(t, 401)
	a.On("").Post(t, "/auth/login", map[string]any{"email": wrong + "@example.com", "password": wrong}).Want(t, 401)
	a.On("").Post(t, "/auth/login", map[string]any{"email": wrong, "password": wrong})
	first := p.RefreshToken
	var next apptest.Session
	a.On("").Post(t, "/auth/refresh", map[string]any{"refresh_token": first}).Want(t, 200).Into(t, &next)
	a.On("").Post(t, "/auth/refresh", map[string]any{"refresh_token": next.RefreshToken}).Want(t, 200)
	a.On("").Post(t, "/auth/refresh", map[string]any{"refresh_token": first}).Want(t, 401, "auth.refresh_reused")
	letters(t, a, p.Email)

	text := log.String()
	if !strings.Contains(text, "login_failed") {
		t.Fatal("the log has no line of a sign-in: the test looks at the wrong place")
	}
	for what, secret := range map[string]string{
		"a password": p.Password, "a wrong password or an unknown address": wrong, "an access token": p.AccessToken,
		"a refresh token": first, "its successor": next.RefreshToken, "a known address": p.Email,
	} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %s", what)
		}
		if n := count(t, a, "select count(*) from central.security_activities a where position($1 in a::text) > 0", secret); n != 0 {
			t.Errorf("%d rows hold %s", n, what)
		}
	}
}

func TestAuth31_Lists(t *testing.T) {
	t.Parallel()
	a, clock := start(t)
	operator := a.Operator(t, "support")
	p, q := person(t, a, bandung, firefox), person(t, a, jakarta, phone)
	signIn(t, a, q, "bukan kata sandinya", london, phone).Want(t, 401)

	t.Run("a user sees their own", func(t *testing.T) {
		for _, path := range []string{"/auth/activities", "/auth/activities/suspicious", "/auth/activities/security"} {
			for _, row := range list(t, p.Caller, path) {
				if row.User == nil || row.User.ID != p.ID.String() {
					t.Errorf("%s shows %+v", path, row)
				}
			}
			p.Get(t, path+"?filter[user]="+q.ID.String()).Want(t, 403, "access.denied")
			list(t, p.Caller, path+"?filter[user]="+p.ID.String())
			a.On("").Get(t, path).Want(t, 401)
		}
	})
	t.Run("who may read them on the platform sees everybody's", func(t *testing.T) {
		people := map[string]bool{}
		for _, row := range list(t, operator.Caller, "/auth/activities?limit=100") {
			if row.User != nil {
				people[row.User.ID] = true
			}
		}
		if !people[p.ID.String()] || !people[q.ID.String()] {
			t.Errorf("sees %v", people)
		}
		for _, row := range list(t, operator.Caller, "/auth/activities/security") {
			if row.User.ID != operator.ID.String() {
				t.Errorf("their own security shows %+v", row)
			}
		}
		billing := a.Operator(t, "billing")
		billing.Get(t, "/auth/activities?filter[user]="+p.ID.String()).Want(t, 403, "access.denied")
	})
	t.Run("filters", func(t *testing.T) {
		clock.forward(5 * time.Minute)
		signIn(t, a, q, q.Password, jakarta, firefox).Want(t, 200) // a new device
		cut := last(t, q, "login").At
		for filter, want := range map[string]int{
			"filter[type]=login_failed": 1, "filter[type]=login": 2, "filter[ip]=" + london: 1, "filter[ip]=203.0.113.0/24": 2,
			"filter[from]=" + cut.Add(-time.Minute).Format(time.RFC3339): 1, "filter[to]=" + cut.Add(-time.Minute).Format(time.RFC3339): 2,
			"filter[min_score]=25": 1, "filter[min_score]=90": 0, "filter[type]=login&filter[ip]=" + jakarta + "&filter[min_score]=1": 1,
		} {
			if rows := list(t, operator.Caller, "/auth/activities?filter[user]="+q.ID.String()+"&"+filter); len(rows) != want {
				t.Errorf("%s: %d rows, want %d: %+v", filter, len(rows), want, rows)
			}
		}
		for bad, field := range map[string]string{
			"filter[ip]=rumah": "filter[ip]", "filter[from]=kemarin": "filter[from]", "filter[min_score]=101": "filter[min_score]",
			"filter[user]=saya": "filter[user]", "sort=ip": "sort", "cursor=x": "cursor", "filter[nama]=x": "filter[nama]", "limit=0": "limit",
		} {
			operator.Get(t, "/auth/activities?"+bad).WantField(t, field)
		}
	})
	t.Run("pages are stable while rows are added", func(t *testing.T) {
		var got []string
		cursor := ""
		for {
			answer := q.Get(t, "/auth/activities"+query(url.Values{"limit": {"1"}, "cursor": {cursor}})).Want(t, 200)
			var rows []seen
			answer.Into(t, &rows)
			for _, r := range rows {
				got = append(got, r.ID)
			}
			signIn(t, a, q, "bukan kata sandinya", nowhere, phone).Want(t, 401)
			if answer.Meta.NextCursor == nil {
				break
			}
			cursor = *answer.Meta.NextCursor
		}
		if len(got) != 3 || got[0] == got[1] || got[1] == got[2] {
			t.Errorf("pages hold %v, want the three rows of before", got)
		}
	})
	t.Run("the tenant's log is for its members who may read it", func(t *testing.T) {
		owner := p.Onboard(t, "rapi-jahit")
		rows := list(t, owner.Caller, "/auth/activities/tenant")
		if len(rows) == 0 {
			t.Error("the tenant's log is empty")
		}
		for _, r := range rows {
			if r.Tenant == nil || r.Tenant.Slug != "rapi-jahit" {
				t.Errorf("shows %+v", r)
			}
		}
		list(t, a.On("").As(owner.AccessToken), "/auth/activities/tenant")
		p.Get(t, "/auth/activities/tenant").Want(t, 403, "tenant.context_mismatch")
		other := q.Onboard(t, "jahit-lain")
		a.On("rapi-jahit").As(other.AccessToken).Get(t, "/auth/activities/tenant").Want(t, 403, "tenant.context_mismatch")
	})
	t.Run("a tenant does not learn which accounts there are from who tries its login page", func(t *testing.T) {
		owner := p.Select(t, "rapi-jahit")
		for _, email := range []string{q.Email, "tidak-ada@example.com"} {
			a.On("rapi-jahit").Post(t, "/auth/login", map[string]any{"email": email, "password": "bukan kata sandinya"}, "User-Agent", phone).Want(t, 401)
		}
		rows := list(t, owner.Caller, "/auth/activities/tenant?filter[type]=login_failed")
		if len(rows) != 2 {
			t.Fatalf("%+v", rows)
		}
		for i := range rows {
			rows[i].ID, rows[i].RequestID, rows[i].At = "", "", time.Time{}
		}
		if !reflect.DeepEqual(rows[0], rows[1]) || rows[0].User != nil {
			t.Errorf("the two differ: %+v", rows)
		}
	})
	t.Run("nor from who looks suspicious there, or may register there", func(t *testing.T) {
		owner := p.Select(t, "rapi-jahit")
		tenant := a.On("rapi-jahit")
		for i := range 21 {
			tenant.Post(t, "/auth/login", map[string]any{"email": fmt.Sprintf("tebakan%d@example.com", i), "password": "bukan kata sandinya"}, "X-Forwarded-For", nowhere).Want(t, 401)
		}
		tenant.Post(t, "/auth/login", map[string]any{"email": q.Email, "password": "bukan kata sandinya"}, "X-Forwarded-For", nowhere).Want(t, 401)
		for _, row := range list(t, owner.Caller, "/auth/activities/tenant?limit=100&filter[type]=login_failed&filter[ip]="+nowhere) {
			if row.Score != 0 || len(row.Reasons) != 0 || row.Reason != "" {
				t.Errorf("shows %+v", row)
			}
		}
		for _, email := range []string{q.Email, "belum-ada@example.com"} {
			tenant.Post(t, "/auth/register", map[string]any{"name": "Siapa", "email": email, "password": "kata sandi yang panjang"}).Want(t, 202)
		}
		if rows := list(t, owner.Caller, "/auth/activities/tenant?filter[type]=registered"); len(rows) != 0 {
			t.Errorf("shows who had no account: %+v", rows)
		}
		if rows := list(t, owner.Caller, "/auth/activities/tenant?filter[user]="+q.ID.String()); len(rows) != 0 {
			t.Errorf("shows what somebody did who is none of its people: %+v", rows)
		}
		if rows := list(t, owner.Caller, "/auth/activities/tenant?filter[user]="+p.ID.String()); len(rows) == 0 {
			t.Error("hides its own people")
		}
	})
}

var eventNames = regexp.MustCompile(`\b(event|throttle)[A-Z]\w*\s*=\s*"([a-z_]+)"`)

// Every type that identity records can be asked for, and no other.
func TestActivities_FilterByType(t *testing.T) {
	t.Parallel()
	a, _ := start(t)
	owner := a.SignUp(t).Onboard(t, "jenis-kejadian")
	files, err := filepath.Glob("../identity/*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range eventNames.FindAllStringSubmatch(string(source), -1) {
			known[found[2]+map[string]string{"throttle": "_failed"}[found[1]]] = true
		}
	}
	if len(known) < 40 {
		t.Errorf("only %d types: the test looks at the wrong place", len(known))
	}
	for _, path := range []string{"/auth/activities", "/auth/activities/suspicious", "/auth/activities/tenant", "/auth/activities/security"} {
		owner.Get(t, path+"?filter[type]=nope").WantField(t, "filter[type]")
		for kind := range known {
			owner.Get(t, path+"?filter[type]="+kind).Want(t, 200)
		}
	}
}
