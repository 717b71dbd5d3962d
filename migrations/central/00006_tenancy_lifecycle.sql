-- The registry grows up: several clusters, a tenant's whole life, names of its own.

alter table clusters
    add column capacity    integer check (capacity > 0),  -- tenants it may hold; null: no limit
    add column accepts_new boolean not null default true;

-- A tenant has no place until its schema is made or taken from the warm ones: the three columns are then empty.
alter table tenants
    add column schema_version    integer not null default 0,    -- the newest migration its schema has, as its cluster last said
    add column status_reason     text,                          -- why an operator shut it
    add column status_changed_at timestamptz not null default now(),
    add column status_before     text,                          -- what undoing an archive or a drop returns to
    add column drop_after        timestamptz;                   -- until then a drop can be undone
alter table tenants alter column schema_name set default '', alter column role_name set default '', alter column login_group set default 0;
drop index tenants_schema_key;
create unique index tenants_schema_key on tenants (cluster, schema_name) where schema_name <> '';
create index tenants_drop_idx on tenants (drop_after) where status = 'dropping';
create index tenants_list_idx on tenants (created_at, id);

-- A tenant's life, as operators lead it. What happened is never changed afterwards.
alter table tenants
    add column version     bigint not null default 1,           -- grows with every change of name or status
    add column retry_after integer check (retry_after > 0);     -- seconds after which clients ask again, under maintenance

create table tenant_events (
    id          uuid primary key,
    tenant_id   uuid not null references tenants (id),
    action      text not null,
    from_status text not null,
    to_status   text not null,
    detail      text not null default '',                 -- what else changed, such as the old and the new name
    reason      text not null default '',
    by_whom     text not null,
    at          timestamptz not null default now()
);
create index tenant_events_list_idx on tenant_events (tenant_id, at, id);

-- +goose StatementBegin
create function tenant_events_stay() returns trigger language plpgsql as $$
begin
    raise exception 'what happened to a tenant is not changed afterwards';
end $$;
-- +goose StatementEnd
create trigger tenant_events_stay before update or delete on tenant_events for each row execute function tenant_events_stay();

-- Names that tenants bring along. Whoever controls a name proves it with a TXT record; until then anybody may claim it.
create table tenant_domains (
    domain        text not null,                          -- lower case, ASCII
    tenant_id     uuid not null references tenants (id),
    token         text not null,
    verified_at   timestamptz,                            -- null: a claim, nothing is served on it
    checked_at    timestamptz,                            -- when DNS last gave an answer
    failing_since timestamptz,                            -- when it first said that the proof is gone
    created_at    timestamptz not null default now(),
    primary key (domain, tenant_id)
);
create unique index tenant_domains_verified_key on tenant_domains (domain) where verified_at is not null;
create index tenant_domains_tenant_idx on tenant_domains (tenant_id);
create index tenant_domains_check_idx on tenant_domains (checked_at) where verified_at is not null;

-- Long work on tenants, with its progress.
create table operations (
    id           uuid primary key,
    kind         text not null,
    tenant_id    uuid references tenants (id),
    status       text not null check (status in ('pending', 'running', 'done', 'failed')),
    params       jsonb not null default '{}',
    progress     jsonb not null default '{}',
    result       jsonb,
    failure      text,
    requested_by text not null,
    claimed_by   uuid,                                    -- the process at work, as long as it moves updated_at
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now()
);
create index operations_list_idx on operations (created_at, id);
create index operations_tenant_idx on operations (tenant_id);
create index operations_open_idx on operations (updated_at) where status in ('pending', 'running');

-- Restores and moves: what is under way, and what was there before and is kept until that is accepted; at most one of a tenant's.
-- The row is written before anything else, so that a crash leaves nothing that nobody knows of.
create table transfers (
    tenant_id     uuid primary key references tenants (id),
    id            uuid not null,
    kind          text not null check (kind in ('restore', 'undo', 'move')),
    phase         text not null check (phase in ('running', 'back', 'flipped', 'done')),
    status_before text,                                   -- what the tenant returns to; null: the work has not shut it
    from_cluster  text not null references clusters (name),
    from_schema   text not null,
    to_cluster    text not null references clusters (name),
    to_schema     text,                                   -- null until it is made
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now()
);
create index transfers_open_idx on transfers (updated_at) where phase <> 'done';

-- Every process keeps tenants in memory. Whatever changes what it keeps, a person at psql included, tells them all.
-- +goose StatementBegin
create function tenants_changed() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.slug <> new.slug then
        perform pg_notify('homecore_tenants', old.id || ' ' || old.slug);
    end if;
    perform pg_notify('homecore_tenants', new.id || ' ' || new.slug);
    return null;
end $$;
-- +goose StatementEnd
create trigger tenants_changed
    after insert or update of slug, name, status, cluster, schema_name, role_name, login_group, statement_timeout_ms, plan on tenants
    for each row execute function tenants_changed();

-- +goose StatementBegin
create function tenant_domains_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('homecore_tenants', 'domain ' || coalesce(new.domain, old.domain));
    return null;
end $$;
-- +goose StatementEnd
create trigger tenant_domains_changed
    after insert or update of verified_at or delete on tenant_domains
    for each row execute function tenant_domains_changed();

-- Who is migrated first: a canary that fails stops the rest.
alter table tenants add column is_canary boolean not null default false;
