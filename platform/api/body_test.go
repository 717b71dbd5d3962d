package api_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"garment.id/homecore/platform/api"
)

func TestBody(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const fine = `{"name":"Budi","email":"budi@example.id"}`

	t.Run("must be JSON in UTF-8", func(t *testing.T) {
		t.Parallel()
		for media, code := range map[string]int{
			"application/json": 201, "application/json; charset=utf-8": 201, "Application/JSON;charset=UTF-8": 201,
			`application/json; profile="a+b"`:  201,
			"application/json; charset=latin1": 415, "application/merge-patch+json": 415, "application/vnd.api+json": 415,
			"text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "nonsense": 415, "": 415,
		} {
			a := e.request(t, "POST /api/v1/drafts", fine, "Content-Type: "+media)
			if a.StatusCode != code {
				t.Errorf("%q: %s", media, a.raw)
			}
			if code == 415 {
				a.want(t, 415, "request.unsupported_media_type")
			}
		}
	})
	t.Run("that cannot be read is 400", func(t *testing.T) {
		t.Parallel()
		deep := strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40)
		for name, body := range map[string]string{
			"is cut off": `{"name":`, "is no JSON": `name=Budi`, "has more after it": fine + `{}`, "has garbage after it": fine + `x`,
			"nests too deeply":                    `{"name":"Budi","email":"a@b.id","extra":{"x":` + deep + `}}`,
			"holds NUL":                           `{"name":"Bu\u0000di","email":"a@b.id"}`,
			"holds NUL within":                    `{"name":"Budi","email":"a@b.id","extra":{"x":["\u0000"]}}`,
			"is not UTF-8":                        "{\"name\":\"Bud\xff\",\"email\":\"a@b.id\"}",
			"names a field twice":                 `{"name":"Budi","name":"Wati","email":"a@b.id"}`,
			"names a field twice, once in escape": `{"name":"Budi","na\u006de":"Wati","email":"a@b.id"}`,
			"is only space":                       "  ",
		} {
			a := e.request(t, "POST /api/v1/drafts", body)
			if a.StatusCode != 400 || a.body.Code != "request.malformed" {
				t.Errorf("a body that %s: %d %s", name, a.StatusCode, a.raw)
			}
		}
	})
	t.Run("may hold the six characters of an escaped NUL", func(t *testing.T) {
		t.Parallel()
		e.request(t, "POST /api/v1/drafts", `{"name":"a\\u0000","email":"a@b.id"}`).want(t, 201, "ok")
	})
	t.Run("may name the same field in two objects", func(t *testing.T) {
		t.Parallel()
		e.request(t, "POST /api/v1/drafts", `{"name":"Budi","email":"a@b.id","extra":{"name":1,"x":{"name":"name"}}}`).want(t, 201, "ok")
	})
	t.Run("that is missing is 400", func(t *testing.T) {
		t.Parallel()
		e.request(t, "POST /api/v1/drafts", "").want(t, 400, "request.malformed")
		e.request(t, "POST /api/v1/drafts", "", "Content-Type: application/json").want(t, 400, "request.malformed")
	})
	t.Run("of exactly the limit passes, and one byte more does not", func(t *testing.T) {
		t.Parallel()
		pad := func(n int) string { return fine + strings.Repeat(" ", n-len(fine)) }
		e.request(t, "POST /api/v1/drafts", pad(1<<20)).want(t, 201, "ok")
		e.request(t, "POST /api/v1/drafts", pad(1<<20+1)).want(t, 413, "request.too_large")
		e.request(t, "POST /api/v1/small", pad(100)).want(t, 201, "ok")
		e.request(t, "POST /api/v1/small", pad(101)).want(t, 413, "request.too_large")
	})
	t.Run("of unknown length is limited too", func(t *testing.T) {
		t.Parallel()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.server.URL+"/api/v1/small",
			io.NopCloser(bytes.NewReader(bytes.Repeat([]byte(" "), 101))))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "localhost"
		req.Header.Set("Content-Type", "application/json")
		send(t, req).want(t, 413, "request.too_large")
	})
	t.Run("cut off by the client is 400, not 500", func(t *testing.T) {
		t.Parallel()
		raw := exchangeRaw(t, e, "POST /api/v1/drafts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		if !strings.HasPrefix(raw, "HTTP/1.1 400") || !strings.Contains(raw, "request.malformed") {
			t.Errorf("%s", raw)
		}
	})
}

func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	const patience = 500 * time.Millisecond
	e := newEdge(t, func(c *api.Config) { c.BodyTimeout = patience })
	api.Post(e.Router, "/long", func(ctx context.Context, _ *draftInput) (*api.Data[order], error) {
		// The promise is about time passing, so that time has to pass.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * patience):
			return api.OK(order{}), nil
		}
	}, "central.long", api.Public)

	t.Run("does not limit the handler", func(t *testing.T) {
		t.Parallel()
		e.request(t, "POST /api/v1/long", `{"name":"Budi","email":"budi@example.id"}`).want(t, 200, "ok")
	})
	t.Run("ends a body that never ends", func(t *testing.T) {
		t.Parallel()
		raw := exchangeRaw(t, e, "POST /api/v1/drafts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		if !strings.HasPrefix(raw, "HTTP/1.1 400") {
			t.Errorf("%s", raw)
		}
	})
}

// exchangeRaw sends bytes as they are and returns the answer.
func exchangeRaw(t *testing.T, e *edge, request string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Proto + " " + resp.Status + "\n" + string(body)
}
