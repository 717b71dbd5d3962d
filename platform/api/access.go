package api

import (
	"context"
	"net/http"
	"strings"

	"garment.id/homecore/platform/fault"
)

// The refusals of the edge itself, beside those of package fault.
var (
	// ContextMismatch refuses a token where it does not belong: another tenant's host, or the other kind of operation.
	ContextMismatch = fault.New(fault.Forbidden, "tenant.context_mismatch",
		"Token ini bukan untuk tenant ini. Pilih tenant kembali.", "This token is not for this tenant. Select the tenant again.")
	// TenantUnknown refuses a host that names no tenant.
	TenantUnknown = fault.New(fault.NotFound, "tenant.unknown", "Ruang kerja tidak ditemukan.", "There is no such workspace.")
	// ImpersonationReadOnly refuses to change anything with the token of an operator in a user's place.
	ImpersonationReadOnly = fault.New(fault.Forbidden, "auth.impersonation_read_only",
		"Atas nama pengguna lain Anda hanya dapat melihat.", "In another user's place you can only look.")
)

// admit decides whether the caller may use the operation, and returns the context in which the handler runs. Config hears of who is kept out.
func (o *operation) admit(ctx context.Context, x *exchange) (context.Context, error) {
	admitted, err := o.decide(ctx, x)
	if err != nil && x.principal != nil {
		err = o.router.config.Refused(ctx, *x.principal, o.Rule.permission, err)
	}
	return admitted, err
}

func (o *operation) decide(ctx context.Context, x *exchange) (context.Context, error) {
	config := &o.router.config
	ofTenant := strings.HasPrefix(o.Name, "tenant.")
	if o.Rule.who == anyone {
		if ofTenant {
			return config.Tenants.Enter(ctx, *x.tenant)
		}
		return ctx, nil
	}

	token := Bearer(x.header.Get("Authorization"))
	if token == "" {
		return nil, fault.Unauthorized
	}
	p, err := config.Authenticate(ctx, token)
	if err != nil {
		x.bearer = true
		return nil, err
	}
	x.principal = &p
	if p.Impersonated() && x.method != http.MethodGet && x.method != http.MethodHead {
		return nil, ImpersonationReadOnly
	}

	// A tenant's token is of use on that tenant's host and on the base domain, nowhere else.
	if !p.Central() && x.tenant != nil && p.TenantID != x.tenant.ID {
		return nil, ContextMismatch
	}
	switch {
	case o.Rule.who == user:
		return ctx, nil
	case o.Rule.who == permitted && !ofTenant:
		if !p.Central() {
			return nil, ContextMismatch
		}
		if p.Impersonated() { // whoever is impersonated, their rights on the platform are not lent
			return nil, fault.AccessDenied
		}
		return ctx, config.PlatformPermits(ctx, p, o.Rule.permission)
	case p.Central():
		return nil, ContextMismatch
	}
	tenant := Tenant{ID: p.TenantID, Slug: p.TenantSlug}
	if x.tenant != nil {
		tenant = *x.tenant
	}
	ctx, err = config.Tenants.Enter(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return ctx, config.TenantPermits(ctx, p, o.Rule.permission)
}

// Bearer returns the token of an Authorization header of scheme Bearer (RFC 6750 §2.1; schemes are case-insensitive), or "".
func Bearer(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}
