package tenants_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
)

func one(t *testing.T, a *apptest.App, query string, args ...any) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), a.SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is left to lose
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// 30: onboarding is one act: registry row, owner membership, provisioning job; idempotent; a race for a name has one winner; reserved,
// confusable and profane names are refused.
func TestAuth30_Onboarding(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	person := a.SignUp(t)
	onboard := func(t *testing.T, p *apptest.Person, slug, key string) *apptest.Response {
		t.Helper()
		return p.Post(t, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": slug}, "Idempotency-Key", key)
	}
	traces := func(t *testing.T, slug string) [4]int {
		t.Helper()
		const of = " where t.slug = $1"
		return [4]int{
			one(t, a, "select count(*) from central.tenants t"+of, slug),
			one(t, a, "select count(*) from central.memberships m join central.tenants t on t.id = m.tenant_id and m.role = 'owner' and m.status = 'active'"+of, slug),
			one(t, a, "select count(*) from central.onboardings o join central.tenants t on t.id = o.tenant_id"+of, slug),
			one(t, a, "select count(*) from central.river_job j join central.onboardings o on j.args->>'onboarding_id' = o.id::text join central.tenants t on t.id = o.tenant_id"+of, slug),
		}
	}
	t.Run("makes the row, the membership and the job together", func(t *testing.T) {
		t.Parallel()
		onboard(t, person, "satu-tindakan", uuid.NewString()).Want(t, http.StatusAccepted)
		if got := traces(t, "satu-tindakan"); got[0] != 1 || got[1] != 1 || got[2] != 1 || got[3] < 1 {
			t.Errorf("tenants, memberships, onboardings, jobs: %v", got)
		}
	})
	t.Run("or none of them", func(t *testing.T) {
		t.Parallel()
		onboard(t, person, "sudah-ada", uuid.NewString()).Want(t, http.StatusAccepted)
		before := one(t, a, "select count(*) from central.memberships where user_id = $1", person.ID)
		other := a.SignUp(t)
		onboard(t, other, "sudah-ada", uuid.NewString()).Want(t, http.StatusConflict, "resource.conflict")
		if n := one(t, a, "select (select count(*) from central.memberships where user_id = $1) + (select count(*) from central.onboardings where user_id = $1)", other.ID); n != 0 || before == 0 {
			t.Errorf("%d rows of who was refused", n)
		}
	})
	t.Run("is done once for a key, even at the same time", func(t *testing.T) {
		t.Parallel()
		key := uuid.NewString()
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids := map[any]bool{}
		for range 8 {
			wg.Go(func() {
				r := onboard(t, person, "sekali-saja", key)
				if r.Status != http.StatusAccepted {
					t.Errorf("answer %d %s", r.Status, r.Raw)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[r.Object(t)["onboarding"].(map[string]any)["id"]] = true
			})
		}
		wg.Wait()
		if got := traces(t, "sekali-saja"); len(ids) != 1 || got[0] != 1 || got[1] != 1 || got[2] != 1 {
			t.Errorf("%v, %v", ids, got)
		}
	})
	t.Run("of many who want a name, or one that reads like it, one gets it", func(t *testing.T) {
		t.Parallel()
		people := []*apptest.Person{a.SignUp(t), a.SignUp(t), a.SignUp(t)}
		for _, slugs := range [][]string{{"rebutan"}, {"mini-tailor", "minl-tailor", "m1ni-tail0r", "rnini-tailor"}} {
			var wg sync.WaitGroup
			var mu sync.Mutex
			count := map[string]int{}
			for i := range 16 {
				wg.Go(func() {
					r := onboard(t, people[i%3], slugs[i%len(slugs)], uuid.NewString())
					mu.Lock()
					defer mu.Unlock()
					count[fmt.Sprint(r.Status, " ", r.Code, " ", len(r.Errors["slug"]))]++
				})
			}
			wg.Wait()
			if count["202 ok 0"] != 1 || count["409 resource.conflict 1"] != 15 {
				t.Errorf("%v: %v", slugs, count)
			}
		}
	})
	t.Run("refuses names that are the platform's, read like them, or are foul", func(t *testing.T) {
		t.Parallel()
		for _, slug := range []string{
			"admin", "ad-min", "adm1n", "adrnin", "admln", "l0gin", "ma1l", "bill-ing", "garment", "garrnent", "g4rment", "garment-id", "garmentid",
			"homecore", "h0mecore", "horn3core", "my-homecore", "homecoresupport", "rapi-official", "toko-resmi", "toko-resm1",
			"fuck", "fuckyou", "f-u-c-k", "fuuuck", "toko-babi", "t0k0-b4b1", "sh1t", "kontolmu", "k0nt0l", "anj1ng", "xn--abc", "a--b",
			"01a21cd2-d374-7987-b16b-0d966c9b3d53", // reads like another tenant's id
		} {
			onboard(t, person, slug, uuid.NewString()).WantField(t, "slug")
			got := person.Get(t, "/auth/onboarding/availability?slug="+slug).Want(t, http.StatusOK).Object(t)
			if got["available"] != false || got["reason"] != "reserved" {
				t.Errorf("%s: %v", slug, got)
			}
		}
	})
	t.Run("refuses what cannot be, and says which field it is", func(t *testing.T) {
		t.Parallel()
		for _, bad := range []struct{ field, value string }{
			{"name", "a\nb"}, {"name", "a\r\nBcc: x@example.com"}, {"name", "\u202eabc"}, {"name", "\u200b\u200b"}, {"name", " x "}, {"name", "   "},
			{"timezone", ""}, {"timezone", "Local"}, {"timezone", "../../etc/passwd"}, {"timezone", "Asia/Bandung"},
			{"country", ""}, {"country", "ZZ"}, {"country", "id"}, {"currency", "QQQ"}, {"currency", ""}, {"locale", "fr"}, {"plan", "?"},
		} {
			body := map[string]any{"name": "Konveksi", "slug": "tidak-mungkin"}
			body[bad.field] = bad.value
			person.Post(t, "/auth/onboarding", body).WantField(t, bad.field)
		}
		all := person.Post(t, "/auth/onboarding", map[string]any{"name": "a\nb", "slug": "admin", "country": "Indonesia", "currency": "rupiah", "timezone": "Bandung", "locale": "fr"})
		for _, field := range []string{"name", "slug", "country", "currency", "timezone", "locale"} {
			all.WantField(t, field)
		}
		if got := traces(t, "tidak-mungkin"); got != [4]int{} {
			t.Errorf("%v", got)
		}
		person.Post(t, "/auth/onboarding", map[string]any{"name": " Toko Kain ", "slug": "toko-kain-rapi", "country": "TL", "currency": "USD", "timezone": "Asia/Dili"}).
			Want(t, http.StatusAccepted)
		if n := one(t, a, "select count(*) from central.tenants where slug = 'toko-kain-rapi' and name = 'Toko Kain'"); n != 1 {
			t.Error("the name keeps its blanks")
		}
	})
	t.Run("and no others", func(t *testing.T) {
		t.Parallel()
		for _, slug := range []string{"jaya-garment", "garment-jaya", "asuransi-tani", "mall", "batik-tulis", "kasur-busa", "pantai-indah", "toko-12", "analisa-data", "konveksi-01", "konveksi-171", "171", "admin-jahit"} {
			got := person.Get(t, "/auth/onboarding/availability?slug="+slug).Want(t, http.StatusOK).Object(t)
			if got["available"] != true {
				t.Errorf("%s: %v", slug, got)
			}
		}
		onboard(t, person, "batik-lasem", uuid.NewString()).Want(t, http.StatusAccepted)
		for _, alike := range []string{"bat1k-lasem", "b4tik-lasem", "batik-las3m", "batik-la5em", "ba7ik-lasem"} {
			if got := person.Get(t, "/auth/onboarding/availability?slug="+alike).Want(t, http.StatusOK).Object(t); got["reason"] != "taken" {
				t.Errorf("%s: %v", alike, got)
			}
			onboard(t, person, alike, uuid.NewString()).Want(t, http.StatusConflict)
		}
	})
}

func TestOnboardingIsThrottledByAccount(t *testing.T) {
	t.Parallel()
	a := apptest.New(t, apptest.With(func(c *app.Config) { c.Identity.Throttle = "on" }))
	person, other := a.SignUp(t), a.SignUp(t)
	onboard := func(p *apptest.Person, slug, key string) *apptest.Response {
		return p.Post(t, "/auth/onboarding", map[string]any{"name": "Konveksi", "slug": slug}, "Idempotency-Key", key)
	}
	first := uuid.NewString()
	onboard(person, "banyak-0", first).Want(t, http.StatusAccepted)
	for range 6 { // what repeats a request, or is refused, makes nothing
		onboard(person, "banyak-0", first).Want(t, http.StatusAccepted)
		onboard(person, "banyak-0", uuid.NewString()).Want(t, http.StatusConflict)
	}
	for i := range 4 {
		onboard(person, fmt.Sprint("banyak-", i+6), uuid.NewString()).Want(t, http.StatusAccepted)
	}
	for _, key := range []string{uuid.NewString(), ""} {
		r := onboard(person, "banyak-sekali", key).Want(t, http.StatusTooManyRequests, "rate_limited")
		if wait, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 600 {
			t.Errorf("Retry-After %q, want at most ten minutes", r.Header.Get("Retry-After"))
		}
	}
	onboard(other, "banyak-sekali", uuid.NewString()).Want(t, http.StatusAccepted)
}
