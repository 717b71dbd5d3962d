package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
	"gorm.io/gorm"
)

const (
	maxKnown = 50_000
	// While changes are heard of, an account is remembered until it changes; this is for what nobody might tell.
	knownFor = 10 * time.Minute
	// Without that, this is how old what is answered may be. Permissions in a tenant, of whose roles nobody tells, are as old always.
	knownUnheard = 500 * time.Millisecond
	knownTimeout = 5 * time.Second
)

// known is an account as its owner sees it: what me answers, and what tokens come with.
type known struct {
	user        user
	roles       []string // of the platform, sorted
	permissions []string // what they permit
	memberships []Membership

	loaded time.Time
	epoch  uint64
}

// membership returns the one in a tenant, nil where there is none.
func (k *known) membership(tenantID uuid.UUID) *Membership {
	for i := range k.memberships {
		if k.memberships[i].TenantID == tenantID {
			return &k.memberships[i]
		}
	}
	return nil
}

// knownAccounts is what this process remembers of accounts. What it holds is dropped when a change is heard of (revocation.go); while
// nothing is heard, it is good for half a second.
type knownAccounts struct {
	load    func(ctx context.Context, userID uuid.UUID) (*known, error)
	entries *otter.Cache[uuid.UUID, *known]
	loading singleflight.Group

	mu      sync.RWMutex
	aliveAt time.Time
	epoch   uint64 // what was remembered in another is not good in this
	changes uint64 // grows with each change, so that what was read before one is not remembered after it
}

func newKnownAccounts(load func(ctx context.Context, userID uuid.UUID) (*known, error)) *knownAccounts {
	return &knownAccounts{load: load, entries: otter.Must(&otter.Options[uuid.UUID, *known]{
		MaximumSize: maxKnown, ExpiryCalculator: otter.ExpiryWriting[uuid.UUID, *known](knownFor),
	})}
}

// get returns an account, from memory where it may; gorm.ErrRecordNotFound where there is none. What it returns is shared: it is not
// to be changed. It wants no transaction that has changed the account.
func (k *knownAccounts) get(ctx context.Context, userID uuid.UUID) (*known, error) {
	if found, ok := k.peek(userID); ok {
		return found, nil
	}
	changes := k.now()
	// A change between two who ask makes two readings.
	key := userID.String() + fmt.Sprint(changes)
	done := k.loading.DoChan(key, func() (any, error) {
		// The reading serves others too: it must not end with the request that happened to begin it, nor join its transaction.
		ctx, cancel := context.WithTimeout(context.Background(), knownTimeout)
		defer cancel()
		found, err := k.load(ctx, userID)
		if err != nil {
			return nil, err
		}
		k.keep(found, changes)
		return found, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*known), nil
	}
}

// peek returns an account only if it is in memory.
func (k *knownAccounts) peek(userID uuid.UUID) (*known, bool) {
	found, ok := k.entries.GetIfPresent(userID)
	return found, ok && k.good(found)
}

// keep remembers an account that was read when so many changes had been heard of, unless there was one since.
func (k *knownAccounts) keep(found *known, changes uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if changes == k.changes {
		found.loaded, found.epoch = time.Now(), k.epoch
		k.entries.Set(found.user.ID, found)
	}
}

// now returns what keep wants to know of the time before reading.
func (k *knownAccounts) now() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.changes
}

func (k *knownAccounts) good(found *known) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if found.epoch == k.epoch && time.Since(k.aliveAt) < endedTolerate {
		return true
	}
	return time.Since(found.loaded) < knownUnheard
}

// forget drops accounts that have changed. A process that has changed one calls it once that is committed, so that whoever did it
// sees it at once; the others hear of it.
func (k *knownAccounts) forget(ids ...uuid.UUID) {
	if k == nil { // at the command line nothing is remembered
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	for _, id := range ids {
		k.entries.Invalidate(id)
	}
}

// forgetTenant drops the accounts of a tenant's members.
func (k *knownAccounts) forgetTenant(tenantID uuid.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	for id, found := range k.entries.All() {
		if found.membership(tenantID) != nil {
			k.entries.Invalidate(id)
		}
	}
}

// begin is called when changes are heard of from now on, end when they are not: what was remembered may be wrong.
func (k *knownAccounts) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch++
	k.changes++
}

func (k *knownAccounts) end() {
	k.begin()
	k.alive(time.Time{})
}

func (k *knownAccounts) alive(asOf time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.aliveAt = asOf
}

var errNoAccount = errors.New("there is no such account")

// An account and its roles in one round trip.
var findKnown = "select " + columnsOf(&user{}, "u") + ", " + rolesColumn + " from users u where u.id = ?"

const rolesColumn = "(select string_agg(r.role, ' ' order by r.role) from platform_roles r where r.user_id = u.id) roles"

// loadKnown reads an account in two statements: the account with its roles, and its memberships.
func (s *Service) loadKnown(ctx context.Context, userID uuid.UUID) (*known, error) {
	var row struct {
		User  user `gorm:"embedded;embeddedPrefix:u_"`
		Roles string
	}
	err := s.DB.Gorm(ctx).Raw(findKnown, userID).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, errNoAccount
	}
	if err != nil {
		return nil, fmt.Errorf("read account %s: %w", userID, err)
	}
	all, err := s.Tenants.Of(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("read the memberships of %s: %w", userID, err)
	}
	return newKnown(row.User, row.Roles, all), nil
}

// newKnown makes an account of what rolesColumn read.
func newKnown(u user, roles string, all []Membership) *known {
	held := slices.AppendSeq([]string{}, strings.FieldsSeq(roles))
	return &known{user: u, roles: held, permissions: permissionsOf(held), memberships: all}
}

// AccountChanged makes this process forget what it remembers of a user's account, for who has changed something of it: the other
// processes hear of it by themselves.
func (s *Service) AccountChanged(userID uuid.UUID) { s.known.forget(userID) }
