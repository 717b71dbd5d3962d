// Package tenancyotel makes spans of OpenTelemetry from the statements of tenants.
package tenancyotel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"garment.id/homecore/tenancy"
)

const scopeName = "garment.id/homecore/tenancy"

// What the semantic conventions have no name for.
const (
	TenantID = attribute.Key("homecore.tenant.id") // the tenant's id
	Parsed   = attribute.Key("homecore.db.parsed") // the server had to parse the statement
	Retried  = attribute.Key("homecore.db.retried")
	Rows     = attribute.Key("homecore.db.rows") // rows affected by what returns none
)

// New returns a Tracer that makes a client span of each statement, named after its verb, as a child of the span in its
// context: https://opentelemetry.io/docs/specs/semconv/db/postgresql/. db.query.text has ? where the SQL has a value; arguments
// are not recorded.
func New(provider trace.TracerProvider) tenancy.Tracer {
	return tracer{provider.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL))}
}

type tracer struct{ trace.Tracer }

func (t tracer) Start(ctx context.Context, s tenancy.Statement) tenancy.EndOfStatement {
	operation := s.Operation()
	_, span := t.Tracer.Start(ctx, operation, trace.WithSpanKind(trace.SpanKindClient))
	if !span.IsRecording() {
		span.End()
		return nil
	}
	span.SetAttributes(
		semconv.DBSystemNamePostgreSQL,
		semconv.DBNamespace(s.Scope.Schema()),
		semconv.DBOperationName(operation),
		semconv.DBQueryText(s.Sanitized()),
		TenantID.String(s.Scope.Tenant().String()),
	)
	return func(o tenancy.Outcome) {
		defer span.End()
		rows := Rows.Int64(o.Rows)
		if operation == "SELECT" || operation == "WITH" || operation == "VALUES" {
			rows = semconv.DBResponseReturnedRows(int(o.Rows))
		}
		span.SetAttributes(rows, Parsed.Bool(o.Parsed), Retried.Bool(o.Retried))
		if o.Err == nil {
			return
		}
		// Not the error's text: PostgreSQL quotes values in it.
		kind := tenancy.SQLState(o.Err)
		if kind == "" {
			kind = fmt.Sprintf("%T", o.Err)
		} else {
			span.SetAttributes(semconv.DBResponseStatusCode(kind))
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, kind)
	}
}
