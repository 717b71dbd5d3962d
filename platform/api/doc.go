// Package api is the HTTP edge: everything between a connection and a handler that knows only its own business.
//
// A handler takes a context and a typed input and returns a typed output. The types are the validation and the documentation:
//
//	type createInput struct {
//		api.Idempotency
//		Body struct {
//			Name string `json:"name" minLength:"2" maxLength:"80"`
//		}
//	}
//
//	func (s *Service) handleCreate(ctx context.Context, in *createInput) (*api.Data[Customer], error) {
//		c, err := s.Create(ctx, in.Body.Name)
//		if err != nil {
//			return nil, err
//		}
//		return api.Created(c), nil
//	}
//
// A route is one line: method, path, handler, name, who may. A route without a [Rule] does not compile, the zero rule panics at start.
//
//	api.Post(r, "/master-data/customers", s.handleCreate, "tenant.master-data.customers.create", api.Can("customers.write"), api.Status(201))
//
// The name decides the host: central.… stands on the base domain, the Core API, and with [Both] on tenants' hosts as well; tenant.…
// stands on tenants' hosts, the Tenant API. Nothing else in a request ever chooses the tenant.
//
// # What a handler may rely on
//
// When it runs, the caller has been admitted by the rule, the tenant has been entered, and every field of the input is valid: all that
// is wrong is told at once, in the request's language. Unknown fields and parameters have been refused, and so has text PostgreSQL
// cannot keep. [MustPrincipal], [HostTenant], [ClientFrom] and [RequestID] tell of the request; [Header] adds to the answer's headers.
//
// # What it returns
//
// [OK], [Created], [Accepted], [Done] and [List] fill the envelope's data; the edge stamps the rest. An error that is a fault becomes
// its status, code and text. Any other error is a mute 500 and one line in the log, or a 503 if Config.Unavailable knows it.
//
// An output of another shape is sent as it is. Use that for redirects and files; an embedded [Data] does not work, since huma finds
// only a Body of the output's own.
//
// # Serving
//
// [New] makes a [Router], modules register on it, and [Serve] answers with it until it is told to end. /up, /ready, /openapi.json and
// /docs come with it; [MetricsHandler] belongs on a port of its own.
package api
