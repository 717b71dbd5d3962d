package taxonomies_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"garment.id/homecore/cmd/homecore/app/apptest"
)

const path = "/master-data/taxonomies"

func draft(code string) map[string]any {
	return map[string]any{"kind": "color", "code": code, "name": "Warna " + code}
}

func TestTaxonomies(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	owner := a.SignUp(t).Onboard(t, "rapi-jahit")

	t.Run("creates, shows, changes and deletes", func(t *testing.T) {
		t.Parallel()
		created := owner.Post(t, path, map[string]any{
			"kind": "fabric", "code": "KATUN-30S", "name": "Katun combed 30s", "description": "Lembut", "position": 3,
			"attributes": map[string]any{"gsm": 150, "komposisi": []any{"katun"}},
		}).Want(t, http.StatusCreated).Object(t)
		id := created["id"].(string)
		if parsed, err := uuid.Parse(id); err != nil || parsed.Version() != 7 {
			t.Errorf("id %s is no UUIDv7", id)
		}
		if created["version"] != 1.0 || created["is_active"] != true || created["parent_id"] != nil {
			t.Errorf("created %v", created)
		}
		shown := owner.Get(t, path+"/"+id).Want(t, http.StatusOK).Object(t)
		if fmt.Sprint(shown) != fmt.Sprint(created) {
			t.Errorf("shown  %v\ncreated %v", shown, created)
		}
		changed := owner.Put(t, path+"/"+id, map[string]any{"version": 1, "name": "Katun 30s", "description": "", "is_active": false}).Want(t, http.StatusOK).Object(t)
		if changed["name"] != "Katun 30s" || changed["description"] != "" || changed["is_active"] != false || changed["version"] != 2.0 {
			t.Errorf("changed %v", changed)
		}
		if changed["code"] != "KATUN-30S" || changed["position"] != 3.0 || changed["created_at"] != created["created_at"] {
			t.Errorf("what was left out has changed: %v", changed)
		}
		owner.Delete(t, path+"/"+id).Want(t, http.StatusOK)
		owner.Get(t, path+"/"+id).Want(t, http.StatusNotFound, "resource.not_found")
		owner.Delete(t, path+"/"+id).Want(t, http.StatusNotFound, "resource.not_found")
	})

	t.Run("refuses a code already used in the kind, whatever its case", func(t *testing.T) {
		t.Parallel()
		owner.Post(t, path, draft("BIRU")).Want(t, http.StatusCreated)
		r := owner.Post(t, path, draft("biru")).Want(t, http.StatusConflict, "resource.conflict")
		if len(r.Errors["code"]) == 0 {
			t.Errorf("errors %v", r.Errors)
		}
		other := draft("BIRU")
		other["kind"] = "size"
		owner.Post(t, path, other).Want(t, http.StatusCreated)
	})

	t.Run("says everything that is wrong at once, and changes nothing", func(t *testing.T) {
		t.Parallel()
		r := owner.Post(t, path, map[string]any{"kind": "Warna Saya", "code": "", "colour": "x"}).Want(t, http.StatusUnprocessableEntity, "validation.failed")
		for _, field := range []string{"kind", "code", "name", "colour"} {
			if len(r.Errors[field]) == 0 {
				t.Errorf("nothing said about %s: %v", field, r.Errors)
			}
		}
		if strings.Contains(string(r.Raw), "Warna Saya") {
			t.Error("the answer repeats the submitted value")
		}
	})

	t.Run("locks optimistically", func(t *testing.T) {
		t.Parallel()
		id := owner.Post(t, path, draft("HIJAU")).Want(t, http.StatusCreated).Object(t)["id"].(string)
		owner.Put(t, path+"/"+id, map[string]any{"name": "Hijau"}).WantField(t, "version")
		owner.Put(t, path+"/"+id, map[string]any{"name": "Hijau", "version": 0}).WantField(t, "version")
		owner.Put(t, path+"/"+id, map[string]any{"name": "Hijau"}, "If-Match", `"1"`).Want(t, http.StatusOK)
		owner.Put(t, path+"/"+id, map[string]any{"name": "Hijau tua", "version": 1}).Want(t, http.StatusConflict, "resource.stale")
		owner.Delete(t, path+"/"+id, "If-Match", `"1"`).Want(t, http.StatusConflict, "resource.stale")
		owner.Delete(t, path+"/"+id, "If-Match", `"2"`).Want(t, http.StatusOK)
	})

	t.Run("lets one of many simultaneous changes win", func(t *testing.T) {
		t.Parallel()
		id := owner.Post(t, path, draft("UNGU")).Want(t, http.StatusCreated).Object(t)["id"].(string)
		var wait sync.WaitGroup
		var mu sync.Mutex
		count := map[int]int{}
		for i := range 8 {
			wait.Go(func() {
				r := owner.Put(t, path+"/"+id, map[string]any{"name": fmt.Sprint("Ungu ", i), "version": 1})
				mu.Lock()
				count[r.Status]++
				mu.Unlock()
			})
		}
		wait.Wait()
		if count[200] != 1 || count[409] != 7 {
			t.Errorf("answers %v, want one 200 and seven 409", count)
		}
	})

	t.Run("keeps a tree within a kind", func(t *testing.T) {
		t.Parallel()
		root := owner.Post(t, path, map[string]any{"kind": "product_category", "code": "ATASAN", "name": "Atasan"}).Want(t, http.StatusCreated).Object(t)["id"].(string)
		child := owner.Post(t, path, map[string]any{"kind": "product_category", "code": "KEMEJA", "name": "Kemeja", "parent_id": root}).Want(t, http.StatusCreated).Object(t)["id"].(string)
		owner.Post(t, path, map[string]any{"kind": "size", "code": "XL", "name": "XL", "parent_id": root}).WantField(t, "parent_id")
		owner.Post(t, path, map[string]any{"kind": "size", "code": "L", "name": "L", "parent_id": uuid.NewString()}).WantField(t, "parent_id")
		owner.Put(t, path+"/"+root, map[string]any{"parent_id": child, "version": 1}).WantField(t, "parent_id")
		owner.Put(t, path+"/"+root, map[string]any{"parent_id": root, "version": 1}).WantField(t, "parent_id")
		owner.Put(t, path+"/"+root, map[string]any{"kind": "size", "version": 1}).Want(t, http.StatusConflict, "resource.conflict")
		owner.Delete(t, path+"/"+root).Want(t, http.StatusConflict, "resource.conflict")
		freed := owner.Put(t, path+"/"+child, map[string]any{"parent_id": nil, "version": 1}).Want(t, http.StatusOK).Object(t)
		if freed["parent_id"] != nil {
			t.Errorf("parent %v after null", freed["parent_id"])
		}
		owner.Delete(t, path+"/"+root).Want(t, http.StatusOK)
	})

	t.Run("closes no circle, however two moves meet", func(t *testing.T) {
		t.Parallel()
		add := func(code string, parent any) string {
			return owner.Post(t, path, map[string]any{"kind": "process", "code": code, "name": code, "parent_id": parent}).Want(t, http.StatusCreated).Object(t)["id"].(string)
		}
		for i := range 10 {
			top, other := add(fmt.Sprint("A", i), nil), add(fmt.Sprint("B", i), nil)
			below, belowOther := add(fmt.Sprint("X", i), top), add(fmt.Sprint("Y", i), other)
			var wait sync.WaitGroup
			answers := make([]int, 2)
			for n, move := range [][2]string{{top, belowOther}, {other, below}} {
				wait.Go(func() {
					answers[n] = owner.Put(t, path+"/"+move[0], map[string]any{"parent_id": move[1], "version": 1}).Status
				})
			}
			wait.Wait()
			if answers[0]+answers[1] != http.StatusOK+http.StatusUnprocessableEntity {
				t.Fatalf("round %d: %v, want one 200 and one 422", i, answers)
			}
		}
	})

	t.Run("an id that is none is not found", func(t *testing.T) {
		t.Parallel()
		owner.Get(t, path+"/"+uuid.NewString()).Want(t, http.StatusNotFound, "resource.not_found")
		owner.Get(t, path+"/abc").Want(t, http.StatusNotFound, "resource.not_found")
	})
}

