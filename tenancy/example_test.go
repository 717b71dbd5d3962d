package tenancy_test

import (
	"bytes"
	"context"
	"fmt"

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
