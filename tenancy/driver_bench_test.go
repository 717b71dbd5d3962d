package tenancy

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// BenchmarkRead compares a read by primary key through the driver and GORM with the least it can cost.
func BenchmarkRead(b *testing.B) {
	w := newWorld(b, 10, 1)
	db, _ := w.open(b, 1)
	ctxs := make([]context.Context, len(w.scopes))
	for i := range ctxs {
		ctxs[i] = w.as(b, i)
	}
	b.Run("gorm", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			var row book
			must(b, db.Gorm(ctxs[i%len(ctxs)]).Take(&row, 2).Error)
		}
	})
	b.Run("database/sql", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			var row book
			must(b, db.router.QueryRowContext(ctxs[i%len(ctxs)], "select id, title, stock from books where id = $1", 2).
				Scan(&row.ID, &row.Title, &row.Stock))
		}
	})
	b.Run("pgx, one schema, prepared", func(b *testing.B) {
		conn, err := pgx.Connect(b.Context(), w.url)
		must(b, err)
		defer conn.Close(context.WithoutCancel(b.Context()))
		b.ReportAllocs()
		for b.Loop() {
			var row book
			must(b, conn.QueryRow(b.Context(), "select id, title, stock from t_0.books where id = $1", 2).Scan(&row.ID, &row.Title, &row.Stock))
		}
	})
}
