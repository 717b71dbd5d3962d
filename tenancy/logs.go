package tenancy

import (
	"context"
	"log/slog"
)

// LogHandler returns a handler that adds to each record whose tenant its context works for: tenant, the slug, and tenant_id.
// A record that names a tenant itself stays as it is.
func LogHandler(h slog.Handler) slog.Handler { return logHandler{h} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if s, err := Current(ctx); err == nil && !names(r) {
		r = r.Clone()
		r.AddAttrs(s.logAttrs()...)
	}
	return h.Handler.Handle(ctx, r)
}

func (s Scope) logAttrs() []slog.Attr {
	return []slog.Attr{slog.String("tenant", s.slug), slog.String("tenant_id", s.tenant.String())}
}

// names reports whether a record has an attribute called tenant.
func names(r slog.Record) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = isTenant(a)
		return !found
	})
	return found
}

func isTenant(a slog.Attr) bool {
	if a.Key == "" && a.Value.Kind() == slog.KindGroup { // its members stand where it does
		for _, member := range a.Value.Group() {
			if isTenant(member) {
				return true
			}
		}
	}
	return a.Key == "tenant"
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
