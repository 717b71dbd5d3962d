-- Signing keys that are withdrawn before their time, and one key at most that waits for its turn.

alter table signing_keys
    drop constraint signing_keys_status_check,
    drop constraint signing_keys_check,
    add column revoked_at timestamptz,
    add constraint signing_keys_status_check check (status in ('next', 'active', 'retired', 'revoked')),
    add constraint signing_keys_retired_check check (status <> 'retired' or retired_at is not null),
    add constraint signing_keys_revoked_check check ((revoked_at is not null) = (status = 'revoked'));
create unique index signing_keys_next_key on signing_keys (status) where status = 'next';
