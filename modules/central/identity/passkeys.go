package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
	"gorm.io/gorm"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/fault"
)

// maxPasskeys is how many an account may have; every ceremony lists them.
const maxPasskeys = 20

// passkey is a WebAuthn credential. It is a second factor, and because the authenticator asks its user for a PIN or a fingerprint, a
// way in by itself.
type passkey struct {
	ID           uuid.UUID
	UserID       uuid.UUID
	CredentialID []byte
	Credential   []byte // sealed
	Name         string
	CreatedAt    time.Time
	LastUsedAt   *time.Time
}

func (passkey) TableName() string { return "passkeys" }

// holder is an account as the library wants it. The handle that authenticators keep is the account's id, which says nothing of it.
type holder struct {
	user        user
	credentials []webauthn.Credential
}

func (h holder) WebAuthnID() []byte                         { return h.user.ID[:] }
func (h holder) WebAuthnName() string                       { return h.user.Email }
func (h holder) WebAuthnDisplayName() string                { return h.user.Name }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

// holderOf returns u with its passkeys.
func (s *Service) holderOf(ctx context.Context, u user) (holder, error) {
	var rows []passkey
	if err := s.DB.Gorm(ctx).Where("user_id = ?", u.ID).Order("id").Find(&rows).Error; err != nil {
		return holder{}, fmt.Errorf("read the passkeys of %s: %w", u.ID, err)
	}
	h := holder{user: u, credentials: make([]webauthn.Credential, len(rows))}
	for i, row := range rows {
		if err := s.openCredential(row, &h.credentials[i]); err != nil {
			return holder{}, err
		}
	}
	return h, nil
}

func (h holder) descriptors() []protocol.CredentialDescriptor {
	out := make([]protocol.CredentialDescriptor, len(h.credentials))
	for i := range h.credentials {
		out[i] = h.credentials[i].Descriptor()
	}
	return out
}

// A credential is sealed to its row and its owner: it cannot be put into another's.
func sealedTo(row passkey) []byte { return append(row.ID[:len(row.ID):len(row.ID)], row.UserID[:]...) }

func (s *Service) sealCredential(row *passkey, c *webauthn.Credential) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write passkey %s: %w", row.ID, err)
	}
	row.Credential = s.passkeySeal.Seal(text, sealedTo(*row))
	return nil
}

func (s *Service) openCredential(row passkey, c *webauthn.Credential) error {
	text, err := s.passkeySeal.Open(row.Credential, sealedTo(row))
	if err == nil {
		err = json.Unmarshal(text, c)
	}
	if err != nil {
		return fmt.Errorf("read passkey %s: %w", row.ID, err)
	}
	return nil
}

// PasskeyOptions begin a ceremony of the browser's.
type PasskeyOptions struct {
	Ceremony  string         `json:"ceremony" doc:"To be sent back with what the browser makes of the options."`
	ExpiresIn int64          `json:"expires_in" doc:"Seconds it is good for."`
	PublicKey map[string]any `json:"public_key" doc:"For navigator.credentials, by way of PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON."`
}

type registerPasskeyOptionsInput struct {
	Body *Proof `required:"false" doc:"Where a second factor is on already: one of it."`
}

// handleRegisterPasskeyOptions begins the making of a passkey. A passkey is a way in: who has a second factor must show it first.
func (s *Service) handleRegisterPasskeyOptions(ctx context.Context, in *registerPasskeyOptionsInput) (*api.Data[PasskeyOptions], error) {
	p := api.MustPrincipal(ctx)
	u, factor, err := s.currentFactor(ctx, p, in.Body)
	if err != nil {
		return nil, wrap(err, "begin the registration of a passkey")
	}
	rp, err := s.relyingParty("")
	if err != nil {
		return nil, err
	}
	h, err := s.holderOf(ctx, u)
	if err != nil {
		return nil, err
	}
	if len(h.credentials) >= maxPasskeys {
		return nil, passkeysTooMany
	}
	if err := s.DB.Tx(ctx, func(ctx context.Context) error { return s.useCurrentFactor(ctx, u, factor) }); err != nil {
		return nil, wrap(err, "begin the registration of a passkey")
	}
	options, data, err := rp.BeginRegistration(h, webauthn.WithExclusions(h.descriptors()))
	if err != nil {
		return nil, fmt.Errorf("begin the registration of a passkey: %w", err)
	}
	return s.begin(ceremonyFor{Purpose: ceremonyRegister, UserID: u.ID, ID: p.SessionID}, options.Response, data)
}

type registerPasskeyInput struct {
	Body struct {
		PasskeyAnswer
		Name string `json:"name,omitempty" maxLength:"100" doc:"What its owner calls it; otherwise what the browser says of itself."`
	}
}

