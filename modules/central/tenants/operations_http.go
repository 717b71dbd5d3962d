package tenants

import (
	"context"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
	"garment.id/homecore/tenancy/transfer"
)

func (s *Service) operationRoutes(r *api.Router) {
	const one = "/tenants/{tenant}"
	read, write := api.Can("tenants.read"), api.Can("tenants.write")
	api.Post(r, one+"/export", api.Once(s.once, s.handleExport), "central.tenants.export", write, api.Status(202), api.Summary("Write all rows of a tenant to an archive"))
	api.Post(r, one+"/restore", api.Once(s.once, s.handleRestore), "central.tenants.restore", write, api.Status(202), api.Summary("Bring a tenant back to the state in an archive"))
	api.Post(r, one+"/restore/accept", s.handleAccept, "central.tenants.restore.accept", write, api.Summary("Drop the state from before the last restore or move"))
	api.Post(r, one+"/restore/undo", s.handleUndo, "central.tenants.restore.undo", write, api.Summary("Go back to the state from before the last restore"))
	api.Post(r, one+"/move", api.Once(s.once, s.handleMove), "central.tenants.move", write, api.Status(202), api.Summary("Move a tenant to another cluster"))
	api.Get(r, "/operations", s.handleOperations, "central.operations.list", read, api.Summary("List long work on tenants"))
	api.Get(r, "/operations/{operation}", s.handleOperation, "central.operations.show", read, api.Summary("How far an operation is"))
}

type exportInput struct {
	api.Idempotency
	Tenant string `path:"tenant" maxLength:"80" doc:"Its slug or its id."`
}

func (s *Service) handleExport(ctx context.Context, in *exportInput) (*api.Data[*Operation], error) {
	return s.accepted(ctx, opExport, in.Tenant, operationParams{})
}

type restoreInput struct {
	api.Idempotency
	Tenant string `path:"tenant" maxLength:"80" doc:"Its slug or its id."`
	Body   struct {
		File string `json:"file" maxLength:"200" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"Name of an archive in the folder of exports."`
	}
}

func (s *Service) handleRestore(ctx context.Context, in *restoreInput) (*api.Data[*Operation], error) {
	return s.accepted(ctx, opRestore, in.Tenant, operationParams{File: in.Body.File})
}

type moveInput struct {
	api.Idempotency
	Tenant string `path:"tenant" maxLength:"80" doc:"Its slug or its id."`
	Body   struct {
		Cluster string `json:"cluster" minLength:"1" maxLength:"16"`
	}
}

func (s *Service) handleMove(ctx context.Context, in *moveInput) (*api.Data[*Operation], error) {
	return s.accepted(ctx, opMove, in.Tenant, operationParams{Cluster: in.Body.Cluster})
}

func (s *Service) accepted(ctx context.Context, kind, tenant string, params operationParams) (*api.Data[*Operation], error) {
	o, err := s.begin(ctx, kind, tenant, api.MustPrincipal(ctx).UserID.String(), params)
	if err != nil {
		return nil, err
	}
	return api.Accepted(o), nil
}

func (s *Service) handleAccept(ctx context.Context, in *Which) (*api.Data[struct{}], error) {
	if err := s.Transfers.Accept(transfer.By(ctx, api.MustPrincipal(ctx).UserID.String()), in.Tenant); err != nil {
		return nil, err
	}
	return api.Done(), nil
}

func (s *Service) handleUndo(ctx context.Context, in *Which) (*api.Data[struct{}], error) {
	if err := s.Transfers.Undo(transfer.By(ctx, api.MustPrincipal(ctx).UserID.String()), in.Tenant); err != nil {
		return nil, err
	}
	return api.Done(), nil
}

type operationsInput struct {
	api.ListQuery
	Tenant string `query:"filter[tenant]" maxLength:"80" doc:"Its slug or its id."`
	Status string `query:"filter[status]" enum:"pending,running,done,failed"`
}

func (s *Service) handleOperations(ctx context.Context, in *operationsInput) (*api.Page[Operation], error) {
	rows, next, err := s.Operations(ctx, in.Tenant, in.Status, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	return api.List(rows, next, in.Limit), nil
}

type operationInput struct {
	Operation uuid.UUID `path:"operation"`
}

func (s *Service) handleOperation(ctx context.Context, in *operationInput) (*api.Data[*Operation], error) {
	o, err := s.Operation(ctx, in.Operation)
	if err != nil {
		return nil, err
	}
	return api.OK(o), nil
}
