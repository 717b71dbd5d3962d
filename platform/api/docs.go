package api

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"garment.id/homecore/platform/fault"
)

var (
	//go:embed docs/page.html
	docsPage []byte
	//go:embed docs/page.js
	docsScript []byte
	//go:embed docs/scalar.js.gz
	docsBundle []byte // its licence is docs/scalar.LICENSE
)

// docsPolicy lets the page run its own scripts and call its own host. Scalar sets styles on elements.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serveDocs adds the document of the surface, and a page to read it with, under the surface's root.
func (r *Router) serveDocs(s *side) {
	s.engine.GET("/openapi.json", func(c *gin.Context) {
		x := exchangeFrom(c.Request.Context())
		doc, err := s.document()
		if err != nil {
			x.fail(c.Request.Context(), err)
			return
		}
		send(x, jsonMedia, bytes.ReplaceAll(doc, []byte(anyServer), x.origin(c.Request.Host)))
	})
	s.engine.GET("/docs", func(c *gin.Context) {
		x := exchangeFrom(c.Request.Context())
		x.ResponseWriter.Header().Set("Content-Security-Policy", docsPolicy)
		send(x, "text/html; charset=utf-8", docsPage)
	})
	s.engine.GET("/docs/page.js", func(c *gin.Context) {
		send(exchangeFrom(c.Request.Context()), "text/javascript; charset=utf-8", docsScript)
	})
	s.engine.GET("/docs/scalar.js", sendBundle)
}

func sendBundle(c *gin.Context) {
	ctx := c.Request.Context()
	x := exchangeFrom(ctx)
	h := x.ResponseWriter.Header()
	h.Add("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "public, max-age=86400")
	if acceptsGzip(c.Request.Header.Get("Accept-Encoding")) {
		h.Set("Content-Encoding", "gzip")
		send(x, "text/javascript; charset=utf-8", docsBundle)
		return
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(docsBundle))
	if err != nil {
		x.fail(ctx, fault.ServerError.WithCause(err))
		return
	}
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = io.Copy(x, unpacked) //nolint:gosec // our own bundle, of known size; what can fail is the connection
}

func send(x *exchange, contentType string, body []byte) {
	h := x.ResponseWriter.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(http.StatusOK)
	_, _ = x.Write(body)
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as gzip and * go.
func acceptsGzip(header string) bool {
	accepted := false
	for part := range strings.SplitSeq(header, ",") {
		coding, params, _ := strings.Cut(part, ";")
		q, hasQ := strings.CutPrefix(strings.TrimSpace(params), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		ok := !hasQ || err == nil && weight > 0
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip":
			return ok
		case "*":
			accepted = ok
		}
	}
	return accepted
}

// origin is the server as the client addressed it, fit to stand inside a JSON string.
func (x *exchange) origin(host string) []byte {
	scheme := "http://"
	if x.secure {
		scheme = "https://"
	}
	quoted, err := json.Marshal(scheme + host)
	if err != nil {
		return nil
	}
	return quoted[1 : len(quoted)-1]
}
