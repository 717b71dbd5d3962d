package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

const (
	accessType    = "at+jwt"         // RFC 9068
	issuedLeeway  = 30 * time.Second // how far ahead the clock of the process that issued a token may be
	maxTokenBytes = 4096
	maxRemembered = 50_000
)

// claims are an access token's, as in the contract. Audience is one string: an array, which JWT allows too, is refused.
type claims struct {
	Issuer    string           `json:"iss"`
	Subject   uuid.UUID        `json:"sub"`
	Audience  audience         `json:"aud"`
	SessionID uuid.UUID        `json:"sid"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	ExpiresAt *jwt.NumericDate `json:"exp"`
	ID        string           `json:"jti"`
	AMR       []string         `json:"amr"`
	AuthTime  *jwt.NumericDate `json:"auth_time"`
	TenantID  *uuid.UUID       `json:"tid,omitempty"`
	Slug      string           `json:"slug,omitempty"`
	Version   int64            `json:"ver,omitempty"`
	Actor     *actor           `json:"act,omitempty"`
}

// UnmarshalJSON reads claims whose dates are dates.
func (c *claims) UnmarshalJSON(raw []byte) error {
	if err := numericDates(raw); err != nil {
		return err
	}
	type plain claims
	return json.Unmarshal(raw, (*plain)(c))
}

// numericDates returns errClaims where a date is not a JSON number, as RFC 7519 §2 has it: jwt.NumericDate takes text for one too.
func numericDates(raw []byte) error {
	var dates struct {
		IssuedAt  json.RawMessage `json:"iat"`
		ExpiresAt json.RawMessage `json:"exp"`
		AuthTime  json.RawMessage `json:"auth_time"`
	}
	if err := json.Unmarshal(raw, &dates); err != nil {
		return err
	}
	for _, date := range []json.RawMessage{dates.IssuedAt, dates.ExpiresAt, dates.AuthTime} {
		if len(date) > 0 && date[0] == '"' {
			return errClaims
		}
	}
	return nil
}

// actor is RFC 8693's act: the operator in whose hands the token is, and by which session of theirs.
type actor struct {
	Subject   uuid.UUID `json:"sub"`
	SessionID uuid.UUID `json:"sid"`
}

// The methods jwt asks for. It does not get to validate: principal does.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.ExpiresAt, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject.String(), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{string(c.Audience)}, nil
}

var errClaims = errors.New("the token's claims are not ours")

// principal returns who the claims speak for, or errClaims. It does not ask whether they have expired.
func (c *claims) principal(issuer string, now time.Time) (api.Principal, error) {
	tenantID, ok := c.Audience.tenant()
	switch {
	case !ok, c.Issuer != issuer, c.Subject == uuid.Nil, c.SessionID == uuid.Nil, c.ID == "",
		c.IssuedAt == nil, c.ExpiresAt == nil, c.AuthTime == nil, c.IssuedAt.After(now.Add(issuedLeeway)):
		return api.Principal{}, errClaims
	case tenantID == uuid.Nil && (c.TenantID != nil || c.Slug != "" || c.Version != 0),
		tenantID != uuid.Nil && (c.TenantID == nil || *c.TenantID != tenantID || c.Slug == "" || c.Version < 1):
		return api.Principal{}, errClaims
	}
	var by actor
	if c.Actor != nil {
		if by = *c.Actor; by.Subject == uuid.Nil || by.SessionID == uuid.Nil || by.Subject == c.Subject {
			return api.Principal{}, errClaims
		}
	}
	return api.Principal{
		ActorID: by.Subject, ActorSessionID: by.SessionID,
		UserID: c.Subject, SessionID: c.SessionID, TenantID: tenantID, TenantSlug: c.Slug, MembershipVersion: c.Version, TokenID: c.ID,
		AuthTime: c.AuthTime.UTC(), IssuedAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(), AMR: c.AMR,
	}, nil
}

// accessTokens signs and verifies access tokens.
type accessTokens struct {
	issuer string
	keys   *keyring
	clock  func() time.Time
	parser *jwt.Parser
	// What has been verified, by the token's hash: checking an EdDSA signature costs as much as a query.
	verified *otter.Cache[[sha256.Size]byte, verifiedToken]
}

type verifiedToken struct {
	principal api.Principal
	kid       string
}

func newAccessTokens(issuer string, keys *keyring, clock func() time.Time) *accessTokens {
	return &accessTokens{
		issuer: issuer,
		keys:   keys,
		clock:  clock,
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
		verified: otter.Must(&otter.Options[[sha256.Size]byte, verifiedToken]{
			MaximumSize: maxRemembered,
			ExpiryCalculator: otter.ExpiryCreatingFunc(func(e otter.Entry[[sha256.Size]byte, verifiedToken]) time.Duration {
				return max(time.Second, e.Value.principal.ExpiresAt.Sub(clock()))
			}),
		}),
	}
}

func (a *accessTokens) sign(ctx context.Context, c claims) (string, error) {
	set, err := a.keys.current(ctx)
	if err != nil {
		return "", err
	}
	if set.signer == nil {
		return "", errors.New("there is no active signing key")
	}
	c.Issuer, c.ID = a.issuer, newID().String()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, &c)
	token.Header["typ"], token.Header["kid"] = accessType, set.signerID
	signed, err := token.SignedString(set.signer)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return signed, nil
}

// verify returns who token speaks for: the fault auth.token_expired for one of ours that is over, auth.unauthenticated for
// anything else that is not good, and another error only where the keys cannot be read.
func (a *accessTokens) verify(ctx context.Context, token string) (api.Principal, error) {
	if len(token) > maxTokenBytes || strings.ContainsAny(token, "\r\n") { // base64 would overlook line breaks
		return api.Principal{}, fault.Unauthorized
	}
	now := a.clock()
	hash := sha256.Sum256([]byte(token))
	known, ok := a.verified.GetIfPresent(hash)
	if ok {
		// A key that has been withdrawn takes what it signed along.
		if _, ok, err := a.keys.find(ctx, known.kid); err != nil || !ok {
			return api.Principal{}, orUnauthorized(err)
		}
	} else {
		var err error
		if known, err = a.check(ctx, token, now); err != nil {
			return api.Principal{}, err
		}
	}
	if !now.Before(known.principal.ExpiresAt) {
		return api.Principal{}, tokenExpired
	}
	if !ok {
		a.verified.Set(hash, known)
	}
	return known.principal, nil
}

// check verifies the signature and all claims but exp.
func (a *accessTokens) check(ctx context.Context, token string, now time.Time) (verifiedToken, error) {
	var (
		c      claims
		kid    string
		keyErr error
	)
	_, err := a.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		// The header is exactly what sign writes. That refuses jku, x5u and jwk, which name a key of the sender's, and crit, which
		// would ask for what we do not do.
		if len(t.Header) != 3 || t.Header["typ"] != accessType {
			return nil, errClaims
		}
		kid, _ = t.Header["kid"].(string)
		key, ok, err := a.keys.find(ctx, kid)
		if err != nil {
			keyErr = err
			return nil, err
		}
		if !ok || t.Method != key.method { // RFC 8725 §3.1: the algorithm is the key's, not the token's
			return nil, errClaims
		}
		return key.public, nil
	})
	if err != nil {
		return verifiedToken{}, orUnauthorized(keyErr)
	}
	p, err := c.principal(a.issuer, now)
	if err != nil {
		return verifiedToken{}, fault.Unauthorized
	}
	return verifiedToken{principal: p, kid: kid}, nil
}

// orUnauthorized returns err, where there is one that is not the token's fault.
func orUnauthorized(err error) error {
	if err != nil {
		return err
	}
	return fault.Unauthorized
}

// Authenticate returns who a bearer token speaks for. It asks the database for nothing of this token: that its session has ended, or
// its user left the tenant, is known within a second, and where that cannot be known the answer is service.unavailable.
func (s *Service) Authenticate(ctx context.Context, bearer string) (api.Principal, error) {
	p, err := s.access.verify(ctx, bearer)
	if err != nil {
		return api.Principal{}, err
	}
	if err := s.ended.refuse(ctx, &p); err != nil {
		return api.Principal{}, err
	}
	if p.Impersonated() { // it ends with the operator's own session too
		if err := s.ended.refuse(ctx, &api.Principal{SessionID: p.ActorSessionID}); err != nil {
			return api.Principal{}, err
		}
	}
	return p, nil
}
