package tenants

import (
	"context"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/fleet"
)

// Record is a tenant as operators see it.
type Record struct {
	ID              uuid.UUID      `json:"id"`
	Version         int64          `json:"version" doc:"Grows with every change; send it back to rename the tenant."`
	Slug            string         `json:"slug"`
	Name            string         `json:"name"`
	Status          tenancy.Status `json:"status" enum:"requested,creating,ready,active,read_only,suspended,maintenance,archived,dropping,dropped"`
	StatusReason    *string        `json:"status_reason" nullable:"true"`
	StatusChangedAt time.Time      `json:"status_changed_at"`
	DropAfter       *time.Time     `json:"drop_after" nullable:"true" doc:"Until then a drop can be undone."`
	Cluster         string         `json:"cluster"`
	SchemaVersion   int            `json:"schema_version"`
	Plan            *string        `json:"plan" nullable:"true"`
	Country         string         `json:"country"`
	Currency        string         `json:"currency"`
	Timezone        string         `json:"timezone"`
	Locale          string         `json:"locale"`
	APIURL          string         `json:"api_url"`
	CreatedAt       time.Time      `json:"created_at"`
	UpdatedAt       time.Time      `json:"updated_at"`
}

// Record returns the tenant as operators see it.
func (s *Service) Record(t tenancy.Tenant) Record {
	return Record{
		ID: t.ID, Version: t.Version, Slug: t.Slug, Name: t.Name, Status: t.Status, StatusReason: t.StatusReason,
		StatusChangedAt: t.StatusChangedAt, DropAfter: t.DropAfter, Cluster: t.Cluster, SchemaVersion: t.SchemaVersion, Plan: t.Plan,
		Country: t.Country, Currency: t.Currency, Timezone: t.Timezone, Locale: t.Locale, APIURL: s.Directory.Origin(t.Slug),
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

func (s *Service) answer(t *tenancy.Tenant, err error) (*api.Data[Record], error) {
	if err != nil {
		return nil, err
	}
	return api.OK(s.Record(*t)), nil
}

type listInput struct {
	api.ListQuery
	Status  string `query:"filter[status]" enum:"requested,creating,ready,active,read_only,suspended,maintenance,archived,dropping,dropped" doc:"Dropped ones are listed only so."`
	Cluster string `query:"filter[cluster]" maxLength:"16"`
}

func (s *Service) handleList(ctx context.Context, in *listInput) (*api.Page[Record], error) {
	rows, next, err := s.List(ctx, Filter{Status: in.Status, Cluster: in.Cluster, Q: in.Q}, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(rows))
	for i, t := range rows {
		records[i] = s.Record(t)
	}
	return api.List(records, next, in.Limit), nil
}

// Which names a tenant, in the path.
type Which struct {
	Tenant string `path:"tenant" maxLength:"80" doc:"Its slug or its id."`
}

func (s *Service) handleShow(ctx context.Context, in *Which) (*api.Data[Record], error) {
	return s.answer(s.Find(ctx, in.Tenant))
}

type eventsInput struct {
	Which
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"25"`
	Cursor string `query:"cursor" maxLength:"1000"`
	Sort   string `query:"sort" maxLength:"60" doc:"at, or -at, which is the default."`
}

func (s *Service) handleEvents(ctx context.Context, in *eventsInput) (*api.Page[Event], error) {
	t, err := s.Find(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	rows, next, err := s.Events(ctx, t.ID, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	return api.List(rows, next, in.Limit), nil
}

type renameInput struct {
	Which
	IfMatch string `header:"If-Match"`
	Body    struct {
		Version *int64 `json:"version,omitempty" minimum:"1" doc:"The version you have seen, unless If-Match says it."`
		Slug    string `json:"slug,omitempty" minLength:"3" maxLength:"40" pattern:"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" doc:"The old address leads nowhere from then on."`
		Name    string `json:"name,omitempty" pattern:"\\S" minLength:"2" maxLength:"120"`
		Reason  string `json:"reason,omitempty" maxLength:"500"`
	}
}

func (s *Service) handleRename(ctx context.Context, in *renameInput) (*api.Data[Record], error) {
	version, err := api.Version(in.IfMatch, in.Body.Version)
	if err != nil {
		return nil, err
	}
	return s.answer(s.Rename(ctx, in.Tenant, in.Body.Slug, in.Body.Name, version, order(ctx, in.Body.Reason)))
}

// order is what the caller asks for.
func order(ctx context.Context, reason string) fleet.Order {
	return fleet.Order{By: api.MustPrincipal(ctx).UserID.String(), Reason: reason}
}

type suspendInput struct {
	Which
	Body struct {
		Reason string `json:"reason" pattern:"\\S" minLength:"1" maxLength:"500" doc:"For the history; the tenant's people do not see it."`
	}
}

func (s *Service) handleSuspend(ctx context.Context, in *suspendInput) (*api.Data[Record], error) {
	return s.answer(s.Change(ctx, in.Tenant, fleet.Suspend, order(ctx, in.Body.Reason)))
}

type maintenanceInput struct {
	Which
	Body *struct {
		Reason     string `json:"reason,omitempty" maxLength:"500"`
		RetryAfter int    `json:"retry_after,omitempty" minimum:"1" maximum:"86400" doc:"Seconds after which clients shall ask again."`
	}
}

func (s *Service) handleMaintenance(ctx context.Context, in *maintenanceInput) (*api.Data[Record], error) {
	o := order(ctx, "")
	if in.Body != nil {
		o.Reason, o.RetryAfter = in.Body.Reason, time.Duration(in.Body.RetryAfter)*time.Second
	}
	return s.answer(s.Change(ctx, in.Tenant, fleet.Maintenance, o))
}

type changeInput struct {
	Which
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

func (s *Service) handleChange(a fleet.Action) func(context.Context, *changeInput) (*api.Data[Record], error) {
	return func(ctx context.Context, in *changeInput) (*api.Data[Record], error) {
		reason := ""
		if in.Body != nil {
			reason = in.Body.Reason
		}
		return s.answer(s.Change(ctx, in.Tenant, a, order(ctx, reason)))
	}
}

type dropInput struct {
	Which
	Body struct {
		Reason string `json:"reason" pattern:"\\S" minLength:"1" maxLength:"500"`
		Grace  int    `json:"grace_days,omitempty" minimum:"1" maximum:"365" default:"30" doc:"Days in which it can be undone. Sooner is for the command line."`
	}
}

func (s *Service) handleDrop(ctx context.Context, in *dropInput) (*api.Data[Record], error) {
	o := order(ctx, in.Body.Reason)
	o.Grace = time.Duration(in.Body.Grace) * 24 * time.Hour
	return s.answer(s.Change(ctx, in.Tenant, fleet.Drop, o))
}
