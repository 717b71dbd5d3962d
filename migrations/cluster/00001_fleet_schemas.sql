-- What a cluster holds of its tenants. Every cluster has these tables, in schema "tenancy"; only the owner reads them. A row
-- changes in the same transaction as the schema, role or membership it speaks of, so it is never wrong about its cluster.

create table schemas (
    schema_name text primary key,                         -- opaque, so that a rename of the tenant is a row elsewhere
    role_name   text not null,
    login_group smallint not null,
    tenant_id   uuid,                                     -- null: warm, made beforehand and waiting for a tenant
    state       text not null check (state in ('warm', 'current', 'shadow', 'retired', 'dropping')),
    is_open     boolean not null,                         -- the gate: the group is a member of the role and may enter
    version     integer not null,                         -- the newest migration it has
    created_at  timestamptz not null default now(),
    claimed_at  timestamptz,
    is_read_only boolean not null default false,          -- the gate leads to the role that may only read, role_name with _ro behind it
    check (state = 'dropping' or (state = 'warm') = (tenant_id is null))
);
create unique index schemas_tenant_key on schemas (tenant_id) where state = 'current';
create index schemas_version_idx on schemas (version);
create index schemas_tenant_idx on schemas (tenant_id);
create index schemas_warm_idx on schemas (created_at) where state = 'warm';

-- The ledger: committed with the DDL it speaks of.
create table applied (
    schema_name text not null references schemas (schema_name) on delete cascade,
    version     integer not null,
    name        text not null,
    applied_at  timestamptz not null default now(),
    primary key (schema_name, version)
);

-- +goose StatementBegin
do $$
begin
    -- Tenants from before every cluster had a ledger of its own.
    if to_regclass('central.tenant_migrations') is null then
        return;
    end if;
    insert into schemas (schema_name, role_name, login_group, tenant_id, state, is_open, version, created_at, claimed_at)
        select t.schema_name, t.role_name, t.login_group, t.id, 'current', true, m.version, t.created_at, t.created_at
        from central.tenants t
        join (select tenant_id, max(version) as version from central.tenant_migrations group by tenant_id) m on m.tenant_id = t.id;
    insert into applied (schema_name, version, name, applied_at)
        select t.schema_name, m.version, m.name, m.applied_at
        from central.tenants t join central.tenant_migrations m on m.tenant_id = t.id;
    update central.tenants t set schema_version = s.version from schemas s where s.tenant_id = t.id;
end $$;
-- +goose StatementEnd

-- Why a schema is not at the newest migration: the last attempt's failure, until one succeeds.
alter table schemas
    add column failure   text,
    add column failed_at timestamptz,
    add column attempts  integer not null default 0;      -- that failed, since the last success
