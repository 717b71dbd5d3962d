create table idempotency_keys (
    owner      text not null,
    operation  text not null,
    key        text not null,
    hash       bytea not null,
    result     bytea not null,
    created_at timestamptz not null default now(),
    primary key (owner, operation, key)
);
create index idempotency_keys_age_idx on idempotency_keys (created_at);
