package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/platform/crypto"
	"garment.id/homecore/platform/fault"
)

// rememberedDevice is one on which the user is not asked for a second factor. Its token is the row's id and 256 random bits, of which
// the row has the hash.
type rememberedDevice struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	Hash       []byte
	Name       string
	IP         string `gorm:"column:ip"`
	UserAgent  string
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
}

func (rememberedDevice) TableName() string { return "remembered_devices" }

const (
	deviceTokenVersion = 1
	deviceSecretBytes  = 32
	deviceTokenSize    = 1 + 16 + deviceSecretBytes
)

func encodeDeviceToken(id uuid.UUID, secret []byte) string {
	raw := make([]byte, 0, deviceTokenSize)
	raw = append(raw, deviceTokenVersion)
	raw = append(raw, id[:]...)
	return base64.RawURLEncoding.EncodeToString(append(raw, secret...))
}

func decodeDeviceToken(token string) (id uuid.UUID, secret []byte, ok bool) {
	raw := decodeBase64(token)
	if len(raw) != deviceTokenSize || raw[0] != deviceTokenVersion {
		return uuid.Nil, nil, false
	}
	return uuid.UUID(raw[1:17]), raw[17:], true
}

// rememberDevice remembers the client for u, in the transaction ctx carries, and returns its token; none where a policy forbids it.
func (s *Service) rememberDevice(ctx context.Context, u user, name string) (string, error) {
	forbidden, err := s.devicesForbidden(ctx, u)
	if err != nil || forbidden {
		return "", err
	}
	at, client, secret := s.now(), api.ClientFrom(ctx), crypto.Bytes(deviceSecretBytes)
	hash := sha256.Sum256(secret)
	row := rememberedDevice{
		ID: newID(), UserID: u.ID, Hash: hash[:], Name: deviceName(name, client.UserAgent), IP: clientAddress(client), UserAgent: client.UserAgent,
		CreatedAt: at, LastUsedAt: at, ExpiresAt: at.Add(s.Config.DeviceLifetime),
	}
	if err := s.DB.Gorm(ctx).Create(&row).Error; err != nil {
		return "", fmt.Errorf("remember a device of %s: %w", u.ID, err)
	}
	err = s.record(ctx, Event{Type: eventDeviceRemembered, Outcome: outcomeSuccess, UserID: u.ID, Identifier: u.Email, DeviceID: row.ID})
	return encodeDeviceToken(row.ID, secret), err
}

// devicesForbidden reports whether u is always asked for the second factor: as an operator who must have one, and as a member of a
// tenant that wants it so.
func (s *Service) devicesForbidden(ctx context.Context, u user) (bool, error) {
	if s.operatorsNeedTwoFactor(u) || s.Config.DeviceLifetime == 0 {
		return true, nil
	}
	all, err := s.Tenants.Of(ctx, u.ID)
	if err != nil {
		return false, fmt.Errorf("read the memberships of %s: %w", u.ID, err)
	}
	return slices.ContainsFunc(all, func(m Membership) bool { return m.RememberedDevicesForbidden }), nil
}

const useDeviceSQL = `
update remembered_devices set last_used_at = @now, ip = @ip, user_agent = @agent
where id = @id and user_id = @user and hash = @hash and expires_at > @now returning id`

// remembered returns the remembered device that token belongs to; false unless it is good for u now.
func (s *Service) remembered(ctx context.Context, u user, token string) (id uuid.UUID, ok bool, err error) {
	id, secret, ok := decodeDeviceToken(token)
	if !ok {
		return uuid.Nil, false, nil
	}
	forbidden, err := s.devicesForbidden(ctx, u)
	if err != nil || forbidden {
		return uuid.Nil, false, err
	}
	client, hash := api.ClientFrom(ctx), sha256.Sum256(secret)
	var found []uuid.UUID
	err = s.DB.Gorm(ctx).Raw(useDeviceSQL, map[string]any{"id": id, "user": u.ID, "hash": hash[:], "now": s.now(),
		"ip": clientAddress(client), "agent": client.UserAgent}).Scan(&found).Error
	if err != nil {
		return uuid.Nil, false, fmt.Errorf("look for a remembered device of %s: %w", u.ID, err)
	}
	return id, len(found) == 1, nil
}

// forgetDevices ends the user's remembered devices, and the challenges that are open, in the transaction ctx carries.
func (s *Service) forgetDevices(ctx context.Context, userID uuid.UUID) error {
	err := s.DB.Gorm(ctx).Exec(`with devices as (delete from remembered_devices where user_id = @user)
		delete from challenges where user_id = @user and used_at is null`, map[string]any{"user": userID}).Error
	if err != nil {
		return fmt.Errorf("forget the devices of %s: %w", userID, err)
	}
	return nil
}

// Device is a remembered device as its user sees it.
type Device struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"`
	IP         string    `json:"ip" doc:"Of the last use."`
	UserAgent  string    `json:"user_agent"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

type devicesInput struct {
	Limit  int       `query:"limit" minimum:"1" maximum:"100" default:"25"`
	Cursor uuid.UUID `query:"cursor" doc:"From the page before."`
}

func (s *Service) handleDevices(ctx context.Context, in *devicesInput) (*api.Page[Device], error) {
	p := api.MustPrincipal(ctx)
	query := s.DB.Gorm(ctx).Where("user_id = ? and expires_at > ?", p.UserID, s.now()).Order("id desc").Limit(in.Limit + 1)
	if in.Cursor != uuid.Nil {
		query = query.Where("id < ?", in.Cursor)
	}
	var rows []rememberedDevice
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the remembered devices of %s: %w", p.UserID, err)
	}
	next := ""
	if len(rows) > in.Limit {
		rows, next = rows[:in.Limit], rows[in.Limit-1].ID.String()
	}
	views := make([]Device, len(rows))
	for i, r := range rows {
		views[i] = Device{ID: r.ID, Name: r.Name, IP: r.IP, UserAgent: r.UserAgent, CreatedAt: r.CreatedAt.UTC(),
			LastUsedAt: r.LastUsedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC()}
	}
	return api.List(views, next, in.Limit), nil
}

type forgetDeviceInput struct {
	Device uuid.UUID `path:"device"`
}

// handleForgetDevice forgets one device of the caller's, and ends the sessions that were opened on its word. Another's is not there,
// as far as the caller can tell.
func (s *Service) handleForgetDevice(ctx context.Context, in *forgetDeviceInput) (*api.Data[struct{}], error) {
	p := api.MustPrincipal(ctx)
	var ended []uuid.UUID
	err := s.DB.Tx(ctx, func(ctx context.Context) error {
		done := s.DB.Gorm(ctx).Where("id = ? and user_id = ?", in.Device, p.UserID).Delete(&rememberedDevice{})
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return fault.ResourceNotFound
		}
		var err error
		if ended, err = s.endSessions(ctx, p.UserID, endedByUser, "device_id = ? and id <> ?", in.Device, p.SessionID); err != nil {
			return err
		}
		return s.record(ctx, Event{Type: eventDeviceForgotten, Outcome: outcomeSuccess, UserID: p.UserID, SessionID: p.SessionID, DeviceID: in.Device})
	})
	if err != nil {
		return nil, wrap(err, "forget a device")
	}
	s.ended.add(ended...)
	return api.Done(), nil
}

// clientAddress returns the client's address as it is kept, "" where it has none.
func clientAddress(c api.Client) string {
	if c.IP.IsValid() {
		return c.IP.String()
	}
	return ""
}