func TestListPages(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	owner := a.SignUp(t).Onboard(t, "rapi-jahit")
	for i := range 12 {
		d := draft(fmt.Sprintf("W%02d", i))
		d["position"] = i / 5
		if i%2 == 0 {
			d["kind"], d["is_active"] = "size", false
		}
		owner.Post(t, path, d).Want(t, http.StatusCreated)
	}
	walk := func(t *testing.T, query string) (codes []string) {
		cursor := ""
		for {
			r := owner.Get(t, path+"?limit=5&"+query+cursor).Want(t, http.StatusOK)
			for _, row := range r.List(t) {
				codes = append(codes, row["code"].(string))
			}
			if r.Meta.Limit != 5 {
				t.Fatalf("limit %d", r.Meta.Limit)
			}
			if r.Meta.NextCursor == nil {
				return codes
			}
			cursor = "&cursor=" + *r.Meta.NextCursor
		}
	}

	t.Run("in every order, each row once", func(t *testing.T) {
		for _, sort := range []string{"position", "-position", "code", "-code", "name", "kind", "-created_at", "updated_at"} {
			codes := walk(t, "sort="+sort)
			distinct := slices.Compact(slices.Sorted(slices.Values(codes)))
			if len(codes) != 12 || len(distinct) != 12 {
				t.Errorf("sort %s: %v", sort, codes)
			}
		}
		if codes := walk(t, "sort=-code"); codes[0] != "W11" || codes[11] != "W00" {
			t.Errorf("by code, descending: %v", codes)
		}
	})

	t.Run("stable while rows are inserted", func(t *testing.T) {
		first := owner.Get(t, path+"?limit=6&sort=code").Want(t, http.StatusOK)
		owner.Post(t, path, draft("A00")).Want(t, http.StatusCreated) // before the page that was read
		rest := owner.Get(t, path+"?limit=100&sort=code&cursor="+*first.Meta.NextCursor).Want(t, http.StatusOK).List(t)
		if len(rest) != 6 || rest[0]["code"] != "W06" {
			t.Errorf("the second page: %v", rest)
		}
		r := owner.Get(t, path+"?q=A00").Want(t, http.StatusOK)
		owner.Delete(t, path+"/"+r.List(t)[0]["id"].(string)).Want(t, http.StatusOK)
	})

	t.Run("filters and searches", func(t *testing.T) {
		for query, want := range map[string]int{
			"filter[kind]=size": 6, "filter[is_active]=false": 6, "filter[kind]=color&filter[is_active]=false": 0,
			"q=w0": 10, "q=WARNA+W11": 1, "q=%25": 0, "q=_": 0,
		} {
			if rows := owner.Get(t, path+"?limit=100&"+query).Want(t, http.StatusOK).List(t); len(rows) != want {
				t.Errorf("%s: %d rows, want %d", query, len(rows), want)
			}
		}
	})

	t.Run("refuses what it does not know", func(t *testing.T) {
		owner.Get(t, path+"?filter[colour]=x").WantField(t, "filter[colour]")
		owner.Get(t, path+"?sort=colour").WantField(t, "sort")
		owner.Get(t, path+"?limit=0").WantField(t, "limit")
		owner.Get(t, path+"?limit=101").WantField(t, "limit")
		owner.Get(t, path+"?cursor=abc").WantField(t, "cursor")
		owner.Get(t, path+"?sort=position&cursor="+base64.RawURLEncoding.EncodeToString(
			[]byte(`{"s":"position","v":9223372036854775807,"id":"01a207d1-a84d-79af-86ff-26cf88a8bc5d"}`))).WantField(t, "cursor")
		owner.Get(t, path+"?filter[parent_id]=abc").WantField(t, "filter[parent_id]")
		if r := owner.Get(t, path+"?filter[parent_id]=urn:uuid:"+uuid.NewString()); r.Status >= 500 {
			t.Errorf("another form of id: %d", r.Status)
		}
		owner.Post(t, path, map[string]any{"kind": "color", "code": "SPASI", "name": "   "}).WantField(t, "name")
		next := *owner.Get(t, path+"?limit=2&sort=code").Want(t, http.StatusOK).Meta.NextCursor
		owner.Get(t, path+"?sort=name&cursor="+next).WantField(t, "cursor")
	})
}
