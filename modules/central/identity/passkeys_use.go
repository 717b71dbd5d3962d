package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// PasskeyAnswer is what the browser made of passkey options.
type PasskeyAnswer struct {
	Ceremony   string         `json:"ceremony" maxLength:"32768" doc:"As it came with the options."`
	Credential map[string]any `json:"credential" doc:"PublicKeyCredential.toJSON()."`
}

// What a ceremony is for. One that was begun for something is good for nothing else.
const (
	ceremonyRegister  = "register"
	ceremonyLogin     = "login"
	ceremonyChallenge = "challenge"
	ceremonyProve     = "prove"
	ceremonyConfirm   = "confirm"
)

const ceremonyTTL = 5 * time.Minute

// ceremonyFor is what a ceremony is for, whose it is, and of which session or challenge.
type ceremonyFor struct {
	Purpose string    `json:"p"`
	UserID  uuid.UUID `json:"u,omitzero"`
	ID      uuid.UUID `json:"i,omitzero"`
}

// ceremony is what the server must know of the options when the browser's answer comes. It travels sealed with the client.
type ceremony struct {
	ceremonyFor
	CeremonyID uuid.UUID            `json:"c"`
	ExpiresAt  time.Time            `json:"e"`
	Data       webauthn.SessionData `json:"d"`
}

type ceremonies struct{ sealer crypto.Sealer }

func (c ceremonies) seal(made ceremony) (string, error) {
	text, err := json.Marshal(made)
	if err != nil {
		return "", fmt.Errorf("write a ceremony: %w", err)
	}
	return encodeBase64(c.sealer.Seal(text, nil)), nil
}

// open returns the ceremony of a text; false for one that is not ours or is over.
func (c ceremonies) open(text string, now time.Time) (found ceremony, ok bool) {
	plain, err := c.sealer.Open(decodeBase64(text), nil)
	if err != nil || json.Unmarshal(plain, &found) != nil {
		return ceremony{}, false
	}
	return found, now.Before(found.ExpiresAt)
}

// begin returns options to the browser, with the ceremony that goes with them.
func (s *Service) begin(what ceremonyFor, options any, data *webauthn.SessionData) (*api.Data[PasskeyOptions], error) {
	sealed, err := s.ceremonies.seal(ceremony{ceremonyFor: what, CeremonyID: newID(), ExpiresAt: s.now().Add(ceremonyTTL), Data: *data})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("write passkey options: %w", err)
	}
	answer := PasskeyOptions{Ceremony: sealed, ExpiresIn: seconds(ceremonyTTL)}
	if err := json.Unmarshal(text, &answer.PublicKey); err != nil {
		return nil, fmt.Errorf("write passkey options: %w", err)
	}
	return api.OK(answer), nil
}

