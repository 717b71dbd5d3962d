create table taxonomies (
    id          uuid primary key,
    kind        text not null,
    code        text not null,
    name        text not null,
    parent_id   uuid,
    description text not null default '',
    position    integer not null default 0,
    attributes  jsonb not null default '{}',
    is_active   boolean not null default true,
    master_id   uuid,                                     -- the master taxonomy it was copied from
    version     bigint not null default 1,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    unique (id, kind),
    constraint taxonomies_parent_fkey foreign key (parent_id, kind) references taxonomies (id, kind), -- a parent is of the same kind
    check (parent_id <> id)
);
create unique index taxonomies_code_key on taxonomies (kind, lower(code));
create unique index taxonomies_master_key on taxonomies (master_id);
create index taxonomies_parent_idx on taxonomies (parent_id, kind);
create index taxonomies_created_idx on taxonomies (created_at, id);
