package tenancy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// queryLog is GORM's logger. It reports slow statements, with neither their values nor their errors: values are the
// tenants', and errors are returned to someone who decides whether they are worth a line.
type queryLog struct {
	slog *slog.Logger
	slow time.Duration
}

func (l queryLog) LogMode(logger.LogLevel) logger.Interface { return l }

func (l queryLog) Info(ctx context.Context, msg string, data ...any) {
	l.slog.DebugContext(ctx, fmt.Sprintf(msg, data...))
}

func (l queryLog) Warn(ctx context.Context, msg string, data ...any) {
	l.slog.WarnContext(ctx, fmt.Sprintf(msg, data...))
}

func (l queryLog) Error(ctx context.Context, msg string, data ...any) {
	l.slog.ErrorContext(ctx, fmt.Sprintf(msg, data...))
}

func (l queryLog) Trace(ctx context.Context, begin time.Time, query func() (sql string, rows int64), _ error) {
	took := time.Since(begin)
	if l.slow == 0 || took < l.slow {
		return
	}
	scope, _ := Current(ctx)
	text, rows := query()
	l.slog.WarnContext(ctx, "slow query", "tenant", scope.slug, "took", took, "rows", rows, "sql", text)
}

// ParamsFilter keeps the values out of what Trace is told.
func (l queryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}
