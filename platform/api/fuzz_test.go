package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// slowCheck judges JSON as checkJSON does, by the standard library's tokens.
func slowCheck(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		seen     map[string]bool // nil in an array
		nameNext bool
	}
	var levels []level
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s, ok := token.(string); ok && strings.ContainsRune(s, 0) {
			return errJSONText
		}
		top := len(levels) - 1
		isName := top >= 0 && levels[top].nameNext
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{':
				levels = append(levels, level{seen: map[string]bool{}, nameNext: true})
			case '[':
				levels = append(levels, level{})
			default:
				levels = levels[:top]
			}
			if len(levels) > maxDepth {
				return errJSONDepth
			}
			if token == '{' || token == '[' {
				continue
			}
		case string:
			if isName {
				if levels[top].seen[token] {
					return errJSONDuplicate
				}
				levels[top].seen[token] = true
				levels[top].nameNext = false
				continue
			}
		}
		if top = len(levels) - 1; top >= 0 && levels[top].seen != nil {
			levels[top].nameNext = true
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":{"a":[1,"a",{"a":null}]}}`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `["\u0000"]`, `["\\u0000"]`, `["\\\u0000"]`,
		strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat("[", 32) + strings.Repeat("]", 32), `{"a":"}{][,:\"","b":1}`, "]", "{", `"`,
		"[\"\xff\"]", `{"a":{"b":1},"b":{"b":1}}`, `[{"a":1},{"a":1}]`, `{"":1,"":2}`, `{"\ud800":1,"\udfff":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := checkJSON(data)
		if !json.Valid(data) {
			return // encoding/json refuses it whatever we say
		}
		if !bytes.Equal(data, bytes.ToValidUTF8(data, []byte("?"))) {
			if got == nil {
				t.Errorf("%q passed", data)
			}
			return
		}
		if want := slowCheck(data); (got == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", data, got, want)
		}
	})
}

func FuzzClientIP(f *testing.F) {
	f.Add("127.0.0.1:1", "203.0.113.9, 10.0.0.1")
	f.Add("127.0.0.1:1", ",,,")
	f.Add("[::1%eth0]:1", "[2001:db8::1]:80")
	f.Add("@", "1.2.3.4")
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		req := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		ip := clientIP(req, trusted)
		if ip.Zone() != "" || ip.Is4In6() {
			t.Errorf("%s is not in its plainest form", ip)
		}
		if peer, ok := parseAddr(remote); ok && !contains(trusted, peer) && ip != peer {
			t.Errorf("believed %q of an untrusted peer", forwarded)
		}
	})
}

func TestCheckJSONWithManyNames(t *testing.T) {
	t.Parallel()
	t.Run("finds a duplicate far apart", func(t *testing.T) {
		t.Parallel()
		var b strings.Builder
		b.WriteString(`{"first":0`)
		for i := range 100 {
			b.WriteString(`,"` + strings.Repeat("n", i+1) + `":0`)
		}
		if err := checkJSON([]byte(b.String() + `}`)); err != nil {
			t.Error(err)
		}
		if err := checkJSON([]byte(b.String() + `,"first":1}`)); !errors.Is(err, errJSONDuplicate) {
			t.Error(err)
		}
		if err := checkJSON([]byte(b.String() + `,"nnn":1}`)); !errors.Is(err, errJSONDuplicate) {
			t.Error(err)
		}
	})
}
