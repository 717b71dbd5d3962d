package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/locale"
)

// GoogleNonce is what a Google button is given, so that its id_token is good here once.
type GoogleNonce struct {
	Nonce     string `json:"nonce"`
	ExpiresIn int64  `json:"expires_in" doc:"Seconds."`
	ClientID  string `json:"client_id" doc:"What the provider calls us."`
}

func (s *Service) handleGoogleNonce(ctx context.Context, _ *struct{}) (*api.Data[GoogleNonce], error) {
	if err := s.google.configured(); err != nil {
		return nil, err
	}
	if err := s.admit(ctx, throttleGoogle, "", uuid.Nil); err != nil {
		return nil, err
	}
	id, err := s.beginFlow(ctx, googleFlow{Purpose: flowNonce}, flowTTL)
	if err != nil {
		return nil, err
	}
	return api.OK(GoogleNonce{Nonce: s.flows.encode(tokenNonce, id), ExpiresIn: seconds(flowTTL), ClientID: s.Config.Google.ClientID}), nil
}

// GoogleProof is the provider's word as a client brings it: an id_token with the nonce it was asked for with, or a code with what it
// takes to exchange it.
type GoogleProof struct {
	IDToken      string `json:"id_token,omitempty" maxLength:"8192" doc:"From a Google button."`
	Nonce        string `json:"nonce,omitempty" maxLength:"512" doc:"From GET /auth/google/nonce."`
	Code         string `json:"code,omitempty" maxLength:"2048" doc:"From an authorization that the client itself began, with PKCE (S256)."`
	CodeVerifier string `json:"code_verifier,omitempty" maxLength:"256"`
	RedirectURI  string `json:"redirect_uri,omitempty" maxLength:"2048" doc:"As it was in that authorization: one of the configured pages, or our own callback."`
}

type googleLoginInput struct {
	Body struct {
		GoogleProof
		DeviceName  string `json:"device_name,omitempty" maxLength:"100"`
		DeviceToken string `json:"device_token,omitempty" maxLength:"512" doc:"From an earlier second factor that was to be remembered."`
	}
}

func (s *Service) handleGoogleLogin(ctx context.Context, in *googleLoginInput) (*api.Data[SignedIn], error) {
	who, err := s.proved(ctx, in.Body.GoogleProof)
	if err != nil {
		return nil, s.noteGoogle(ctx, err)
	}
	answer, err := s.signInWithGoogle(ctx, who, in.Body.DeviceName, in.Body.DeviceToken)
	if err != nil {
		return nil, err
	}
	return api.OK(answer), nil
}

// check says what is missing of a proof.
func (p GoogleProof) check(s *Service) error {
	refusal := fault.ValidationFailed
	need := func(field, value string) {
		if value == "" {
			refusal = refusal.WithField(field, "Wajib diisi.", "Is required.")
		}
	}
	switch {
	case p.IDToken != "" && p.Code != "":
		refusal = refusal.WithField("code", "Kirimkan id_token atau code, bukan keduanya.", "Send an id_token or a code, not both.")
	case p.Code == "":
		need("id_token", p.IDToken)
		need("nonce", p.Nonce)
	default:
		if need("code_verifier", p.CodeVerifier); p.CodeVerifier != "" && !isVerifier(p.CodeVerifier) {
			refusal = refusal.WithField("code_verifier", "Harus 43 sampai 128 karakter menurut RFC 7636.", "Must be 43 to 128 characters as in RFC 7636.")
		}
		if need("redirect_uri", p.RedirectURI); p.RedirectURI != "" && p.RedirectURI != s.google.callback && !slices.Contains(s.Config.Google.Redirects, p.RedirectURI) {
			refusal = refusal.WithField("redirect_uri", "Alamat ini tidak diizinkan.", "This address is not allowed.")
		}
	}
	if len(refusal.Fields()) > 0 {
		return refusal
	}
	return nil
}

