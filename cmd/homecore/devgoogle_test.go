package main

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// googleCanBeTried signs in with dev's stand-in for Google, as a browser does.
func googleCanBeTried(t *testing.T, d *dev) {
	if !strings.HasPrefix(d.card["Google"], "http://"+d.base+"/dev/google ") {
		t.Errorf("the card does not say where: %q", d.card["Google"])
	}
	c := caller{base: d.base}
	c.ask(t, 200, "GET", "//dev/google", nil)
	c.ask(t, 200, "GET", "//dev/google.js", nil)
	// visit follows one redirect; every address is this dev's own.
	visit := func(method, at string, form url.Values, cookies string) (to string, setCookies string) {
		t.Helper()
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(d.base)
		u.Scheme, u.Host = "http", "127.0.0.1:"+port
		r, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = d.base
		r.Header.Set("Accept", "text/html")
		r.Header.Set("Cookie", cookies)
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close() //nolint:errcheck // only looked at
		for _, cookie := range answer.Cookies() {
			setCookies += cookie.Name + "=" + cookie.Value + "; "
		}
		return answer.Header.Get("Location"), setCookies
	}
	provider, cookies := visit("GET", "/api/v1/auth/google/redirect", nil, "")
	form, _ := visit("GET", provider, nil, "")
	u, err := url.Parse(form)
	if err != nil {
		t.Fatal(err)
	}
	chosen, _ := visit("POST", "/dev/openid/login", url.Values{"id": {u.Query().Get("id")}, "account": {"siti.aminah@gmail.example|Siti Aminah"}}, "")
	callback, _ := visit("GET", chosen, nil, "")
	page, _ := visit("GET", callback, nil, cookies)
	u, err = url.Parse(page)
	if err != nil || u.Path != "/dev/google" {
		t.Fatalf("went from %s by %s and %s to %s", provider, form, callback, page)
	}
	a := c.ask(t, 200, "POST", "/auth/google/exchange", map[string]string{"code": u.Query().Get("code")}, "Cookie", cookies)
	if !strings.Contains(string(a.Data), "siti.aminah@gmail.example") {
		t.Errorf("%s", a.Data)
	}
}
