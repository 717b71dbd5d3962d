-- Accounts, their sessions and what signs their tokens. Nothing in these tables can be used as a token: tokens and mailed links
-- are computed from a row and the server's key, and private keys lie sealed under it.

create table users (
    id                uuid primary key,
    name              text not null,
    email             text not null,                      -- normalised: trimmed, NFKC, lower case, the domain in ASCII
    email_verified_at timestamptz,
    password_hash     text,                               -- argon2id, PHC string; null: signs in elsewhere
    password_set_at   timestamptz,                        -- when the password changed; a rehash leaves it
    locale            text not null check (locale in ('id', 'en')),
    disabled_at       timestamptz,
    created_at        timestamptz not null,
    updated_at        timestamptz not null
);
create unique index users_email_key on users (email);

-- One sign-in. Its row is the lock for everything that renews or ends it.
create table sessions (
    id          uuid primary key,
    user_id     uuid not null references users (id) on delete cascade,
    auth_time   timestamptz not null,                     -- when the user last proved who they are
    amr         text not null,                            -- how (RFC 8176), separated by blanks
    device      text not null,
    ip          text not null,
    user_agent  text not null,
    created_at  timestamptz not null,
    expires_at  timestamptz not null,                     -- absolute: no refresh moves it
    revoked_at  timestamptz,                              -- by the database's clock, which every process shares
    revoked_for text
);
create index sessions_user_idx on sessions (user_id, id desc);
create index sessions_revoked_idx on sessions (revoked_at) where revoked_at is not null;
create index sessions_expires_idx on sessions (expires_at);

-- The refresh tokens of a session for one audience: the current one has this generation. A refresh is an UPDATE of this row.
create table refresh_chains (
    id         uuid primary key,
    session_id uuid not null references sessions (id) on delete cascade,
    audience   text not null,                             -- as in the access token's aud
    nonce      bytea not null,                            -- goes into the token's MAC; says nothing without the server's key
    generation bigint not null,
    rotated_at timestamptz not null,
    expires_at timestamptz not null                       -- idle: moved by a refresh, never past the session's
);
create unique index refresh_chains_audience_key on refresh_chains (session_id, audience);

-- Links in mails. The token in a link is computed from the row and the server's key when the mail is sent.
create table mail_links (
    id            uuid primary key,
    user_id       uuid not null references users (id) on delete cascade,
    purpose       text not null check (purpose in ('verify_email')),
    email         text not null,                          -- the address it proves; void once the account's is another
    name          text,                                   -- these two where an unverified address was registered again:
    password_hash text,                                   -- what opening the link puts in place of the earlier ones
    created_at    timestamptz not null,
    expires_at    timestamptz not null
);
create unique index mail_links_own_key on mail_links (user_id, purpose, email) where password_hash is null;
create index mail_links_user_idx on mail_links (user_id);
create index mail_links_expires_idx on mail_links (expires_at);

create table signing_keys (
    kid         text primary key,
    alg         text not null check (alg in ('EdDSA')),
    public_key  bytea not null,
    private_key bytea not null,                           -- sealed with the server's key
    status      text not null check (status in ('next', 'active', 'retired')),
    created_at  timestamptz not null,
    retired_at  timestamptz check ((retired_at is not null) = (status = 'retired'))
);
create unique index signing_keys_active_key on signing_keys (status) where status = 'active';

create table platform_roles (
    user_id    uuid not null references users (id) on delete cascade,
    role       text not null check (role in ('owner', 'billing', 'support', 'auditor')),
    granted_at timestamptz not null,
    granted_by text not null,
    primary key (user_id, role)
);