// proved returns whom a client's proof stands for, and takes it: the nonce and the id_token are good once.
func (s *Service) proved(ctx context.Context, p GoogleProof) (person, error) {
	if err := s.google.configured(); err != nil {
		return person{}, err
	}
	if err := p.check(s); err != nil {
		return person{}, err
	}
	if err := s.admit(ctx, throttleGoogle, "", uuid.Nil); err != nil {
		return person{}, err
	}
	if p.Code != "" {
		return s.provedByCode(ctx, p)
	}
	id, err := s.flows.decode(tokenNonce, p.Nonce)
	if err != nil {
		return person{}, googleRefused // not one of ours: a nonce that comes with the token binds nothing
	}
	who, err := s.google.verify(ctx, p.IDToken, p.Nonce)
	if err != nil {
		return person{}, err
	}
	err = s.DB.Tx(ctx, func(ctx context.Context) error {
		if _, ok, err := s.takeFlow(ctx, flowNonce, id); err != nil || !ok {
			return orRefused(err)
		}
		fresh, err := s.takeIDToken(ctx, who)
		if err != nil || !fresh {
			return orRefused(err)
		}
		return nil
	})
	return who, err
}

// noteGoogle records a sign-in that was refused, and returns why it was.
func (s *Service) noteGoogle(ctx context.Context, why error) error {
	if !errors.Is(why, googleRefused) {
		return why
	}
	// Anybody can make a token that is none, as often as they like: rows of the log they get no faster than tries.
	if err := s.admit(ctx, throttleGoogle, "", uuid.Nil); err != nil {
		return err
	}
	if err := s.record(ctx, Event{Type: eventLoginFailed, Outcome: outcomeFailure, Reason: "google_invalid", AMR: amrFederated}); err != nil {
		return err
	}
	return why
}

func orRefused(err error) error {
	if err != nil {
		return err
	}
	return googleRefused
}

// provedByCode is for a client that went to the provider itself. Its verifier binds the code to it; a nonce that it gives is held
// against the id_token too.
func (s *Service) provedByCode(ctx context.Context, p GoogleProof) (person, error) {
	raw, err := s.google.exchange(ctx, p.Code, p.CodeVerifier, p.RedirectURI)
	if err != nil {
		return person{}, err
	}
	who, err := s.google.verify(ctx, raw, p.Nonce)
	if err != nil {
		return person{}, err
	}
	fresh, err := s.takeIDToken(ctx, who)
	if err != nil || !fresh {
		return person{}, orRefused(err)
	}
	return who, nil
}

// amrFederated says that somebody else has authenticated the user; RFC 8176 has no word for it, others say "fed".
const amrFederated = "fed"

// signInWithGoogle signs in whom the provider vouches for.
func (s *Service) signInWithGoogle(ctx context.Context, who person, device, deviceToken string) (SignedIn, error) {
	var (
		u     user
		ended []uuid.UUID
	)
	err := s.DB.Tx(ctx, func(ctx context.Context) (err error) {
		u, ended, err = s.googleUser(ctx, who)
		return err
	})
	s.ended.add(ended...)
	if errors.Is(err, googleLinkRequired) {
		return SignedIn{}, s.offerLink(ctx, who)
	}
	if err != nil {
		return SignedIn{}, wrap(err, "sign in with Google")
	}
	s.AccountChanged(u.ID)
	return s.finish(ctx, wayIn{user: u, amr: amrFederated, device: device, deviceToken: deviceToken,
		unchanged: func(now user) error {
			if !sameTime(now.GoogleLinkedAt, u.GoogleLinkedAt) { // unlinked meanwhile, or linked to somebody else
				return googleRefused
			}
			return nil
		}})
}

const holdGoogleUser = `
select u.* from users u join google_identities g on g.user_id = u.id where g.issuer = ? and g.subject = ?
for no key update of u`

// googleUser returns the account of a person, whose row it locks: the one they are linked to, else one that it makes or that nobody
// has shown to be theirs yet. An account with an owner is not to be had by its address: googleLinkRequired.
func (s *Service) googleUser(ctx context.Context, who person) (u user, ended []uuid.UUID, err error) {
	db := s.DB.Gorm(ctx)
	err = db.Raw(holdGoogleUser, s.Config.Google.Issuer, who.Subject).Take(&u).Error
	if err == nil {
		return u, nil, db.Exec("update google_identities set last_used_at = ?, email = ? where issuer = ? and subject = ?",
			s.now(), who.Email, s.Config.Google.Issuer, who.Subject).Error
	}
	if !errors.Is(err, gorm.ErrRecordNotFound) {
		return user{}, nil, fmt.Errorf("find the account of a Google identity: %w", err)
	}
	now := s.now()
	made := user{ID: newID(), Name: googleName(who), Email: who.Email, EmailVerifiedAt: &now, Locale: locale.From(ctx), CreatedAt: now, UpdatedAt: now}
	created := db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoNothing: true}).Create(&made)
	if created.Error != nil {
		return user{}, nil, created.Error
	}
	if created.RowsAffected == 1 {
		if err := s.record(ctx, Event{Type: eventRegistered, Outcome: outcomeSuccess, UserID: made.ID, Identifier: made.Email, AMR: amrFederated}); err != nil {
			return user{}, nil, err
		}
		return s.linkGoogle(ctx, made, who, uuid.Nil)
	}
	if err = db.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("email = ?", who.Email).Take(&u).Error; err != nil {
		return user{}, nil, fmt.Errorf("find the account of an address: %w", err)
	}
	if requireOwner(u) == nil {
		return user{}, nil, googleLinkRequired
	}
	if u.DisabledAt != nil {
		return u, nil, nil // for finish to refuse
	}
	// Whoever registered the address may not be its owner, who is here now: nothing of what they left stays.
	if ended, err = s.reclaim(ctx, &u, who); err != nil {
		return user{}, nil, err
	}
	u, _, err = s.linkGoogle(ctx, u, who, uuid.Nil)
	return u, ended, err
}

