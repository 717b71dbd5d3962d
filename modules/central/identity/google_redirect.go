package identity

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

type googleRedirectInput struct {
	BrowserCookie
	ReturnTo      string `query:"redirect_to" maxLength:"2048" doc:"Page to return to, one of those configured; the first of them if absent."`
	CodeChallenge string `query:"code_challenge" maxLength:"64" doc:"S256 of a secret of that page, which it sends as code_verifier with the code it gets. Pages on another site need one; without one the code is bound to the browser's cookie."`
}

// GoogleAddress is where a browser goes to sign in; the answer redirects it there.
type GoogleAddress struct {
	URL string `json:"url"`
}

// handleGoogleRedirect sends a browser to the provider. On a tenant's host it goes by way of the base domain: the provider returns to
// one address, and the cookie must be of its host.
func (s *Service) handleGoogleRedirect(ctx context.Context, in *googleRedirectInput) (*api.Data[GoogleAddress], error) {
	if err := s.google.configured(); err != nil {
		return nil, err
	}
	refusal := fault.ValidationFailed
	returnTo, ok := s.returnTo(in.ReturnTo)
	if !ok {
		refusal = refusal.WithField("redirect_to", "Alamat ini tidak diizinkan.", "This address is not allowed.")
	}
	if in.CodeChallenge != "" && !isChallenge(in.CodeChallenge) {
		refusal = refusal.WithField("code_challenge", "Harus berupa SHA-256 dalam base64url.", "Must be a SHA-256 in base64url.")
	}
	if len(refusal.Fields()) > 0 {
		return nil, refusal
	}
	var target string
	if _, tenants := api.HostTenant(ctx); tenants {
		again := url.Values{}
		for name, value := range map[string]string{"redirect_to": in.ReturnTo, "code_challenge": in.CodeChallenge} {
			if value != "" {
				again.Set(name, value)
			}
		}
		target = s.Issuer + "/api/v1/auth/google/redirect"
		if len(again) > 0 {
			target += "?" + again.Encode()
		}
	} else {
		var err error
		if target, err = s.beginGoogle(ctx, in.BrowserCookie, returnTo, in.CodeChallenge); err != nil {
			return nil, err
		}
	}
	api.Header(ctx).Set("Location", target)
	answer := api.OK(GoogleAddress{URL: target})
	answer.Status = http.StatusFound
	return answer, nil
}

// beginGoogle keeps a sign-in that a browser begins, and returns where at the provider it goes.
func (s *Service) beginGoogle(ctx context.Context, c BrowserCookie, returnTo, challenge string) (string, error) {
	if err := s.admit(ctx, throttleGoogle, "", uuid.Nil); err != nil {
		return "", err
	}
	if _, err := s.google.provider(ctx); err != nil {
		return "", err
	}
	// One cookie serves all of a browser's tabs; each has a state of its own.
	browser, known := s.browser(c)
	if !known {
		browser = uuid.New()
	}
	id, err := s.beginFlow(ctx, googleFlow{Purpose: flowRedirect, Browser: &browser, ReturnTo: returnTo, Challenge: challenge}, flowTTL)
	if err != nil {
		return "", err
	}
	target, err := s.google.address(ctx, s.flows.encode(tokenState, id), s.flows.encode(tokenNonce, id), s.flows.verifier(id))
	if err != nil {
		return "", err
	}
	s.keepBrowser(ctx, browser)
	return target, nil
}

type googleCallbackInput struct {
	BrowserCookie
	State  string `query:"state" maxLength:"512"`
	Code   string `query:"code" maxLength:"2048"`
	Error  string `query:"error" maxLength:"200" doc:"What the provider says instead of a code."`
	Issuer string `query:"iss" maxLength:"2048" doc:"Who says it (RFC 9207)."`
	Accept string `header:"Accept"`
}

