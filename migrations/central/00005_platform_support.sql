-- What mutations answered, for 24 hours: the same Idempotency-Key gets the same answer.
create table idempotency_keys (
    owner      text not null,                             -- who sent it
    operation  text not null,
    key        text not null,
    hash       bytea not null,                            -- of the request
    result     bytea not null,
    created_at timestamptz not null default now(),
    primary key (owner, operation, key)
);
create index idempotency_keys_age_idx on idempotency_keys (created_at);

-- Mail kept instead of sent, in development.
create table kept_mail (
    id         uuid primary key,
    recipient  text not null,
    subject    text not null,
    text_body  text not null,
    html_body  text not null,
    links      jsonb not null,
    created_at timestamptz not null default now()
);
create index kept_mail_age_idx on kept_mail (created_at desc, id desc);
