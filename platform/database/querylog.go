package database

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm/logger"
)

// QueryLog is GORM's logger. It reports slow statements, with neither their values nor their errors: values are the
// tenants', and errors are returned to someone who decides whether they are worth a line.
type QueryLog struct {
	Log   *slog.Logger
	Slow  time.Duration                   // 0 reports none
	Attrs func(context.Context) slog.Attr // more to say of a statement; may be nil
}

// LogMode implements logger.Interface; the level is that of the log.
func (l QueryLog) LogMode(logger.LogLevel) logger.Interface { return l }

// Info implements logger.Interface.
func (l QueryLog) Info(ctx context.Context, msg string, data ...any) {
	l.Log.DebugContext(ctx, fmt.Sprintf(msg, data...))
}

// Warn implements logger.Interface.
func (l QueryLog) Warn(ctx context.Context, msg string, data ...any) {
	l.Log.WarnContext(ctx, fmt.Sprintf(msg, data...))
}

// Error implements logger.Interface.
func (l QueryLog) Error(ctx context.Context, msg string, data ...any) {
	l.Log.ErrorContext(ctx, fmt.Sprintf(msg, data...))
}

// Trace implements logger.Interface.
func (l QueryLog) Trace(ctx context.Context, begin time.Time, query func() (sql string, rows int64), _ error) {
	took := time.Since(begin)
	if l.Slow == 0 || took < l.Slow {
		return
	}
	text, rows := query()
	attrs := []slog.Attr{slog.Duration("took", took), slog.Int64("rows", rows), slog.String("sql", text)}
	if l.Attrs != nil {
		attrs = append(attrs, l.Attrs(ctx))
	}
	l.Log.LogAttrs(ctx, slog.LevelWarn, "slow query", attrs...)
}

// ParamsFilter keeps the values out of what Trace is told.
func (l QueryLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}
