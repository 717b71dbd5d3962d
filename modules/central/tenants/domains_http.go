package tenants

import (
	"context"
	"time"

	"garment.id/homecore/platform/api"
)

// Routes registers what operators do with tenants' domains.
func (d *Domains) Routes(r *api.Router) {
	const path, one = "/tenants/{tenant}/domains", "/tenants/{tenant}/domains/{domain}"
	read, write := api.Can("tenants.read"), api.Can("tenants.write")
	api.Get(r, path, d.handleList, "central.tenants.domains.list", read, api.Summary("List a tenant's domains"))
	api.Post(r, path, api.Once(d.once, d.handleClaim), "central.tenants.domains.create", write, api.Status(201), api.Summary("Claim a domain for a tenant"))
	api.Post(r, one+"/verify", d.handleVerify, "central.tenants.domains.verify", write, api.Summary("Look for the proof of a domain, and let it be served"))
	api.Delete(r, one, d.handleRemove, "central.tenants.domains.delete", write, api.Summary("Give up a domain"))
}

// DomainRecord is a claim as operators see it, with the DNS record that proves it.
type DomainRecord struct {
	Domain       string     `json:"domain"`
	Status       string     `json:"status" enum:"pending,verified,failing" doc:"failing: verified, but the proof is gone; it will be lost."`
	Record       DNSRecord  `json:"record"`
	VerifiedAt   *time.Time `json:"verified_at" nullable:"true"`
	CheckedAt    *time.Time `json:"checked_at" nullable:"true"`
	FailingSince *time.Time `json:"failing_since" nullable:"true"`
	CreatedAt    time.Time  `json:"created_at"`
}

// DNSRecord is what to enter where the domain's DNS is kept.
type DNSRecord struct {
	Type  string `json:"type" enum:"TXT"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

func recordOf(row Domain) DNSRecord { return DNSRecord{"TXT", row.RecordName(), row.RecordValue()} }

// Record returns the claim as operators see it.
func (d Domain) Record() DomainRecord {
	status := "pending"
	switch {
	case d.FailingSince != nil:
		status = "failing"
	case d.VerifiedAt != nil:
		status = "verified"
	}
	return DomainRecord{Domain: d.Domain, Status: status, Record: recordOf(d), VerifiedAt: d.VerifiedAt, CheckedAt: d.CheckedAt,
		FailingSince: d.FailingSince, CreatedAt: d.CreatedAt}
}

func (d *Domains) handleList(ctx context.Context, in *Which) (*api.Data[[]DomainRecord], error) {
	rows, err := d.List(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	records := make([]DomainRecord, len(rows))
	for i, row := range rows {
		records[i] = row.Record()
	}
	return api.OK(records), nil
}

type claimInput struct {
	Which
	api.Idempotency
	Body struct {
		Domain string `json:"domain" minLength:"1" maxLength:"253" example:"pesan.rapijahit.co.id" doc:"Letters of any script; it is kept as DNS has it."`
	}
}

func (d *Domains) handleClaim(ctx context.Context, in *claimInput) (*api.Data[DomainRecord], error) {
	row, err := d.Claim(ctx, in.Tenant, in.Body.Domain)
	if err != nil {
		return nil, err
	}
	return api.Created(row.Record()), nil
}

type domainInput struct {
	Which
	Domain string `path:"domain" maxLength:"253"`
}

func (d *Domains) handleVerify(ctx context.Context, in *domainInput) (*api.Data[DomainRecord], error) {
	row, err := d.Verify(ctx, in.Tenant, in.Domain)
	if err != nil {
		return nil, err
	}
	return api.OK(row.Record()), nil
}

func (d *Domains) handleRemove(ctx context.Context, in *domainInput) (*api.Data[struct{}], error) {
	if err := d.Remove(ctx, in.Tenant, in.Domain); err != nil {
		return nil, err
	}
	return api.Done(), nil
}
