-- Who belongs to which tenant. The version grows with every change, and a tenant token carries it.
create table memberships (
    tenant_id  uuid not null references tenants (id),
    user_id    uuid not null references users (id),
    role       text not null,                             -- the role's key in the tenant's schema, for lists
    status     text not null check (status in ('invited', 'active', 'suspended')),
    version    bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);
create index memberships_user_idx on memberships (user_id);

create table onboardings (
    id         uuid primary key,
    tenant_id  uuid not null references tenants (id),
    user_id    uuid not null references users (id),
    status     text not null check (status in ('pending', 'running', 'active', 'failed')),
    steps      jsonb not null,                            -- [{"name": …, "status": "pending|running|done|failed"}]
    failure    text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index onboardings_tenant_key on onboardings (tenant_id);
create index onboardings_open_idx on onboardings (updated_at) where status in ('pending', 'running');