const reclaimSQL = `
update users set name = @name, password_hash = null, password_set_at = null, password_claimed = false, claim_id = null, two_factor_at = null, google_linked_at = null,
	email_verified_at = coalesce(email_verified_at, @now), updated_at = @now
where id = @id returning *`

// reclaim gives an account to the owner of its address: the name, password, sessions, factors and links of before are gone.
func (s *Service) reclaim(ctx context.Context, u *user, who person) ([]uuid.UUID, error) {
	ended, err := s.evict(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	var now user
	if err := s.DB.Gorm(ctx).Raw(reclaimSQL, map[string]any{"id": u.ID, "now": s.now(), "name": googleName(who)}).Take(&now).Error; err != nil {
		return nil, fmt.Errorf("reclaim account %s: %w", u.ID, err)
	}
	*u = now
	return ended, s.record(ctx, Event{Type: eventReclaimed, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, AMR: amrFederated})
}

// linkGoogle makes a person's identity a way into u, whose row the caller holds; in a session, where there is one already.
func (s *Service) linkGoogle(ctx context.Context, u user, who person, sessionID uuid.UUID) (user, []uuid.UUID, error) {
	now := s.now().Truncate(time.Microsecond) // as Postgres keeps it, to be compared with that
	db := s.DB.Gorm(ctx)
	done := db.Exec("insert into google_identities (issuer, subject, user_id, email, linked_at, last_used_at) values (?, ?, ?, ?, ?, ?) on conflict do nothing",
		s.Config.Google.Issuer, who.Subject, u.ID, who.Email, now, now)
	if done.Error != nil {
		return user{}, nil, fmt.Errorf("link Google to account %s: %w", u.ID, done.Error)
	}
	if done.RowsAffected == 0 {
		return user{}, nil, googleInUse
	}
	u.GoogleLinkedAt = &now
	if err := db.Model(&u).Select("google_linked_at").Updates(u).Error; err != nil {
		return user{}, nil, fmt.Errorf("link Google to account %s: %w", u.ID, err)
	}
	return u, nil, s.record(ctx, Event{Type: eventGoogleLinked, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, SessionID: sessionID})
}

// googleName returns what to call a person who has not said: their name at the provider, or what stands before the @.
func googleName(who person) string {
	if validName(who.Name) {
		return who.Name
	}
	local, _, _ := strings.Cut(who.Email, "@")
	return local
}

// Types of these flows' events.
const (
	eventGoogleLinked   = "google_linked"
	eventGoogleUnlinked = "google_unlinked"
	eventReclaimed      = "account_reclaimed"
)

// LinkOffer is what somebody needs to link Google once they have signed in by other means.
type LinkOffer struct {
	LinkToken string `json:"link_token"`
	ExpiresIn int64  `json:"expires_in"`
}

// offerLink refuses with googleLinkRequired, and keeps whom the provider has vouched for, so that they need not go there again.
func (s *Service) offerLink(ctx context.Context, who person) error {
	id, err := s.beginFlow(ctx, googleFlow{Purpose: flowProof, Subject: who.Subject, Email: who.Email, Name: who.Name}, flowTTL)
	if err != nil {
		return err
	}
	return googleLinkRequired.WithData(LinkOffer{LinkToken: s.flows.encode(tokenLink, id), ExpiresIn: seconds(flowTTL)})
}
