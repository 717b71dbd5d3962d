package ctx

import (
	"context"
	"time"

	"gorm.io/gorm"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/tenancy"
)

type row struct{}

type service struct {
	DB      *tenancy.DB
	central *database.DB
	plain   *gorm.DB
	many    []*gorm.DB
}

type embedding struct{ *gorm.DB }

var global *gorm.DB

func (s *service) bare(ctx context.Context, e embedding, given *gorm.DB) {
	var rows []row
	s.plain.Find(&rows)                                                          // want "a statement without a context"
	s.plain.Where("id = 1").Order("id").Find(&rows)                              // want "a statement without a context"
	s.plain.Raw("select 1").Scan(&rows)                                          // want "a statement without a context"
	s.plain.Raw("select 1")                                                      // want "a statement without a context"
	global.Create(&rows)                                                         // want "a statement without a context"
	(*s).many[0].Exec("select 1")                                                // want "a statement without a context"
	e.Find(&rows)                                                                // want "a statement without a context"
	s.plain.Transaction(func(tx *gorm.DB) error { return tx.Find(&rows).Error }) // want "a statement without a context"
	s.plain.Session(&gorm.Session{NewDB: true}).Find(&rows)                      // want "a statement without a context"

	local := s.plain
	query := local.Where("id = 1")
	query.Find(&rows) // want "a statement without a context"

	opened, err := gorm.Open(nil)
	opened.Find(&rows) // want "a statement without a context"
	_ = err

	// With a context, or handed in by somebody who is looked at himself.
	s.plain.WithContext(ctx).Where("id = 1").Find(&rows)
	s.plain.Where("id = 1").WithContext(ctx).Find(&rows)
	s.plain.Session(&gorm.Session{Context: ctx}).Find(&rows)
	s.DB.Gorm(ctx).Where("id = 1").Find(&rows)
	given.Find(&rows)
	s.query(ctx).Find(&rows)
	gorm.G[row](s.plain).Where("id = 1").Find(ctx)
	s.plain.Where("id = 1") // sends nothing
	bound := s.DB.Gorm(ctx)
	bound = bound.Where("id = 1")
	bound.Find(&rows)
}

func (s *service) query(ctx context.Context) *gorm.DB { return s.DB.Gorm(ctx).Model(row{}) }

func (s *service) rootless(ctx context.Context, scope tenancy.Scope) {
	nothing := func(context.Context) error { return nil }
	s.DB.Gorm(context.Background())                  // want "Gorm is given a context that no caller gave"
	s.DB.Tx(context.TODO(), nothing)                 // want "Tx is given a context that no caller gave"
	s.central.Tx(context.Background(), nothing)      // want "Tx is given a context that no caller gave"
	s.plain.WithContext(context.Background())        // want "WithContext is given a context that no caller gave"
	s.DB.Gorm(context.WithoutCancel(context.TODO())) // want "Gorm is given a context that no caller gave"

	own := context.Background()
	own, cancel := context.WithTimeout(own, time.Second)
	defer cancel()
	s.DB.Gorm(own) // want "Gorm is given a context that no caller gave"

	entered := context.Background()
	entered = tenancy.With(entered, scope)
	s.DB.Gorm(entered)
	s.DB.Gorm(tenancy.With(context.Background(), scope))

	// The parameter itself is made longer, as what must outlive a request does.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer stop()
	s.DB.Gorm(ctx)
}

var kept = new(tenancy.DB).Gorm(context.TODO()) // want "a .gorm.DB with its context is kept" "Gorm is given a context that no caller gave"

func (s *service) keep(ctx context.Context, given *gorm.DB) {
	s.plain = s.DB.Gorm(ctx)                     // want "a .gorm.DB with its context is kept"
	global = s.DB.Gorm(ctx).Where("id = 1")      // want "a .gorm.DB with its context is kept"
	_ = service{plain: s.plain.WithContext(ctx)} // want "a .gorm.DB with its context is kept"
	_ = embedding{s.DB.Gorm(ctx)}                // want "a .gorm.DB with its context is kept"
	local := s.DB.Gorm(ctx)
	s.plain = local // want "a .gorm.DB with its context is kept"

	s.plain = given
	_ = service{plain: global, DB: s.DB}
	s.plain, _ = gorm.Open(nil)
}