// PasskeyView is a passkey as its owner sees it.
type PasskeyView struct {
	ID         uuid.UUID  `json:"id"`
	Name       string     `json:"name"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

func viewPasskey(row passkey) PasskeyView {
	v := PasskeyView{ID: row.ID, Name: row.Name, CreatedAt: row.CreatedAt.UTC()}
	if row.LastUsedAt != nil {
		v.LastUsedAt = new(row.LastUsedAt.UTC())
	}
	return v
}

// AddedPasskey is the answer of a registration.
type AddedPasskey struct {
	PasskeyView
	RecoveryCodes []string `json:"recovery_codes,omitempty" doc:"With the first second factor: shown once."`
}

// handleRegisterPasskey keeps a passkey the browser has made. The account's first second factor brings recovery codes.
func (s *Service) handleRegisterPasskey(ctx context.Context, in *registerPasskeyInput) (*api.Data[AddedPasskey], error) {
	p := api.MustPrincipal(ctx)
	if err := s.requireStepUp(ctx, p); err != nil {
		return nil, err
	}
	added, err := s.registerPasskey(ctx, p, in.Body.PasskeyAnswer, in.Body.Name)
	if err != nil {
		return nil, wrap(err, "register a passkey")
	}
	return api.Created(added), nil
}

func (s *Service) registerPasskey(ctx context.Context, p api.Principal, a PasskeyAnswer, name string) (added AddedPasskey, err error) {
	c, ok := s.ceremonies.open(a.Ceremony, s.now())
	if !ok || c.ceremonyFor != (ceremonyFor{Purpose: ceremonyRegister, UserID: p.UserID, ID: p.SessionID}) {
		return added, passkeyRefused
	}
	text, err := json.Marshal(a.Credential)
	if err != nil {
		return added, passkeyRefused
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(text)
	if err != nil {
		return added, passkeyRefused.WithCause(err)
	}
	rp, err := s.relyingParty(parsed.Response.CollectedClientData.Origin)
	if err != nil {
		return added, asRefusal(err, passkeyRefused)
	}
	made, err := rp.CreateCredential(holder{user: user{ID: p.UserID}}, c.Data, parsed)
	if err != nil {
		return added, passkeyRefused.WithCause(err)
	}
	at := s.now()
	row := passkey{ID: newID(), UserID: p.UserID, CredentialID: made.ID, Name: deviceName(name, api.ClientFrom(ctx).UserAgent), CreatedAt: at}
	// What it was attested with is of no use later, and tells which device it was.
	made.Attestation = webauthn.CredentialAttestation{}
	if err := s.sealCredential(&row, made); err != nil {
		return added, err
	}
	_, err = s.changeFactors(ctx, p, factorChange{event: eventPasskeyAdded, letter: letterPasskeyAdded, do: func(ctx context.Context, u *user) error {
		if err := s.finishCeremony(ctx, c, passkeyRefused); err != nil {
			return err
		}
		var n int64
		if err := s.DB.Gorm(ctx).Model(&passkey{}).Where("user_id = ?", u.ID).Count(&n).Error; err != nil {
			return err
		}
		if n >= maxPasskeys {
			return passkeysTooMany
		}
		if err := s.DB.Gorm(ctx).Create(&row).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return passkeyKnown
			}
			return err
		}
		if u.TwoFactorAt == nil {
			if added.RecoveryCodes, err = s.replaceRecoveryCodes(ctx, u.ID, uuid.Nil); err != nil {
				return err
			}
		}
		return s.gainedFactor(ctx, p, u, amrOfPasskey(*made))
	}})
	added.PasskeyView = viewPasskey(row)
	return added, err
}

// handlePasskeys lists the caller's passkeys, of which there are never many.
func (s *Service) handlePasskeys(ctx context.Context, _ *struct{}) (*api.Page[PasskeyView], error) {
	p := api.MustPrincipal(ctx)
	var rows []passkey
	if err := s.DB.Gorm(ctx).Where("user_id = ?", p.UserID).Order("id desc").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the passkeys of %s: %w", p.UserID, err)
	}
	views := make([]PasskeyView, len(rows))
	for i, row := range rows {
		views[i] = viewPasskey(row)
	}
	return api.List(views, "", maxPasskeys), nil
}

type removePasskeyInput struct {
	Passkey uuid.UUID `path:"passkey"`
	Body    *Proof    `required:"false" doc:"The current second factor: this passkey, another, or a code."`
}

// handleRemovePasskey takes a passkey off the caller's account; the last second factor only where none is required.
func (s *Service) handleRemovePasskey(ctx context.Context, in *removePasskeyInput) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	_, factor, err := s.currentFactor(ctx, p, in.Body)
	if err != nil {
		return nil, wrap(err, "remove a passkey")
	}
	_, err = s.changeFactors(ctx, p, factorChange{event: eventPasskeyRemoved, letter: letterPasskeyRemoved, proof: factor, do: func(ctx context.Context, u *user) error {
		done := s.DB.Gorm(ctx).Where("id = ? and user_id = ?", in.Passkey, u.ID).Delete(&passkey{})
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return fault.ResourceNotFound
		}
		return s.lostFactor(ctx, u)
	}})
	if err != nil {
		return nil, wrap(err, "remove a passkey")
	}
	return api.Done(), nil
}
