package app_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"garment.id/homecore/cmd/homecore/app"
	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/modules/central/tenants"
)

// nameServer is a DNS server that knows TXT records, over UDP.
type nameServer struct {
	address string
	mu      sync.Mutex
	records map[string][]string // lower case, with the last dot
	mute    bool                // answers SERVFAIL
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{address: conn.LocalAddr().String(), records: map[string][]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			size, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if answer, err := n.answer(buffer[:size]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return n
}

func (n *nameServer) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Questions[0]
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: m.Questions[:1]}
	texts := n.records[strings.ToLower(q.Name.String())]
	switch {
	case n.mute:
		answer.RCode = dnsmessage.RCodeServerFailure
	case texts == nil:
		answer.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeTXT:
		for _, text := range texts {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   &dnsmessage.TXTResource{TXT: []string{text}},
			})
		}
	}
	return answer.Pack()
}

// set makes these the TXT records of a name; with none there is no such name.
func (n *nameServer) set(name string, texts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records[name+"."] = texts
}

func (n *nameServer) silence(mute bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute = mute
}

func TestDomains(t *testing.T) {
	t.Parallel()
	dns := newNameServer(t)
	a := apptest.New(t, apptest.With(func(c *app.Config) {
		c.DNSServer = dns.address
		c.CORSOrigins = []string{"http://*.localhost:8080"}
	}))
	person := a.SignUp(t)
	mine, theirs := person.Onboard(t, "rapi-jahit"), a.SignUp(t).Onboard(t, "maju-busana")
	operator, onlooker := a.SignUp(t), a.SignUp(t)
	for p, role := range map[*apptest.Person]string{operator: "support", onlooker: "auditor"} {
		if err := a.Identity.GrantRole(t.Context(), p.Email, role, "test"); err != nil {
			t.Fatal(err)
		}
	}
	const domain = "pesan.rapijahit.co.id"
	path := func(slug string, more ...string) string {
		return "/tenants/" + slug + "/domains" + strings.Join(more, "")
	}
	claim := func(t *testing.T, slug, name string) tenants.DomainRecord {
		t.Helper()
		var r tenants.DomainRecord
		operator.Post(t, path(slug), map[string]any{"domain": name}).Want(t, http.StatusCreated).Into(t, &r)
		return r
	}
	verify := func(slug string) string { return path(slug, "/", domain, "/verify") }
	on := func(token string) apptest.Caller {
		c := a.On("").As(token)
		c.Host = domain + ":8080"
		return c
	}
	mine.Post(t, taxonomies, color("MERAH")).Want(t, http.StatusCreated)
	record := claim(t, "rapi-jahit", domain)

	t.Run("a claim says what proves it, and claimed again it is the same", func(t *testing.T) {
		if record.Status != "pending" || record.Record.Type != "TXT" || record.Record.Name != "_homecore."+domain ||
			!strings.HasPrefix(record.Record.Value, "homecore-verification=") || len(record.Record.Value) < 40 {
			t.Errorf("%+v", record)
		}
		for _, same := range []string{"PESAN.RapiJahit.co.id", domain + "."} {
			if again := claim(t, mine.TenantID.String(), same); again.Record != record.Record {
				t.Errorf("%s: %+v", same, again)
			}
		}
		if rows := operator.Get(t, path("rapi-jahit")).Want(t, http.StatusOK).List(t); len(rows) != 1 || rows[0]["domain"] != domain {
			t.Errorf("listed %v", rows)
		}
	})

	t.Run("without proof it is nobody's", func(t *testing.T) {
		operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusConflict, "domains.unproven")
		dns.set(record.Record.Name, "homecore-verification=", "v=spf1 -all", record.Record.Value+"x")
		r := operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusConflict, "domains.unproven")
		if r.Object(t)["value"] != record.Record.Value {
			t.Errorf("it says %v", r.Object(t))
		}
		on(mine.Token).Get(t, taxonomies).Want(t, http.StatusNotFound, "tenant.unknown")
	})

	t.Run("DNS that does not answer proves nothing", func(t *testing.T) {
		dns.silence(true)
		defer dns.silence(false)
		operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusServiceUnavailable, "domains.dns_unavailable")
	})

	t.Run("once proven it is the tenant's host, and no other's", func(t *testing.T) {
		dns.set(record.Record.Name, "v=spf1 -all", record.Record.Value)
		if r := operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusOK).Object(t); r["status"] != "verified" {
			t.Errorf("%v", r)
		}
		apptest.Until(t, "it is served", func() bool { return on(mine.Token).Get(t, taxonomies).Status == http.StatusOK })
		rows := on(mine.Token).Get(t, taxonomies).List(t)
		if len(rows) != 1 || rows[0]["code"] != "MERAH" {
			t.Errorf("listed %v", rows)
		}
		on(theirs.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
		on(person.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")
		on("").Get(t, taxonomies).Want(t, http.StatusUnauthorized, "auth.unauthenticated")
	})

	t.Run("a page on it may call what a page on the tenant's host may", func(t *testing.T) {
		for origin, want := range map[string]bool{
			"http://rapi-jahit.localhost:8080": true, "http://" + domain + ":8080": true, "http://" + domain: false, "https://" + domain + ":8080": false,
			"http://lain.co.id:8080": false, "http://x." + domain + ":8080": false, "null": false,
		} {
			r := mine.Get(t, taxonomies, "Origin", origin)
			if got := r.Header.Get("Access-Control-Allow-Origin"); (got == origin) != want {
				t.Errorf("%s: allowed is %q", origin, got)
			}
		}
	})

	t.Run("of two who claim it one has it", func(t *testing.T) {
		other := claim(t, "maju-busana", domain)
		if other.Record.Value == record.Record.Value {
			t.Fatal("one token for two tenants")
		}
		dns.set(record.Record.Name, record.Record.Value, other.Record.Value)
		operator.Post(t, verify("maju-busana"), nil).Want(t, http.StatusConflict, "domains.taken")
		on(mine.Token).Get(t, taxonomies).Want(t, http.StatusOK)

		dns.set(record.Record.Name, other.Record.Value) // its new holder has taken the old proof away
		operator.Post(t, verify("maju-busana"), nil).Want(t, http.StatusOK)
		apptest.Until(t, "it is theirs", func() bool { return on(theirs.Token).Get(t, taxonomies).Status == http.StatusOK })
		on(mine.Token).Get(t, taxonomies).Want(t, http.StatusForbidden, "tenant.context_mismatch")

		operator.Delete(t, path("maju-busana", "/", domain)).Want(t, http.StatusOK)
		apptest.Until(t, "it is nobody's", func() bool { return on(theirs.Token).Get(t, taxonomies).Status == http.StatusNotFound })
		operator.Delete(t, path("maju-busana", "/", domain)).Want(t, http.StatusNotFound)
		dns.set(record.Record.Name, record.Record.Value)
		operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusOK)
		apptest.Until(t, "it is mine", func() bool { return on(mine.Token).Get(t, taxonomies).Status == http.StatusOK })
	})

	t.Run("one whose proof is gone is lost after three days, and not because DNS is away", func(t *testing.T) {
		check := func() string {
			t.Helper()
			if err := a.Domains.Check(t.Context(), mine.TenantID, domain); err != nil {
				t.Fatal(err)
			}
			return operator.Get(t, path("rapi-jahit")).Want(t, http.StatusOK).List(t)[0]["status"].(string)
		}
		// The days pass for the domains alone: tokens would run out with the app's clock.
		domains := a.Domains.Clock
		defer func() { a.Domains.Clock = domains }()
		days := 0
		a.Domains.Clock = func() time.Time { return domains().Add(time.Duration(days) * 24 * time.Hour) }
		dns.silence(true)
		for range 10 {
			days++
			if status := check(); status != "verified" {
				t.Fatalf("%s while DNS is away", status)
			}
		}
		dns.silence(false)
		dns.set(record.Record.Name)
		var seen []string
		for range 5 {
			seen = append(seen, check())
			days++
		}
		if !slices.Equal(seen, []string{"failing", "failing", "failing", "pending", "pending"}) {
			t.Errorf("day by day it was %v", seen)
		}
		apptest.Until(t, "it is nobody's", func() bool { return on(mine.Token).Get(t, taxonomies).Status == http.StatusNotFound })
		dns.set(record.Record.Name, record.Record.Value)
		operator.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusOK)
		if status := check(); status != "verified" {
			t.Errorf("proven again it is %s", status)
		}
	})

	t.Run("letters of any script are kept as DNS has them", func(t *testing.T) {
		if r := claim(t, "rapi-jahit", "Bücher.Example.com"); r.Domain != "xn--bcher-kva.example.com" {
			t.Errorf("%+v", r)
		}
	})

	t.Run("what can be no tenant's is refused", func(t *testing.T) {
		for _, name := range []string{
			"localhost", "localhost:8080", "rapi-jahit.localhost", "toko", "127.0.0.1", "1.2.3.4", "::1", "[::1]", "com", "co.id", "github.io", "toko.local",
			"toko.internal", "10.1", "-a.example.com", "a..example.com", "http://example.com", "example.com/x", "ex ample.com", "*.example.com", ".example.com",
			"_homecore.example.com", strings.Repeat("a", 64) + ".com", strings.Repeat("abcdefgh.", 27) + "example.com",
		} {
			operator.Post(t, path("rapi-jahit"), map[string]any{"domain": name}).WantField(t, "domain")
		}
		operator.Post(t, path("tidak-ada"), map[string]any{"domain": "a.example.com"}).Want(t, http.StatusNotFound, "resource.not_found")
	})

	t.Run("a tenant has a bounded number", func(t *testing.T) {
		for i := range 20 {
			claim(t, "maju-busana", fmt.Sprintf("d%d.example.com", i))
		}
		operator.Post(t, path("maju-busana"), map[string]any{"domain": "d20.example.com"}).Want(t, http.StatusConflict, "resource.conflict")
	})

	t.Run("operators alone, and writers among them", func(t *testing.T) {
		onlooker.Get(t, path("rapi-jahit")).Want(t, http.StatusOK)
		onlooker.Post(t, path("rapi-jahit"), map[string]any{"domain": "a.example.com"}).Want(t, http.StatusForbidden, "access.denied")
		onlooker.Post(t, verify("rapi-jahit"), nil).Want(t, http.StatusForbidden, "access.denied")
		onlooker.Delete(t, path("rapi-jahit", "/", domain)).Want(t, http.StatusForbidden, "access.denied")
		person.Get(t, path("rapi-jahit")).Want(t, http.StatusForbidden, "access.denied")
	})
}
