// Package migrate brings tenants' schemas up to the newest migration, on all clusters, and finds those that are not what the
// migrations make.
//
// # State
//
// A cluster's tenancy.schemas says which migration each schema has; tenancy.applied is the ledger. Both change in the
// transaction of the DDL. So "who is behind" is one query on each cluster, a run with nothing to do visits no schema, and a
// run that was killed is simply started again. The registry's copy of the version, central.tenants.schema_version, is
// written in the same transaction on the main cluster; for the others right after it, and put right by the next run if a
// crash came between.
//
// # Claims
//
// Any number of processes work at once. A worker claims a schema by its row, FOR UPDATE SKIP LOCKED, in the transaction that
// migrates it. On Postgres that costs no round trip: each string of statements applies one migration to one schema, commits, and
// claims the next schema.
//
//	[path] [DDL] … [ledger] [commit] [begin] [claim the next]      1 round trip
//
// On Citus every statement is sent on its own.
//
// # Waves
//
// Canaries come first, then one schema in a hundred, then one in ten, then the rest; within a wave, tenants in use before
// warm and shut ones. The wave of a schema follows from its name, so that all processes agree. A wave begins when the one
// before is done in all of them. If more fail in a wave than its budget allows, the run stops there: the rest is not begun.
// With few schemas there are only canaries and the rest. All that stand are migrated, warm and retired ones and those of shut
// tenants too; only a shadow is left to who fills it (Runner.Schema), and what is about to be dropped to its end.
//
// # Failures
//
// A statement gives up after waiting two seconds for a lock, since everybody else waits behind it; it is tried again a little
// later, up to five times. Whatever fails is rolled back and written into the schema's row, the others go on, and it is tried
// once more at the end of the run, and by the next run.
//
// # Without a transaction
//
// A file with the line "-- homecore: no transaction" runs statement by statement, under the schema's advisory lock
// (fleet.SchemaLock), and is recorded afterwards. It may be cut off anywhere, so it is safe to run twice; an index that
// CREATE INDEX CONCURRENTLY left unfinished is dropped first.
//
// # Drift
//
// Drift compares what the catalogue says of a schema with a fresh one of the same version, made in a transaction that is
// rolled back. Hashes are compared first, computed by the server for many schemas at a time; only what differs is read.
package migrate
