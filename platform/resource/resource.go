// Package resource keeps rows that people edit at the same time: a row carries a version, and only who has seen the newest
// one may change it. A module declares its model and what its constraints mean; reading, listing, creating, changing and
// deleting are the same everywhere and live here.
//
//	type Customer struct {
//		resource.Head
//		Code string `json:"code"`
//	}
//	customers := resource.New[Customer](db, time.Now, order, map[string]*fault.Fault{"customers_code_key": CodeUsed})
package resource

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/platform/fault"
	"garment.id/homecore/platform/keyset"
)

// Head is what every resource has. Embed it.
type Head struct {
	ID        uuid.UUID `json:"id" gorm:"primaryKey"`
	Version   int64     `json:"version" doc:"Grows with every change; send it back to change or delete the resource."`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func (h *Head) head() *Head { return h }

type row[T any] interface {
	*T
	head() *Head
}

// Database is a handle: database.DB or tenancy.DB.
type Database interface {
	Gorm(ctx context.Context) *gorm.DB
	Tx(ctx context.Context, fn func(ctx context.Context) error) error
}

// Store keeps resources of type T.
type Store[T any, P row[T]] struct {
	db          Database
	clock       func() time.Time
	order       keyset.Order[T]
	constraints map[string]*fault.Fault
}

// New returns the store of T in db. constraints says, by its name, which fault the violation of a constraint is.
func New[T any, P row[T]](db Database, clock func() time.Time, order keyset.Order[T], constraints map[string]*fault.Fault) *Store[T, P] {
	order.ID = func(t *T) uuid.UUID { return P(t).head().ID }
	return &Store[T, P]{db: db, clock: clock, order: order, constraints: constraints}
}

// Query starts a query on T's table, to be narrowed and given to List.
func (s *Store[T, P]) Query(ctx context.Context) *gorm.DB { return s.db.Gorm(ctx).Model(new(T)) }

// List returns a page of what query selects, and the cursor of the next.
func (s *Store[T, P]) List(ctx context.Context, query *gorm.DB, limit int, cursor, sort string) ([]T, string, error) {
	return s.order.Page(ctx, query, limit, cursor, sort)
}

// Get returns one resource: fault.ResourceNotFound where there is none.
func (s *Store[T, P]) Get(ctx context.Context, id uuid.UUID) (*T, error) {
	return s.take(s.db.Gorm(ctx), id)
}

func (s *Store[T, P]) take(db *gorm.DB, id uuid.UUID) (*T, error) {
	t := new(T)
	err := db.Where("id = ?", id).Take(t).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, fault.ResourceNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %T %s: %w", *t, id, err)
	}
	return t, nil
}

// Create inserts t with a new id and version 1.
func (s *Store[T, P]) Create(ctx context.Context, t *T) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	now := s.now()
	*P(t).head() = Head{ID: id, Version: 1, CreatedAt: now, UpdatedAt: now}
	return s.db.Tx(ctx, func(ctx context.Context) error {
		return s.explain(s.db.Gorm(ctx).Create(t).Error)
	})
}

// Update locks the resource, lets change alter it, and writes it with the next version. It refuses with
// fault.ResourceNotFound, with fault.ResourceStale where version is not the newest, and with what change refuses.
func (s *Store[T, P]) Update(ctx context.Context, id uuid.UUID, version int64, change func(ctx context.Context, t *T) error) (*T, error) {
	var t *T
	err := s.db.Tx(ctx, func(ctx context.Context) (err error) {
		if version == anyVersion {
			return fault.ResourceStale
		}
		if t, err = s.lock(ctx, id, version); err != nil {
			return err
		}
		keep := *P(t).head()
		if err := change(ctx, t); err != nil {
			return err
		}
		keep.Version++
		keep.UpdatedAt = s.now()
		*P(t).head() = keep
		// Select("*"): without it GORM skips zero values, and a field could not be emptied.
		return s.explain(s.db.Gorm(ctx).Model(t).Select("*").Omit("id", "created_at").Updates(t).Error)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// anyVersion is no row's: versions begin at 1.
const anyVersion = 0

// InUse says that other data refers to what should be deleted.
var InUse = fault.ResourceConflict.WithField("id", "Masih dipakai oleh data lain.", "Other data still refers to it.")

// Delete removes the resource. A version of zero means whichever; another must be the newest. It refuses with
// fault.ResourceNotFound, fault.ResourceStale, and InUse while something refers to it.
func (s *Store[T, P]) Delete(ctx context.Context, id uuid.UUID, version int64) error {
	return s.db.Tx(ctx, func(ctx context.Context) error {
		t, err := s.lock(ctx, id, version)
		if err != nil {
			return err
		}
		err = s.db.Gorm(ctx).Delete(t).Error
		if errors.Is(err, gorm.ErrForeignKeyViolated) {
			return InUse.WithCause(err)
		}
		return s.explain(err)
	})
}

func (s *Store[T, P]) lock(ctx context.Context, id uuid.UUID, version int64) (*T, error) {
	t, err := s.take(s.db.Gorm(ctx).Clauses(clause.Locking{Strength: "UPDATE"}), id)
	if err != nil {
		return nil, err
	}
	if version != anyVersion && P(t).head().Version != version {
		return nil, fault.ResourceStale
	}
	return t, nil
}

// now is what Postgres will give back: it keeps microseconds.
func (s *Store[T, P]) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

func (s *Store[T, P]) explain(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := s.constraints[database.Constraint(err)]; ok {
		return f.WithCause(err)
	}
	return fmt.Errorf("write %T: %w", *new(T), err)
}

// LockTree lets nobody else write to the table until ctx's transaction ends. Take it before any row of the table.
func LockTree(ctx context.Context, db Database, table string) error {
	if err := db.Gorm(ctx).Exec("lock table ? in share row exclusive mode", clause.Table{Name: table}).Error; err != nil {
		return fmt.Errorf("lock the tree of %s: %w", table, err)
	}
	return nil
}

// InTree reports whether id is above parent, or is it, in a table whose rows point to their parent: hanging id below parent
// would close a circle.
func InTree(ctx context.Context, db Database, table string, id, parent uuid.UUID) (bool, error) {
	var above bool
	err := db.Gorm(ctx).Raw(`with recursive up (id, parent_id) as (
			select id, parent_id from ? where id = ?
			union select t.id, t.parent_id from ? t join up on t.id = up.parent_id)
		select exists (select 1 from up where id = ?)`, clause.Table{Name: table}, parent, clause.Table{Name: table}, id).
		Scan(&above).Error
	if err != nil {
		return false, fmt.Errorf("look for a circle in %s: %w", table, err)
	}
	return above, nil
}
