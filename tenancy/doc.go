// Package tenancy gives every tenant a PostgreSQL schema of its own, and makes it impossible to reach another's.
//
// # To begin with
//
// A process has one Registry, which knows the tenants, and one DB, which reaches their rows (see the example of Open):
//
//	registry := tenancy.NewRegistry(central, "garment.id", version)
//	go registry.Listen(ctx, log)
//	db, err := tenancy.Open(tenancy.Config{Clusters: clusters, Renew: registry.Renew})
//
// A request is let into the tenant that its host names. From there on the context says whose rows are meant, and nothing
// else does: no argument, no header, no global variable.
//
//	tenant, err := registry.Resolve(ctx, host)             // Unknown where the host is nobody's
//	ctx, err = registry.Enter(ctx, tenant.ID)              // IsSuspended, InMaintenance, or ctx carries a Scope
//	err = db.Gorm(ctx).Take(&order, id).Error              // the tenant's row, in one round trip
//	err = db.Gorm(context.Background()).Take(&order).Error // ErrNoTenant, and nothing was sent
//
// What belongs together goes into a transaction, whose context has to be used inside it:
//
//	err = db.Tx(ctx, func(ctx context.Context) error {
//		if err := db.Gorm(ctx).Create(&order).Error; err != nil {
//			return err // rolls back, as a panic does
//		}
//		return db.Notify(ctx, "orders", order.Code)
//	})
//
// The function may be called a second time: if the tenant had moved, Postgres refused its first statement, and nothing of it
// has happened. So it changes nothing outside of the transaction that may not be changed twice.
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
//     on every open connection of every process is refused (EntryError). PostgreSQL remembers who is a member, and a backend that
//     was reading it at that moment may keep what it read: package fleet has all of them read again, at once and 100 ms later.
//
// What the third does not stop: SQL that someone injects can enter another tenant of the same group. Pass values as arguments.
//
// # What is refused
//
// SQL that would outlive its transaction, end it, or choose a tenant by itself is refused before any I/O, with an
// ErrSessionStatement that names it: SET and RESET, BEGIN and COMMIT by hand, PREPARE, LISTEN, DISCARD, temporary tables,
// cursors WITH HOLD, COPY, DO, set_config(), lastval(), advisory locks, updates of pg_settings. What stays is what GORM and a
// transaction need: SAVEPOINT, RELEASE, ROLLBACK TO, SET CONSTRAINTS, SET TRANSACTION, and SET LOCAL of lock_timeout, work_mem
// and the planner's switches (enable_…). statement_timeout belongs to the tenant's plan; a shorter limit is a deadline of
// the context. The check reads SQL as PostgreSQL's lexer does, and only that which the connection has not met before.
//
// # Hatches
//
// For some of it there is another way, which asks for a Scope as everything here does:
//
//	db.CopyFrom(ctx, "orders", columns, rows)   COPY in, rows an iter.Seq2[[]any, error]
//	db.CopyTo(ctx, "select …", w)               COPY out, as CSV
//	db.Lock(ctx, "stock")                       an advisory lock of the tenant's, until the transaction ends
//	db.Notify(ctx, "orders", id)                NOTIFY, when the transaction commits
//	db.Listen(ctx, "orders")                    LISTEN, on a connection of its own
//
// Keys and channels carry the tenant: those of two tenants never meet. The copies, Lock and Notify join the Tx of ctx.
//
// # Watching
//
// Config.Tracer is told of every statement, without its values; package tenancyotel makes spans of OpenTelemetry from that.
//
// # What is known of tenants
//
// The Registry keeps tenants in memory and hears of their changes (Registry.Listen), but of a migration: to tell every process
// of each tenant's new version would cost more than the migration. It is read within a minute, and within a second where the
// old version may not be entered. A stale one, anywhere, is harmless: Postgres
// refuses entry, the tenant is read anew (Registry.Renew), and the call is made once more where it is now, or refused with the
// reason: Unknown, IsSuspended, or InMaintenance with a Shut that tells maintenance, provisioning, migrating and changing apart.
//
// Whatever else belongs to a tenant takes it from the Scope too: jobs (package tenantjobs), Cache, FileKey, LogHandler, Metrics.
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
// first Scope that knows of it, a statement that fails in a way that may come from that is forgotten and, if it stood alone, described anew
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
