// Package fleet is the owner's side of tenancy: the clusters that hold tenants, their roles, and the schemas on them, from
// the making to the dropping. It works with the owner's connections, which may do DDL; requests never do.
//
// Each cluster keeps, in its schema "tenancy", a row for every tenant schema that stands on it (migrations/cluster). That row
// changes in one transaction with the schema, role or membership it speaks of. Schema central, on the main cluster, says which
// of them is a tenant's. Where the two are on different servers, the cluster is changed first and the registry after, and what
// a crash leaves in between is put right by repeating the step: nothing here minds being done twice.
//
// Names of schemas and roles are opaque and never change. Roles belong to a server, not to a database, so theirs carry the
// installation's id and the cluster's name: several installations, and every test, share a server.
package fleet
