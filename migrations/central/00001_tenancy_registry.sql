-- The registry: which tenants there are, and where each one's schema stands.

create table installation (
    only_row boolean primary key default true check (only_row),
    id       text not null check (id ~ '^[a-z0-9]{6,12}$') -- part of every role's name, since roles belong to the whole server
);

create table clusters (
    name       text primary key,
    kind       text not null default 'postgres' check (kind in ('postgres', 'citus')),
    dsn_ref    text,                                      -- name of the environment variable with its address; null: the central cluster
    groups     smallint not null check (groups between 1 and 256),
    created_at timestamptz not null default now()
);

create table tenants (
    id                   uuid primary key,
    slug                 text not null,
    name                 text not null,
    status               text not null check (status in
        ('requested', 'creating', 'ready', 'active', 'read_only', 'suspended', 'maintenance', 'archived', 'dropping', 'dropped')),
    cluster              text not null references clusters (name),
    schema_name          text not null,                   -- opaque, so that a rename is a row
    role_name            text not null,
    login_group          smallint not null,
    statement_timeout_ms integer check (statement_timeout_ms > 0), -- null: the login role's
    plan                 text,
    country              text not null default 'ID',
    currency             text not null default 'IDR',
    timezone             text not null default 'Asia/Jakarta',
    locale               text not null default 'id',
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now()
);
create unique index tenants_slug_key on tenants (slug);
create unique index tenants_schema_key on tenants (cluster, schema_name);

-- The ledger: committed with the DDL it speaks of, so that "who is behind" is one query.
create table tenant_migrations (
    tenant_id  uuid not null references tenants (id),
    version    integer not null,
    name       text not null,
    applied_at timestamptz not null default now(),
    primary key (tenant_id, version)
);
