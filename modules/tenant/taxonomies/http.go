package taxonomies

import (
	"context"

	"github.com/google/uuid"

	"garment.id/homecore/platform/api"
)

type listInput struct {
	api.ListQuery
	Kind     string    `query:"filter[kind]" maxLength:"40"`
	ParentID uuid.UUID `query:"filter[parent_id]"`
	IsActive string    `query:"filter[is_active]" enum:"true,false"`
}

func (s *Service) handleList(ctx context.Context, in *listInput) (*api.Page[Taxonomy], error) {
	rows, next, err := s.List(ctx, Filter{Kind: in.Kind, ParentID: in.ParentID, IsActive: in.IsActive, Q: in.Q}, in.Limit, in.Cursor, in.Sort)
	if err != nil {
		return nil, err
	}
	return api.List(rows, next, in.Limit), nil
}

type createInput struct {
	api.Idempotency
	Body Draft
}

func (s *Service) handleCreate(ctx context.Context, in *createInput) (*api.Data[*Taxonomy], error) {
	t, err := s.Create(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return api.Created(t), nil
}

type showInput struct {
	Taxonomy uuid.UUID `path:"taxonomy"`
}

func (s *Service) handleShow(ctx context.Context, in *showInput) (*api.Data[*Taxonomy], error) {
	t, err := s.Get(ctx, in.Taxonomy)
	if err != nil {
		return nil, err
	}
	return api.OK(t), nil
}

type updateInput struct {
	Taxonomy uuid.UUID `path:"taxonomy"`
	IfMatch  string    `header:"If-Match"`
	Body     Change
}

func (s *Service) handleUpdate(ctx context.Context, in *updateInput) (*api.Data[*Taxonomy], error) {
	version, err := api.Version(in.IfMatch, in.Body.Version)
	if err != nil {
		return nil, err
	}
	t, err := s.Update(ctx, in.Taxonomy, version, in.Body)
	if err != nil {
		return nil, err
	}
	return api.OK(t), nil
}

type deleteInput struct {
	Taxonomy uuid.UUID `path:"taxonomy"`
	IfMatch  string    `header:"If-Match" doc:"Delete only this version."`
}

func (s *Service) handleDelete(ctx context.Context, in *deleteInput) (*api.Data[struct{}], error) {
	var version int64 // whichever
	if in.IfMatch != "" {
		var err error
		if version, err = api.Version(in.IfMatch, nil); err != nil {
			return nil, err
		}
	}
	if err := s.Delete(ctx, in.Taxonomy, version); err != nil {
		return nil, err
	}
	return api.Done(), nil
}
