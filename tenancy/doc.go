// Package tenancy gives every tenant a PostgreSQL schema of its own, and makes it impossible to reach another's.
//
// # Whose rows a statement reaches
//
// A Scope in the context says who is working; only this package issues one. GORM and raw SQL run on a DB, which sends each
// call to the group of connections that serves its tenant, where this package's own database/sql driver does the rest:
//
//	a single statement   [enter][statement] Sync                                 1 round trip
//	a transaction        [begin][enter][statement] Sync, [statement] … [commit]  one fewer than usual
//
// Enter sets the tenant's search_path and role until the end of the transaction, as the first statement of the pipeline
// that carries the tenant's: what follows is skipped by the server if enter fails. Three locks, any one of which holds:
//
//   - without a Scope nothing is sent (ErrNoTenant), and a transaction refuses any other than its own (ErrTenantMismatch);
//   - a group's login role can reach nothing by itself: no search_path, no rights, no inheritance;
//   - a tenant's role may use its schema alone, and membership in that role is the gate: once it is revoked, the next enter
//     on every open connection of every process is refused (EntryError).
//
// What the third does not stop: SQL that someone injects can enter another tenant of the same group. Pass values as arguments.
//
// # Prepared statements
//
// They are kept per connection, schema, version and SQL, since one shared by two tenants would be analysed again at every
// change of search_path; the least recently used is closed with the next pipeline. What the server says of a statement is
// shared by all connections, so that one of them meeting it for the first time parses, binds and executes in one round trip:
// among all tenants of a version if every type in it is built in, and with nobody if not, because each tenant's enums
// and domains have oids of their own. A statement nobody has met sends its arguments as literals, if they are plain (texts,
// numbers, booleans, times, ids), and lets the server find their types; lists, bytes and structures are described first.
// Parameter types are always sent with a parse that relies on an older description, so that a value encoded for one type
// is never read as another.
//
// A migration makes all this out of date. The version in the Scope keeps the new from the old; between a migration and the
// next Scope, a statement that fails in a way that may come from that is forgotten and, if it stood alone, described anew
// and sent once more (its transaction was rolled back: nothing happened). Inside a transaction the error stands.
//
// Only queries are kept. SAVEPOINT, which GORM names at random, DDL and very long batches are parsed as they come.
//
// # Failures
//
// PostgreSQL's errors arrive unwrapped, as GORM's translation needs them. A cancelled context cancels the statement on the
// server and waits for it; a server that does not answer loses the connection. A connection returns to its pool only idle
// and outside a transaction, and one the server has closed meanwhile is noticed before it is used, without a round trip.
// A statement is retried on another connection only if not a byte of it was sent or the server refused it unexecuted.
// A commit that fails for want of a connection may have happened.
package tenancy