// finishCeremony uses a ceremony up, in the transaction ctx carries; refusal where another was faster.
func (s *Service) finishCeremony(ctx context.Context, c ceremony, refusal *fault.Fault) error {
	done := s.DB.Gorm(ctx).Exec("insert into finished_ceremonies (id, expires_at) values (?, ?) on conflict do nothing", c.CeremonyID, c.ExpiresAt)
	if done.Error != nil {
		return fmt.Errorf("finish a ceremony: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return refusal
	}
	return nil
}

// relyingParty is who passkeys are made for: the base domain, so that one works on every subdomain. It takes answers of the page at
// origin, which must be the base domain's or a subdomain's, or returns passkeyInvalid; "" for beginning a ceremony.
func (s *Service) relyingParty(origin string) (*webauthn.WebAuthn, error) {
	base, err := url.Parse(s.Issuer)
	if err != nil {
		return nil, fmt.Errorf("read the issuer: %w", err)
	}
	origins := []string{s.Issuer}
	if origin != "" {
		// The library would compare scheme and host alone: what is no origin is refused before.
		if !originWithin(base, origin) {
			return nil, passkeyInvalid
		}
		origins[0] = origin
	}
	timeout := webauthn.TimeoutConfig{Timeout: ceremonyTTL, TimeoutUVD: ceremonyTTL}
	rp, err := webauthn.New(&webauthn.Config{
		RPID: base.Hostname(), RPDisplayName: s.Brand.Name, RPOrigins: origins,
		AttestationPreference: protocol.PreferNoAttestation, // any authenticator will do
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
	})
	if err != nil {
		return nil, passkeysUnavailable.WithCause(err) // an address is no domain, for one
	}
	return rp, nil
}

// originWithin reports whether an origin is base's own or of a subdomain: the same scheme and port, or in development, where the pages
// come from another server of the machine, any port.
func originWithin(base *url.URL, origin string) bool {
	o, err := url.Parse(origin)
	if err != nil || o.Scheme != base.Scheme || o.User != nil || o.Path != "" || o.RawQuery != "" || o.Fragment != "" {
		return false
	}
	host := strings.ToLower(o.Hostname())
	if host != base.Hostname() && !strings.HasSuffix(host, "."+base.Hostname()) {
		return false
	}
	return o.Port() == base.Port() || base.Hostname() == "localhost"
}

type passkeyProofOptionsInput struct {
	Authorization string `header:"Authorization" doc:"Bearer, with the challenge token, or with an access token where an operation asks for the current second factor."`
}

// handlePasskeyProofOptions begins the use of a passkey as the second factor, of a challenge or of somebody signed in.
func (s *Service) handlePasskeyProofOptions(ctx context.Context, in *passkeyProofOptionsInput) (*api.Data[PasskeyOptions], error) {
	token := api.Bearer(in.Authorization)
	var what ceremonyFor
	id, userID, err := s.verifyChallenge(ctx, token)
	switch {
	case err == nil:
		what = ceremonyFor{Purpose: ceremonyChallenge, UserID: userID, ID: id}
	case !isFault(err, twoFactorInvalid):
		return nil, err
	default:
		p, err := s.Authenticate(ctx, token)
		if err != nil {
			return nil, err
		}
		if p.Impersonated() {
			return nil, api.ImpersonationReadOnly
		}
		what = ceremonyFor{Purpose: ceremonyProve, UserID: p.UserID, ID: p.SessionID}
	}
	return s.beginUse(ctx, what, protocol.VerificationPreferred)
}

// beginUse begins the use of a passkey of somebody who is known.
func (s *Service) beginUse(ctx context.Context, what ceremonyFor, verification protocol.UserVerificationRequirement) (*api.Data[PasskeyOptions], error) {
	rp, err := s.relyingParty("")
	if err != nil {
		return nil, err
	}
	h, err := s.holderOf(ctx, user{ID: what.UserID})
	if err != nil {
		return nil, err
	}
	if len(h.credentials) == 0 {
		return nil, fault.ResourceNotFound
	}
	options, data, err := rp.BeginLogin(h, webauthn.WithUserVerification(verification))
	if err != nil {
		return nil, fmt.Errorf("begin the use of a passkey: %w", err)
	}
	return s.begin(what, options.Response, data)
}

// handleConfirmPasskeyOptions begins a confirmation by passkey.
func (s *Service) handleConfirmPasskeyOptions(ctx context.Context, _ *struct{}) (*api.Data[PasskeyOptions], error) {
	return s.beginUse(ctx, confirming(api.MustPrincipal(ctx)), protocol.VerificationRequired)
}

func confirming(p api.Principal) ceremonyFor {
	return ceremonyFor{Purpose: ceremonyConfirm, UserID: p.UserID, ID: p.SessionID}
}

type confirmPasskeyInput struct {
	Body PasskeyAnswer
}

func (s *Service) handleConfirmPasskey(ctx context.Context, in *confirmPasskeyInput) (*api.Data[SteppedUp], error) {
	if err := s.ConfirmPasskey(ctx, api.MustPrincipal(ctx), in.Body); err != nil {
		return nil, err
	}
	return api.OK(SteppedUp{ExpiresIn: seconds(stepUpFor)}), nil
}

// ConfirmPasskey is ConfirmPassword for who holds a passkey and was asked for its PIN or fingerprint: it would sign them in too, and not
// everybody has a password. Whatever is wrong is one answer, auth.passkey_invalid.
func (s *Service) ConfirmPasskey(ctx context.Context, p api.Principal, a PasskeyAnswer) error {
	u, err := s.account(ctx, p.UserID)
	if err != nil {
		return err
	}
	if err := s.admit(ctx, throttleChallenge, u.Email, uuid.Nil); err != nil {
		return err
	}
	factor, err := s.checkPasskey(ctx, u, a, confirming(p))
	if err == nil {
		err = s.stepUpBy(ctx, p, u, factor)
	}
	if err = s.judged(ctx, u, p.SessionID, err); isFault(err, twoFactorInvalid) {
		return passkeyInvalid.WithCause(err)
	}
	return err
}

// checkPasskey judges a passkey as u's second factor, asked for by options that were begun for the same thing.
func (s *Service) checkPasskey(ctx context.Context, u user, a PasskeyAnswer, on ceremonyFor) (provenFactor, error) {
	c, ok := s.ceremonies.open(a.Ceremony, s.now())
	if !ok || c.ceremonyFor != on {
		return provenFactor{}, twoFactorInvalid
	}
	parsed, rp, err := s.parseAssertion(a)
	if err != nil {
		return provenFactor{}, asRefusal(err, twoFactorInvalid)
	}
	h, err := s.holderOf(ctx, u)
	if err != nil {
		return provenFactor{}, err
	}
	used, err := rp.ValidateLogin(h, c.Data, parsed)
	if err != nil {
		return provenFactor{}, twoFactorInvalid.WithCause(err)
	}
	return s.usePasskey(u.ID, c, *used, twoFactorInvalid), nil
}

// usePasskey returns the use of a passkey that has proved itself; refusal where somebody was faster, or where its counter shows that
// there are two of it.
func (s *Service) usePasskey(of uuid.UUID, c ceremony, used webauthn.Credential, refusal *fault.Fault) provenFactor {
	return provenFactor{amr: amrOfPasskey(used), use: func(ctx context.Context) error {
		if err := s.finishCeremony(ctx, c, refusal); err != nil {
			return err
		}
		var row passkey
		err := s.DB.Gorm(ctx).Raw("select * from passkeys where user_id = ? and credential_id = ? for update", of, used.ID).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refusal
		}
		if err != nil {
			return fmt.Errorf("use a passkey of %s: %w", of, err)
		}
		var kept webauthn.Credential
		if err := s.openCredential(row, &kept); err != nil {
			return err
		}
		// WebAuthn §6.1.1: a counter that does not grow, of an authenticator that has one, says that the key was copied.
		if count := used.Authenticator.SignCount; used.Authenticator.CloneWarning || count != 0 && count <= kept.Authenticator.SignCount {
			s.Log.WarnContext(ctx, "a passkey's counter did not grow", "user_id", of, "passkey_id", row.ID, "request_id", api.RequestID(ctx))
			return refusal
		}
		row.LastUsedAt = new(s.now())
		if err := s.sealCredential(&row, &used); err != nil {
			return err
		}
		if err := s.DB.Gorm(ctx).Model(&row).Select("credential", "last_used_at").Updates(row).Error; err != nil {
			return fmt.Errorf("use a passkey of %s: %w", of, err)
		}
		return nil
	}}
}

