package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// answer is what a test looks at.
type answer struct {
	*http.Response
	raw  []byte
	body struct {
		Success    bool                `json:"success"`
		Code       string              `json:"code"`
		Message    string              `json:"message"`
		RequestID  string              `json:"request_id"`
		Timestamp  string              `json:"timestamp"`
		APIVersion string              `json:"api_version"`
		Errors     map[string][]string `json:"errors"`
		Data       json.RawMessage     `json:"data"`
		Meta       map[string]any      `json:"meta"`
	}
}

// request sends one request. The method and URL are written together, "GET konveksi.localhost/api/v1/me"; headers as "Name: value".
func (e *edge) request(t *testing.T, what, body string, headers ...string) *answer {
	t.Helper()
	method, target, _ := strings.Cut(what, " ")
	host, path, _ := strings.Cut(target, "/")
	if host == "" {
		host = "localhost:8080"
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, e.server.URL+"/"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Del(name)
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) *answer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{Response: resp}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "application/json" && len(a.raw) > 0 {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			t.Fatalf("%s: %v", a.raw, err)
		}
	}
	return a
}

// want fails the test unless the answer has the status and the code, in a well-formed envelope.
func (a *answer) want(t *testing.T, status int, code string) *answer {
	t.Helper()
	if a.StatusCode != status || a.body.Code != code {
		t.Fatalf("%s %s answered %d %q, want %d %q\n%s", a.Request.Method, a.Request.URL, a.StatusCode, a.body.Code, status, code, a.raw)
	}
	if a.body.Success != (status < 400) || a.body.APIVersion != "v1" || a.body.Message == "" {
		t.Errorf("not an envelope: %s", a.raw)
	}
	if a.body.RequestID == "" || a.body.RequestID != a.Header.Get("X-Request-Id") {
		t.Errorf("request_id %q differs from X-Request-Id %q", a.body.RequestID, a.Header.Get("X-Request-Id"))
	}
	if at, err := time.Parse(time.RFC3339, a.body.Timestamp); err != nil || at.Location() != time.UTC {
		t.Errorf("timestamp %q is not RFC 3339 in UTC", a.body.Timestamp)
	}
	return a
}

func (a *answer) field(name string) string {
	var m map[string]string
	_ = json.Unmarshal(a.body.Data, &m)
	return m[name]
}

// logLines is a log that can be read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// of returns the lines about a request.
func (l *logLines) of(requestID string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for s := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(s), &m) == nil && m["request_id"] == requestID {
			m["line"] = s
			found = append(found, m)
		}
	}
	return found
}

// wait returns the lines about a request once its access line is there: it is written after the answer has been sent.
func (l *logLines) wait(t *testing.T, requestID string) []map[string]any {
	t.Helper()
	for t.Context().Err() == nil {
		lines := l.of(requestID)
		for _, m := range lines {
			if m["msg"] == "request" {
				return lines
			}
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("no access line for %s", requestID)
	return nil
}
