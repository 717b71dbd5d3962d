package tenancyotel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"garment.id/homecore/cmd/homecore/app/apptest"
	"garment.id/homecore/tenancy"
	"garment.id/homecore/tenancy/tenancyotel"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter))
	tracer := tenancyotel.New(provider)
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")

	tracer.Start(ctx, tenancy.Statement{SQL: "select * from books where title = 'secret' and id = $1"})(tenancy.Outcome{Rows: 3, Parsed: true})
	tracer.Start(ctx, tenancy.Statement{SQL: "insert into books values ($1)"})(tenancy.Outcome{Err: &pgconn.PgError{Code: "23505", Message: "secret"}})
	tracer.Start(ctx, tenancy.Statement{SQL: "update books set stock = 1"})(tenancy.Outcome{Rows: 2, Err: errors.New("secret")})

	spans := exporter.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	want := []map[attribute.Key]string{
		{"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.query.text": "select * from books where title = ? and id = $1",
			"db.response.returned_rows": "3", "homecore.db.parsed": "true", "homecore.tenant.id": "00000000-0000-0000-0000-000000000000"},
		{"db.operation.name": "INSERT", "db.response.status_code": "23505", "error.type": "23505"},
		{"db.operation.name": "UPDATE", "homecore.db.rows": "2", "error.type": "*errors.errorString"},
	}
	for i, span := range spans {
		got := map[attribute.Key]string{}
		for _, a := range span.Attributes {
			got[a.Key] = a.Value.String()
		}
		for key, value := range want[i] {
			if got[key] != value {
				t.Errorf("%s of %s is %q, want %q", key, span.Name, got[key], value)
			}
		}
		if span.Name != got["db.operation.name"] || span.SpanKind != api.SpanKindClient || span.Parent.SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("span %+v", span)
		}
		if failed := span.Status.Code == codes.Error; failed != (i > 0) {
			t.Errorf("status %v of %s", span.Status, span.Name)
		}
		if strings.Contains(span.Status.Description, "secret") {
			t.Error("a value is told")
		}
	}
	if end := tenancyotel.New(noop.NewTracerProvider()).Start(context.Background(), tenancy.Statement{}); end != nil {
		t.Error("a span that nobody records is followed")
	}
}

func TestSpansNameTheTenant(t *testing.T) {
	t.Parallel()
	a := apptest.New(t)
	m := a.SignUp(t).Onboard(t, "rapi-jahit")
	ctx, err := a.Registry.Enter(t.Context(), m.TenantID)
	if err != nil {
		t.Fatal(err)
	}
	scope, err := tenancy.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	tenancyotel.New(trace.NewTracerProvider(trace.WithSyncer(exporter))).Start(ctx, tenancy.Statement{Scope: scope, SQL: "select 1"})(tenancy.Outcome{})
	for _, span := range exporter.GetSpans() {
		got := attribute.NewSet(span.Attributes...)
		if id, _ := got.Value(tenancyotel.TenantID); id.AsString() != m.TenantID.String() {
			t.Errorf("the span is of tenant %s, want %s", id.String(), m.TenantID)
		}
		if schema, _ := got.Value("db.namespace"); schema.AsString() != scope.Schema() {
			t.Errorf("the span is of schema %s, want %s", schema.String(), scope.Schema())
		}
	}
	if n := len(exporter.GetSpans()); n != 1 {
		t.Errorf("%d spans", n)
	}
}
