create table roles (
    id          uuid primary key,
    key         text not null,
    name        text not null,
    description text not null default '',
    permissions jsonb not null,                           -- ["*"] is every permission there is and will be
    is_system   boolean not null default false,
    version     bigint not null default 1,
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);
create unique index roles_key_key on roles (key);

create table members (
    user_id    uuid primary key,                          -- central.users; no foreign key leaves a tenant's schema
    role_id    uuid not null references roles (id),
    status     text not null check (status in ('invited', 'active', 'suspended')),
    joined_at  timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index members_role_idx on members (role_id);
