package tenants

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/idempotency"
	"garment.id/homecore/tenancy"
)

// Domains is the names that tenants bring along. A claim gives a token; whoever controls the name shows it in a TXT record,
// and from then on the name is the tenant's host. Proof is looked for again every day: a name whose record has been gone for
// three days is no longer the tenant's, so that one that was sold or ran out does not go on showing its former owner.
type Domains struct {
	DomainDeps
	once *idempotency.Store
}

// DomainDeps is everything Domains uses.
type DomainDeps struct {
	DB    *database.DB
	Queue Queue // nil where no job is inserted
	DNS   DNS
	// Forget is told of each name whose owner has changed.
	Forget     func(name string)
	BaseDomain string // its own names are nobody else's; the port does not matter
	Clock      func() time.Time
	Log        *slog.Logger
}

// DNS answers what a name's TXT records are; net.Resolver does.
type DNS interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// NewDomains makes it.
func NewDomains(d DomainDeps) *Domains {
	d.BaseDomain, _, _ = strings.Cut(strings.ToLower(d.BaseDomain), ":")
	return &Domains{DomainDeps: d, once: idempotency.New(d.DB)}
}

// Domain is a tenant's claim to a name.
type Domain struct {
	Domain       string    `gorm:"primaryKey"` // lower case, ASCII
	TenantID     uuid.UUID `gorm:"primaryKey"`
	Token        string
	VerifiedAt   *time.Time // nil: nothing is served on it
	CheckedAt    *time.Time // when DNS last gave an answer
	FailingSince *time.Time // when it first said that the proof is gone
	CreatedAt    time.Time
}

// TableName is for GORM.
func (Domain) TableName() string { return "tenant_domains" }

// RecordName returns where the proof is looked for.
func (d Domain) RecordName() string { return "_homecore." + d.Domain }

// RecordValue returns what proves that the tenant controls the name.
func (d Domain) RecordValue() string { return "homecore-verification=" + d.Token }

const (
	maxDomains  = 20                 // claims of one tenant
	lookupLimit = 5 * time.Second    // for one answer of DNS
	checkEvery  = 24 * time.Hour     // of a name that is well
	goneFor     = 3 * 24 * time.Hour // without proof a name is lost
)

// List returns a tenant's claims, by name: fault.ResourceNotFound where there is no tenant of that slug or id.
func (d *Domains) List(ctx context.Context, slugOrID string) ([]Domain, error) {
	tenant, err := d.tenant(ctx, slugOrID)
	if err != nil {
		return nil, err
	}
	rows := []Domain{}
	if err := d.DB.Gorm(ctx).Where("tenant_id = ?", tenant).Order("domain").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the domains of tenant %s: %w", slugOrID, err)
	}
	return rows, nil
}

