package api

// Rule says who may call an operation. Its zero value is refused when the route is registered.
type Rule struct {
	who        who
	permission string
}

type who uint8

const (
	nobody who = iota
	anyone
	user
	member
	permitted
)

// The rules that take no permission; with [Can] and [MemberCan] they are all there are.
var (
	// Public lets anybody in. The handler itself checks what else the operation asks for: a signature, a one-time token.
	Public = Rule{who: anyone}
	// User lets any signed-in user in: with a central token on any host, with a tenant's token on that tenant's host or the base domain.
	User = Rule{who: user}
	// Member lets in who holds a token of the tenant the host names (of any tenant, on the base domain).
	Member = Rule{who: member}
)

// Can lets in who holds permission: of the platform for a central operation, in the host's tenant for a tenant operation.
func Can(permission string) Rule { return Rule{who: permitted, permission: permission} }

// MemberCan lets in a member whose role in the tenant holds permission, also for a central operation.
func MemberCan(permission string) Rule { return Rule{who: member, permission: permission} }

// String returns the rule as the OpenAPI document shows it: public, user, member, can:taxonomies.read.
func (r Rule) String() string {
	switch r.who {
	case anyone:
		return "public"
	case user:
		return "user"
	case member:
		if r.permission != "" {
			return "member:" + r.permission
		}
		return "member"
	case permitted:
		return "can:" + r.permission
	default:
		return ""
	}
}

// Permission returns the permission that [Can] or [MemberCan] named, or "".
func (r Rule) Permission() string { return r.permission }
