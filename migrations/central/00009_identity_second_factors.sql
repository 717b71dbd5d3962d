-- Second factors: authenticator apps, recovery codes and passkeys, the challenges that ask for them, and the devices on which they
-- are not asked for. A dump of these tables holds nothing that signs anybody in: secrets lie sealed under the server's key, codes
-- are kept as MACs under it, and a device's secret as the hash of 256 random bits.

-- Whether the account has a role on the platform, kept with platform_roles: signing in asks no other table for it.
alter table users add column operator boolean not null default false;
update users set operator = true where id in (select user_id from platform_roles);

alter table tenants
    add column two_factor_required boolean not null default false,       -- members without a second factor are not let in
    add column remembered_devices_forbidden boolean not null default false;

-- RFC 6238. A code is accepted once: only a step after the last one is.
create table totp_factors (
    user_id    uuid primary key references users (id) on delete cascade,
    secret     bytea not null,                            -- sealed; the seal begins with its key's id
    last_step  bigint not null,
    created_at timestamptz not null
);

-- A secret that has been shown and not yet been proved.
create table totp_enrolments (
    user_id    uuid primary key references users (id) on delete cascade,
    session_id uuid not null references sessions (id) on delete cascade, -- the one that may confirm it
    secret     bytea not null,                            -- sealed
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index totp_enrolments_session_idx on totp_enrolments (session_id);

create table recovery_codes (
    id         uuid primary key,
    user_id    uuid not null references users (id) on delete cascade,
    mac        bytea not null,                            -- of the code, under the server's key
    created_at timestamptz not null,
    used_at    timestamptz
);
create unique index recovery_codes_user_key on recovery_codes (user_id, mac);

-- A sign-in that has passed its first factor. The id is the challenge token's jti.
create table challenges (
    id         uuid primary key,
    user_id    uuid not null references users (id) on delete cascade,
    amr        text not null,                             -- of the first factor
    device     text not null,                             -- what the client calls itself
    attempts   smallint not null default 0,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at    timestamptz
);
create index challenges_user_idx on challenges (user_id);
create index challenges_expires_idx on challenges (expires_at);

create table remembered_devices (
    id           uuid primary key,
    user_id      uuid not null references users (id) on delete cascade,
    hash         bytea not null,                          -- SHA-256 of the secret
    name         text not null,
    ip           text not null,                           -- of the last use
    user_agent   text not null,
    created_at   timestamptz not null,
    last_used_at timestamptz not null,
    expires_at   timestamptz not null
);
create index remembered_devices_user_idx on remembered_devices (user_id, id desc);
create index remembered_devices_expires_idx on remembered_devices (expires_at);

create table passkeys (
    id            uuid primary key,
    user_id       uuid not null references users (id) on delete cascade,
    credential_id bytea not null,                         -- the authenticator's name for it
    credential    bytea not null,                         -- public key, flags and counter, sealed: nobody adds one past the server
    name          text not null,
    created_at    timestamptz not null,
    last_used_at  timestamptz
);
create unique index passkeys_credential_key on passkeys (credential_id);
create index passkeys_user_idx on passkeys (user_id, id desc);

-- Ceremonies that were finished. What a ceremony needs travels sealed with the client, so that asking for one writes nothing; this
-- is what makes each good once.
create table finished_ceremonies (
    id         uuid primary key,
    expires_at timestamptz not null
);
create index finished_ceremonies_expires_idx on finished_ceremonies (expires_at);