func (s *Service) parseAssertion(a PasskeyAnswer) (*protocol.ParsedCredentialAssertionData, *webauthn.WebAuthn, error) {
	text, err := json.Marshal(a.Credential)
	if err != nil {
		return nil, nil, passkeyInvalid.WithCause(err)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(text)
	if err != nil {
		return nil, nil, passkeyInvalid.WithCause(err)
	}
	rp, err := s.relyingParty(parsed.Response.CollectedClientData.Origin)
	return parsed, rp, err
}

// asRefusal returns refusal in place of another refusal.
func asRefusal(err error, refusal *fault.Fault) error {
	if isFault(err, passkeyInvalid) {
		return refusal.WithCause(err)
	}
	return err
}

// handleLoginPasskeyOptions begins signing in with a passkey. Nobody is named: the authenticator knows whose it is, and nothing is told
// of who has an account.
func (s *Service) handleLoginPasskeyOptions(_ context.Context, _ *struct{}) (*api.Data[PasskeyOptions], error) {
	rp, err := s.relyingParty("")
	if err != nil {
		return nil, err
	}
	options, data, err := rp.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, fmt.Errorf("begin a sign-in with a passkey: %w", err)
	}
	return s.begin(ceremonyFor{Purpose: ceremonyLogin}, options.Response, data)
}