// Claim says that the tenant wants a name; claimed twice it is the same claim. It refuses with DomainRefused and DomainsTooMany.
func (d *Domains) Claim(ctx context.Context, slugOrID, name string) (*Domain, error) {
	name, err := d.clean(name)
	if err != nil {
		return nil, err
	}
	tenant, err := d.tenant(ctx, slugOrID)
	if err != nil {
		return nil, err
	}
	row := Domain{Domain: name, TenantID: tenant, Token: newToken(), CreatedAt: d.Clock().UTC()}
	err = d.DB.Tx(ctx, func(ctx context.Context) error {
		// Locked, so that two at once do not pass the limit together.
		if err := d.DB.Gorm(ctx).Exec("select from tenants where id = ? for update", tenant).Error; err != nil {
			return err
		}
		var n int64
		if err := d.DB.Gorm(ctx).Model(&Domain{}).Where("tenant_id = ? and domain <> ?", tenant, name).Count(&n).Error; err != nil {
			return err
		}
		if n >= maxDomains {
			return DomainsTooMany
		}
		if err := d.DB.Gorm(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
			return err
		}
		row, err = d.find(ctx, tenant, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", name, err)
	}
	return &row, nil
}

// Verify looks for the proof and, if it is there, makes the name the tenant's host. Of two tenants that have both proven a
// name the first keeps it; one whose own proof is gone gives way. It refuses with DomainUnproven, DomainTaken, DNSUnavailable.
func (d *Domains) Verify(ctx context.Context, slugOrID, name string) (*Domain, error) {
	row, err := d.claimed(ctx, slugOrID, name)
	if err != nil {
		return nil, err
	}
	proofs, err := d.proofs(ctx, row) // before the transaction: DNS may take its time
	if err != nil {
		return nil, err
	}
	proven := slices.Contains(proofs, row.RecordValue())
	if !proven && row.VerifiedAt == nil {
		return nil, DomainUnproven.WithData(recordOf(row))
	}
	if err := d.checked(ctx, &row, proofs); err != nil {
		return nil, err
	}
	if !proven {
		return nil, DomainUnproven.WithData(recordOf(row))
	}
	return &row, nil
}

// Remove gives up a claim, verified or not.
func (d *Domains) Remove(ctx context.Context, slugOrID, name string) error {
	row, err := d.claimed(ctx, slugOrID, name)
	if err != nil {
		return err
	}
	if err := d.DB.Gorm(ctx).Where("domain = ? and tenant_id = ?", row.Domain, row.TenantID).Delete(&Domain{}).Error; err != nil {
		return fmt.Errorf("remove %s: %w", row.Domain, err)
	}
	d.Forget(row.Domain)
	d.Log.InfoContext(ctx, "domain removed", "domain", row.Domain, "tenant_id", row.TenantID)
	return nil
}

// checked writes down what DNS says of a claim, and what follows from it.
func (d *Domains) checked(ctx context.Context, row *Domain, proofs []string) error {
	was := row.VerifiedAt
	err := d.DB.Tx(ctx, func(ctx context.Context) error {
		var claims []Domain
		err := d.DB.Gorm(ctx).Where("domain = ?", row.Domain).Order("tenant_id").Clauses(clause.Locking{Strength: "UPDATE"}).Find(&claims).Error
		if err != nil {
			return err
		}
		i := slices.IndexFunc(claims, func(c Domain) bool { return c.TenantID == row.TenantID })
		if i < 0 || claims[i].Token != row.Token {
			return fault.ResourceNotFound // it was removed meanwhile
		}
		*row = claims[i]
		was = row.VerifiedAt
		now := d.Clock().UTC()
		row.CheckedAt = &now
		if slices.Contains(proofs, row.RecordValue()) {
			for _, other := range claims {
				if other.TenantID == row.TenantID || other.VerifiedAt == nil {
					continue
				}
				if slices.Contains(proofs, other.RecordValue()) {
					return DomainTaken
				}
				former, verified := other.TenantID, other.VerifiedAt
				other.VerifiedAt, other.FailingSince = nil, nil
				if err := d.save(ctx, &other, verified); err != nil {
					return err
				}
				d.Log.WarnContext(ctx, "domain leaves a tenant whose proof is gone", "domain", row.Domain, "tenant_id", former)
			}
			row.FailingSince = nil
			if row.VerifiedAt == nil {
				row.VerifiedAt = &now
			}
		} else if row.VerifiedAt != nil {
			if row.FailingSince == nil {
				row.FailingSince = &now
			}
			if now.Sub(*row.FailingSince) >= goneFor {
				row.VerifiedAt, row.FailingSince = nil, nil
			}
		}
		return d.save(ctx, row, was)
	})
	if database.Constraint(err) == "tenant_domains_verified_key" { // claimed and verified between our look and our lock
		return DomainTaken.WithCause(err)
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", row.Domain, err)
	}
	if (was == nil) != (row.VerifiedAt == nil) {
		d.Forget(row.Domain)
		d.Log.InfoContext(ctx, "domain verification changed", "domain", row.Domain, "tenant_id", row.TenantID, "verified", row.VerifiedAt != nil)
	}
	return nil
}

// save writes what was found. Only a change of verified_at is told to all processes, so it is written where it changes.
func (d *Domains) save(ctx context.Context, row *Domain, was *time.Time) error {
	columns := []string{"checked_at", "failing_since"}
	if (was == nil) != (row.VerifiedAt == nil) {
		columns = append(columns, "verified_at")
	}
	return d.DB.Gorm(ctx).Model(row).Select(columns).Updates(row).Error
}

// proofs asks DNS for what could prove the claim. No record is an answer; no answer is DNSUnavailable.
func (d *Domains) proofs(ctx context.Context, row Domain) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	found, err := d.DNS.LookupTXT(ctx, row.RecordName()+".") // absolute: no search list
	var why *net.DNSError
	switch {
	case errors.As(err, &why) && why.IsNotFound:
		return nil, nil
	case err != nil:
		return nil, DNSUnavailable.WithCause(err)
	}
	for i := range found {
		found[i] = strings.TrimSpace(found[i])
	}
	return found, nil
}

func (d *Domains) claimed(ctx context.Context, slugOrID, name string) (Domain, error) {
	tenant, err := d.tenant(ctx, slugOrID)
	if err != nil {
		return Domain{}, err
	}
	name, err = d.clean(name)
	if err != nil {
		return Domain{}, fault.ResourceNotFound // no such name was ever claimed
	}
	return d.find(ctx, tenant, name)
}

func (d *Domains) find(ctx context.Context, tenant uuid.UUID, name string) (Domain, error) {
	row, err := gorm.G[Domain](d.DB.Gorm(ctx)).Where("domain = ? and tenant_id = ?", name, tenant).Take(ctx)
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, fault.ResourceNotFound
	}
	if err != nil {
		return row, fmt.Errorf("read the claim to %s: %w", name, err)
	}
	return row, nil
}

