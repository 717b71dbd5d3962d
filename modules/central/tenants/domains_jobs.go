package tenants

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"garment.id/homecore/platform/fault"
)

// checkDomains asks for a look at each verified name whose last one was too long ago.
type checkDomains struct{}

func (checkDomains) Kind() string                 { return "tenants.check-domains" }
func (checkDomains) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: 1} }

// checkDomain looks whether a name is still proven.
type checkDomain struct {
	Domain   string    `json:"domain"`
	TenantID uuid.UUID `json:"tenant_id"`
}

func (checkDomain) Kind() string { return "tenants.check-domain" }

// InsertOpts: one attempt, since the next round asks again.
func (checkDomain) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: 30 * time.Minute}}
}

type checkDomainsWorker struct {
	river.WorkerDefaults[checkDomains]
	d *Domains
}

func (w *checkDomainsWorker) Work(ctx context.Context, _ *river.Job[checkDomains]) error {
	var rows []Domain
	now := w.d.Clock().UTC()
	err := w.d.DB.Gorm(ctx).Where("verified_at is not null and (checked_at < ? or failing_since is not null)", now.Add(-checkEvery)).
		Order("checked_at").Limit(500).Find(&rows).Error
	if err != nil {
		return fmt.Errorf("find domains to check: %w", err)
	}
	for _, row := range rows {
		if err := w.d.Queue.Insert(ctx, checkDomain{row.Domain, row.TenantID}, nil); err != nil {
			return err
		}
	}
	return nil
}

type checkDomainWorker struct {
	river.WorkerDefaults[checkDomain]
	d *Domains
}

func (w *checkDomainWorker) Work(ctx context.Context, job *river.Job[checkDomain]) error {
	return w.d.Check(ctx, job.Args.TenantID, job.Args.Domain)
}

// Check looks whether a verified name is still proven, and takes it away once it has not been for three days. While DNS gives
// no answer nothing changes.
func (d *Domains) Check(ctx context.Context, tenant uuid.UUID, name string) error {
	row, err := d.find(ctx, tenant, name)
	if errors.Is(err, fault.ResourceNotFound) || err == nil && row.VerifiedAt == nil {
		return nil
	}
	if err != nil {
		return err
	}
	proofs, err := d.proofs(ctx, row)
	if err != nil {
		d.Log.WarnContext(ctx, "domain could not be checked", "domain", name, "tenant_id", tenant, "cause", err)
		return nil
	}
	if err := d.checked(ctx, &row, proofs); err != nil && !errors.Is(err, fault.ResourceNotFound) {
		return err
	}
	return nil
}

// Jobs registers what is worked on.
func (d *Domains) Jobs(w *river.Workers) {
	river.AddWorker(w, &checkDomainsWorker{d: d})
	river.AddWorker(w, &checkDomainWorker{d: d})
}

// Periodic returns the jobs that come by the clock.
func (d *Domains) Periodic() []*river.PeriodicJob {
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(time.Hour), func() (river.JobArgs, *river.InsertOpts) { return checkDomains{}, nil }, nil),
	}
}
