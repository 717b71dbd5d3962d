package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
)

// googleFlow is something that was begun and may be finished once.
type googleFlow struct {
	ID        uuid.UUID
	Purpose   string
	Browser   *uuid.UUID
	ReturnTo  string
	Challenge string
	Subject   string
	Email     string
	Name      string
	CreatedAt time.Time
	ExpiresAt time.Time
}

func (googleFlow) TableName() string { return "google_flows" }

// googleIDToken is one that was taken.
type googleIDToken struct {
	Hash      []byte `gorm:"primaryKey"`
	ExpiresAt time.Time
}

func (googleIDToken) TableName() string { return "google_id_tokens" }

const (
	flowRedirect = "redirect" // a browser is at the provider
	flowNonce    = "nonce"    // for a Google button
	flowProof    = "proof"    // the provider has vouched for somebody, who is not signed in yet

	flowTTL  = 10 * time.Minute // to sign in at the provider, to use a nonce, to link
	proofTTL = time.Minute      // from the callback to the page that it leads to
)

// flowTokens writes and reads what the outside holds of a flow: version, a kind, an id, and a MAC over both. PKCE's verifier is computed
// likewise; it is the server's alone.
type flowTokens struct{ mac crypto.Authenticator }

type tokenKind byte

const (
	tokenState tokenKind = iota + 1
	tokenNonce
	tokenBrowser
	tokenProof    // the one-time code with which a page gets what came of it
	tokenLink     // lets somebody who signs in by other means link whom the provider has vouched for
	tokenVerifier // never leaves for anywhere but the provider
)

const (
	flowVersion   = 1
	flowTokenSize = 2 + 16 + 32
)

var errFlowToken = errors.New("not a token of a sign-in with Google")

func (t flowTokens) encode(kind tokenKind, id uuid.UUID) string {
	raw := append(make([]byte, 0, flowTokenSize), flowVersion, byte(kind))
	raw = append(raw, id[:]...)
	raw = append(raw, t.sum(kind, id)...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func (t flowTokens) decode(kind tokenKind, token string) (uuid.UUID, error) {
	raw := decodeBase64(token)
	if len(raw) != flowTokenSize || raw[0] != flowVersion || raw[1] != byte(kind) {
		return uuid.Nil, errFlowToken
	}
	id := uuid.UUID(raw[2:18])
	if !t.mac.Verify(raw[18:], []byte{byte(kind)}, id[:]) {
		return uuid.Nil, errFlowToken
	}
	return id, nil
}

func (t flowTokens) sum(kind tokenKind, id uuid.UUID) []byte {
	return t.mac.Sum([]byte{byte(kind)}, id[:])
}

// verifier returns a flow's PKCE verifier, of 43 characters (RFC 7636 §4.1).
func (t flowTokens) verifier(id uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(t.sum(tokenVerifier, id))
}

// Names of the cookie that a sign-in with Google is bound to. Browsers keep a __Host- cookie for https alone, even on localhost, so that
// where everything is http, which is development, the plain one goes with it.
const (
	flowCookie         = "__Host-homecore_google"
	flowCookieInsecure = "homecore_google"
)

// BrowserCookie is what a browser sends along, in either of two names.
type BrowserCookie struct {
	Secure   string `cookie:"__Host-homecore_google" doc:"Set by GET /auth/google/redirect."`
	Insecure string `cookie:"homecore_google" doc:"The same in development, over http."`
}

// browser returns which browser this is; false for one that has not begun anything.
func (s *Service) browser(c BrowserCookie) (uuid.UUID, bool) {
	values := []string{c.Secure}
	if !strings.HasPrefix(s.Issuer, "https:") {
		values = append(values, c.Insecure)
	}
	for _, v := range values {
		if id, err := s.flows.decode(tokenBrowser, v); err == nil {
			return id, true
		}
	}
	return uuid.Nil, false
}

// keepBrowser gives the browser its cookie. Lax: the provider's redirect back is a navigation from another site.
func (s *Service) keepBrowser(ctx context.Context, id uuid.UUID) {
	//nolint:gosec // the second cookie, of plain http alone, could not be kept if it were secure
	cookie := http.Cookie{Name: flowCookie, Value: s.flows.encode(tokenBrowser, id), Path: "/", MaxAge: int(flowTTL.Seconds()),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	api.Header(ctx).Add("Set-Cookie", cookie.String())
	if !strings.HasPrefix(s.Issuer, "https:") {
		cookie.Name, cookie.Secure = flowCookieInsecure, false
		api.Header(ctx).Add("Set-Cookie", cookie.String())
	}
}

// beginFlow keeps f, which is good for ttl, and returns its id.
func (s *Service) beginFlow(ctx context.Context, f googleFlow, ttl time.Duration) (uuid.UUID, error) {
	f.ID, f.CreatedAt = newID(), s.now()
	f.ExpiresAt = f.CreatedAt.Add(ttl)
	if err := s.DB.Gorm(ctx).Create(&f).Error; err != nil {
		return uuid.Nil, fmt.Errorf("begin a sign-in with Google: %w", err)
	}
	return f.ID, nil
}

// takeFlow gives up a flow once; false where there is none, or no more.
func (s *Service) takeFlow(ctx context.Context, purpose string, id uuid.UUID) (f googleFlow, ok bool, err error) {
	err = s.DB.Gorm(ctx).Raw("delete from google_flows where id = ? and purpose = ? and expires_at > ? returning *", id, purpose, s.now()).Take(&f).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return googleFlow{}, false, nil
	}
	if err != nil {
		return googleFlow{}, false, fmt.Errorf("finish a sign-in with Google: %w", err)
	}
	return f, true, nil
}

// takeIDToken remembers that an id_token was taken; false where it was before.
func (s *Service) takeIDToken(ctx context.Context, p person) (bool, error) {
	done := s.DB.Gorm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&googleIDToken{Hash: p.hash, ExpiresAt: p.expires})
	if done.Error != nil {
		return false, fmt.Errorf("remember an id_token: %w", done.Error)
	}
	return done.RowsAffected == 1, nil
}

// returnTo returns the page that a sign-in goes back to; false for one that is not configured.
func (s *Service) returnTo(asked string) (string, bool) {
	switch allowed := s.Config.Google.Redirects; {
	case asked != "":
		return asked, slices.Contains(allowed, asked)
	case len(allowed) > 0:
		return allowed[0], true
	default:
		return s.Issuer + "/", true
	}
}

// isChallenge reports whether text can be PKCE's S256 of something: 32 bytes.
func isChallenge(text string) bool { return len(decodeBase64(text)) == 32 }

// isVerifier reports whether text is as RFC 7636 §4.1 wants a code verifier.
func isVerifier(text string) bool {
	return len(text) >= 43 && len(text) <= 128 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	})
}