func (d *Domains) tenant(ctx context.Context, slugOrID string) (uuid.UUID, error) {
	where := "slug = ?"
	if id, err := uuid.Parse(slugOrID); err == nil && strings.EqualFold(id.String(), slugOrID) {
		where = "id = ?"
	}
	var ids []uuid.UUID
	err := d.DB.Gorm(ctx).Model(&tenancy.Tenant{}).Where(where+" and status <> 'dropped'", slugOrID).Limit(1).Pluck("id", &ids).Error
	if err != nil {
		return uuid.Nil, fmt.Errorf("look for tenant %s: %w", slugOrID, err)
	}
	if len(ids) == 0 {
		return uuid.Nil, fault.ResourceNotFound
	}
	return ids[0], nil
}

// clean returns a name as DNS has it, lower case and in ASCII (RFC 5891), or DomainRefused for what can be no tenant's host.
func (d *Domains) clean(name string) (string, error) {
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.VerifyDNSLength(true))
	ascii, err := profile.ToASCII(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if err != nil {
		return "", DomainRefused.WithCause(err)
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", DomainRefused
	}
	suffix, icann := publicsuffix.PublicSuffix(ascii)
	switch {
	case len(ascii) > 253-len("_homecore."), !strings.Contains(ascii, "."), strings.Contains(ascii, ".."), strings.HasPrefix(ascii, "."),
		ascii == d.BaseDomain, strings.HasSuffix(ascii, "."+d.BaseDomain),
		ascii == suffix,                          // com, co.id, github.io: everybody's
		!icann && !strings.Contains(suffix, "."): // local, internal, 1.2.3: on no list of top-level domains
		return "", DomainRefused
	}
	return ascii, nil
}

// newToken is 160 random bits.
func newToken() string {
	random := make([]byte, 20)
	_, _ = rand.Read(random)
	return strings.ToLower(base32.StdEncoding.EncodeToString(random))
}
