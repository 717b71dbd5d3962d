create table master_taxonomies (
    id          uuid primary key,
    kind        text not null,
    code        text not null,
    name        text not null,
    parent_id   uuid,
    description text not null default '',
    position    integer not null default 0,
    attributes  jsonb not null default '{}',
    is_active   boolean not null default true,
    version     bigint not null default 1,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    unique (id, kind),
    constraint master_taxonomies_parent_fkey foreign key (parent_id, kind) references master_taxonomies (id, kind), -- a parent is of the same kind
    check (parent_id <> id)
);
create unique index master_taxonomies_code_key on master_taxonomies (kind, lower(code));
create index master_taxonomies_parent_idx on master_taxonomies (parent_id, kind);
