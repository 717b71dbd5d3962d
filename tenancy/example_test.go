package tenancy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"garment.id/homecore/platform/database"
	"garment.id/homecore/tenancy"
)

// Orders, as a module of tenants has them.
type order struct {
	ID    int64
	Code  string
	Total int64 // in rupiah
}

func Example() {
	var db *tenancy.DB              // made once, by wire.go
	ctx := context.Background()     // of a request: the edge has put the tenant's Scope into it
	place := func(o *order) error { // a use case
		return db.Tx(ctx, func(ctx context.Context) error {
			if err := db.Lock(ctx, "order numbers"); err != nil { // of this tenant; until the transaction ends
				return err
			}
			if err := db.Gorm(ctx).Raw("select coalesce(max(id), 0) + 1 from orders").Scan(&o.ID).Error; err != nil {
				return err
			}
			if err := db.Gorm(ctx).Create(o).Error; err != nil {
				return err
			}
			return db.Notify(ctx, "orders", o.Code) // heard when this has committed
		})
	}
	_ = place
}

func ExampleOpen() {
	var (
		ctx     context.Context // of the process
		central *database.DB    // schema central, which has the registry
		log     *slog.Logger
	)
	registry := tenancy.NewRegistry(central, "garment.id", 3) // schemas older than migration 3 are not let in
	go registry.Listen(ctx, log)
	db, err := tenancy.Open(tenancy.Config{
		Clusters: []tenancy.Cluster{{
			Groups: 8, Conns: 3,
			Connect: func(group int) (*pgx.ConnConfig, error) { // each group logs in as a role of its own
				return pgx.ParseConfig(fmt.Sprintf("postgres://hc_g%d@db.example.com/homecore", group))
			},
		}},
		Renew:  registry.Renew,
		Logger: log,
	})
	if err != nil {
		return // what is wrong with the configuration: nothing was connected
	}
	defer db.Close() //nolint:errcheck // an example
	serve := func(ctx context.Context, host string, id int64) (o order, err error) {
		tenant, err := registry.Resolve(ctx, host)
		if err != nil {
			return o, err
		}
		if ctx, err = registry.Enter(ctx, tenant.ID); err != nil {
			return o, err
		}
		err = db.Gorm(ctx).Take(&o, id).Error
		return o, err
	}
	_ = serve
}

func ExampleDB_CopyFrom() {
	var (
		db     *tenancy.DB
		ctx    context.Context // carries a Scope
		orders []order
	)
	n, err := db.CopyFrom(ctx, "orders", []string{"id", "code", "total"}, func(yield func([]any, error) bool) {
		for _, o := range orders {
			if !yield([]any{o.ID, o.Code, o.Total}, nil) {
				return
			}
		}
	})
	fmt.Println(n, err) //nolint:forbidigo // an example
}

func ExampleDB_CopyTo() {
	var (
		db  *tenancy.DB
		ctx context.Context // carries a Scope
		out bytes.Buffer
	)
	n, err := db.CopyTo(ctx, "select code, total from orders order by code", &out)
	fmt.Println(n, err) //nolint:forbidigo // an example
}

func ExampleDB_Listen() {
	var (
		db  *tenancy.DB
		ctx context.Context // carries a Scope
	)
	orders, err := db.Listen(ctx, "orders")
	if err != nil {
		return // behind a pooler: tenancy.ErrPooled
	}
	defer orders.Close() //nolint:errcheck // an example
	for {
		code, err := orders.Next(ctx)
		if err != nil {
			return // ctx has ended, or the connection is lost: listen anew, and look at what there is
		}
		fmt.Println(code) //nolint:forbidigo // an example
	}
}
