-- Signing in with an OpenID provider, Google mostly. State, nonce and PKCE verifier are computed from a row's id and the server's key,
-- so that these rows hold nothing that could be used.

alter table users add column google_linked_at timestamptz; -- kept with google_identities, so that showing an account asks no other table

create table google_identities (
    issuer       text not null,
    subject      text not null,                           -- with the issuer, who it is; the address may change and says nothing
    user_id      uuid not null references users (id) on delete cascade,
    email        text not null,                           -- the provider's, for the owner to recognise it by
    linked_at    timestamptz not null,
    last_used_at timestamptz not null,
    primary key (issuer, subject)
);
create unique index google_identities_user_key on google_identities (user_id);

-- What has been begun and may be finished once. A row is deleted by its use.
create table google_flows (
    id         uuid primary key,
    purpose    text not null check (purpose in ('redirect', 'nonce', 'proof')),
    browser    uuid,                                      -- the one that began it
    return_to  text not null default '',                  -- where a browser goes afterwards
    challenge  text not null default '',                  -- of the page that it goes to (S256), if the page gave one
    subject    text not null default '',                  -- a proof: whom the provider has vouched for
    email      text not null default '',
    name       text not null default '',
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index google_flows_expires_idx on google_flows (expires_at);

-- id_tokens that were taken, until they expire by themselves.
create table google_id_tokens (
    hash       bytea primary key,                         -- SHA-256 of what is signed: the signature itself can be spelt in several ways
    expires_at timestamptz not null
);
create index google_id_tokens_expires_idx on google_id_tokens (expires_at);