// handleGoogleCallback takes a browser back from the provider. A program gets the sign-in's answer; a browser goes on to the page that it
// came from, with a code that is good once, for a minute, and only there: no token is ever part of an address.
func (s *Service) handleGoogleCallback(ctx context.Context, in *googleCallbackInput) (*api.Data[*SignedIn], error) {
	if err := s.google.configured(); err != nil {
		return nil, err
	}
	f, err := s.returned(ctx, in)
	if err != nil {
		return nil, s.noteGoogle(ctx, err)
	}
	who, err := s.vouched(ctx, in, f)
	err = s.noteGoogle(ctx, err)
	if !acceptsHTML(in.Accept) {
		if err != nil {
			return nil, err
		}
		answer, err := s.signInWithGoogle(ctx, who, "", "")
		if err != nil {
			return nil, err
		}
		return api.OK(&answer), nil
	}
	page, parseErr := url.Parse(f.ReturnTo)
	if parseErr != nil {
		return nil, parseErr
	}
	q := page.Query()
	switch refused, isRefusal := fault.From(err); {
	case err == nil:
		id, err := s.beginFlow(ctx, googleFlow{Purpose: flowProof, Browser: f.Browser, Challenge: f.Challenge, Subject: who.Subject, Email: who.Email, Name: who.Name}, proofTTL)
		if err != nil {
			return nil, err
		}
		q.Set("code", s.flows.encode(tokenProof, id))
	case isRefusal:
		q.Set("error", refused.Code())
	default:
		return nil, err
	}
	page.RawQuery = q.Encode()
	api.Header(ctx).Set("Location", page.String())
	return &api.Data[*SignedIn]{Status: http.StatusSeeOther}, nil // nobody is signed in yet
}

// returned gives up what this browser began: the state must be ours, of this browser, and not used yet.
func (s *Service) returned(ctx context.Context, in *googleCallbackInput) (googleFlow, error) {
	id, err := s.flows.decode(tokenState, in.State)
	browser, known := s.browser(in.BrowserCookie)
	if err != nil || !known {
		return googleFlow{}, googleRefused
	}
	var f googleFlow
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		taken, ok, err := s.takeFlow(ctx, flowRedirect, id)
		if err != nil {
			return err
		}
		if !ok || taken.Browser == nil || *taken.Browser != browser {
			return googleRefused // undone: another browser must not use up what this one has begun
		}
		f = taken
		return nil
	})
	return f, err
}

// vouched asks the provider whom its code stands for.
func (s *Service) vouched(ctx context.Context, in *googleCallbackInput, f googleFlow) (person, error) {
	switch {
	case in.Issuer != "" && in.Issuer != s.Config.Google.Issuer:
		return person{}, googleRefused
	case in.Error == "access_denied": // RFC 6749 §4.1.2.1
		return person{}, googleCancelled
	case in.Error != "" || in.Code == "":
		return person{}, googleRefused
	}
	raw, err := s.google.exchange(ctx, in.Code, s.flows.verifier(f.ID), s.google.callback)
	if err != nil {
		return person{}, err
	}
	who, err := s.google.verify(ctx, raw, s.flows.encode(tokenNonce, f.ID))
	if err != nil {
		return person{}, err
	}
	fresh, err := s.takeIDToken(ctx, who)
	if err == nil && !fresh {
		err = googleRefused
	}
	return who, err
}

type googleExchangeInput struct {
	BrowserCookie
	Body struct {
		Code         string `json:"code" maxLength:"512" doc:"From the address of the page."`
		CodeVerifier string `json:"code_verifier,omitempty" maxLength:"128" doc:"The page's secret, where it gave a code_challenge."`
		DeviceName   string `json:"device_name,omitempty" maxLength:"100"`
		DeviceToken  string `json:"device_token,omitempty" maxLength:"512" doc:"From an earlier second factor that was to be remembered."`
	}
}

func (s *Service) handleGoogleExchange(ctx context.Context, in *googleExchangeInput) (*api.Data[SignedIn], error) {
	who, err := s.redeem(ctx, in.Body.Code, in.Body.CodeVerifier, in.BrowserCookie)
	if err != nil {
		return nil, s.noteGoogle(ctx, err)
	}
	answer, err := s.signInWithGoogle(ctx, who, in.Body.DeviceName, in.Body.DeviceToken)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

// redeem gives up whom a callback's code stands for, to the page that began it: it knows the secret behind its challenge, or is in the
// same browser and on our own site. So nobody is signed in by being led to an address with somebody else's code.
func (s *Service) redeem(ctx context.Context, code, verifier string, c BrowserCookie) (person, error) {
	id, err := s.flows.decode(tokenProof, code)
	if err != nil {
		return person{}, googleRefused
	}
	f, ok, err := s.takeFlow(ctx, flowProof, id)
	if err != nil {
		return person{}, err
	}
	if !ok {
		return person{}, googleRefused
	}
	if f.Challenge != "" {
		ok = isVerifier(verifier) && challengeOf(verifier) == f.Challenge
	} else {
		browser, known := s.browser(c)
		ok = known && f.Browser != nil && *f.Browser == browser
	}
	if !ok {
		return person{}, googleRefused
	}
	return person{Subject: f.Subject, Email: f.Email, Name: f.Name}, nil
}