type loginPasskeyInput struct {
	Body struct {
		PasskeyAnswer
		DeviceName string `json:"device_name,omitempty" maxLength:"100"`
	}
}

func (s *Service) handleLoginPasskey(ctx context.Context, in *loginPasskeyInput) (*api.Data[SignedIn], error) {
	answer, err := s.LoginPasskey(ctx, in.Body.PasskeyAnswer, in.Body.DeviceName)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

// LoginPasskey signs in who holds a passkey and was asked for its PIN or fingerprint: two factors at once. Whatever is wrong is one
// answer, auth.passkey_invalid.
func (s *Service) LoginPasskey(ctx context.Context, a PasskeyAnswer, device string) (SignedIn, error) {
	if err := s.admit(ctx, throttlePasskey, "", uuid.Nil); err != nil {
		return SignedIn{}, err
	}
	c, ok := s.ceremonies.open(a.Ceremony, s.now())
	if !ok || c.ceremonyFor != (ceremonyFor{Purpose: ceremonyLogin}) {
		return SignedIn{}, s.refused(ctx, passkeyInvalid, Event{Type: eventLoginFailed})
	}
	parsed, rp, err := s.parseAssertion(a)
	if err != nil {
		return SignedIn{}, s.refused(ctx, err, Event{Type: eventLoginFailed})
	}
	var (
		u      user
		unread error // what kept us from reading, which is not the passkey's fault
	)
	_, used, err := rp.ValidatePasskeyLogin(func(credentialID, handle []byte) (webauthn.User, error) {
		err := s.DB.Gorm(ctx).Raw("select u.* from users u join passkeys p on p.user_id = u.id where p.credential_id = ? and u.id::text = ?",
			credentialID, handleID(handle)).Take(&u).Error
		var h holder
		if err == nil {
			h, err = s.holderOf(ctx, u)
		}
		if !errors.Is(err, gorm.ErrRecordNotFound) {
			unread = err
		}
		return h, err
	}, c.Data, parsed)
	if unread != nil {
		return SignedIn{}, fmt.Errorf("sign in with a passkey: %w", unread)
	}
	if err != nil {
		if u.ID != uuid.Nil {
			err = errors.Join(passkeyInvalid.WithCause(err), s.record(ctx, Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: "passkey_invalid", UserID: u.ID, Identifier: u.Email}))
			return SignedIn{}, err
		}
		return SignedIn{}, s.refused(ctx, passkeyInvalid.WithCause(err), Event{Type: eventLoginFailed})
	}
	proved := s.usePasskey(u.ID, c, *used, passkeyInvalid)
	answer, err := s.finish(ctx, wayIn{
		user: u, amr: addAMR(proved.amr, "user", amrMultiple), complete: true, device: device,
		within: func(ctx context.Context, _ user) error { return proved.use(ctx) },
	})
	if isFault(err, invalidCredentials) {
		err = passkeyInvalid
	}
	return answer, err
}

// handleID returns the account that a user handle names, as Postgres writes it.
func handleID(handle []byte) string {
	id, err := uuid.FromBytes(handle)
	if err != nil {
		return ""
	}
	return id.String()
}

// amrOfPasskey returns RFC 8176's word for a passkey: of hardware, or one that its maker keeps a copy of.
func amrOfPasskey(c webauthn.Credential) string {
	if c.Flags.BackupEligible {
		return "swk"
	}
	return "hwk"
}
