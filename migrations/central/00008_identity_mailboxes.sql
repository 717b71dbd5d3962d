-- What a mailbox proves: passwords that wait for it, links that set one, invitations.

alter table users
    add column password_claimed boolean not null default false, -- chosen by whoever registered the address; nobody has shown yet that they read its mail
    add column claim_id uuid;                                    -- the registration, a link's id, that the password came with; null once it was changed
update users set password_claimed = true where email_verified_at is null and password_hash is not null;

alter table mail_links
    add column claimed_from   text not null default '',         -- the network that a registration came from
    add column claimed_device text not null default '',         -- and what it came from, for its reader
    add column opened_from    text not null default '',         -- networks the link was opened from, separated by blanks
    drop constraint mail_links_purpose_check,
    add constraint mail_links_purpose_check check (purpose in ('verify_email', 'reset_password'));

-- The token in the mail is computed from the row, as a link's is.
create table invitations (
    id          uuid primary key,
    tenant_id   uuid not null references tenants (id),
    email       text not null,                                  -- normalised, as users.email
    role        text not null,                                  -- the role's key in the tenant's schema
    locale      text not null check (locale in ('id', 'en')),
    invited_by  uuid references users (id) on delete set null,
    created_at  timestamptz not null,
    expires_at  timestamptz not null,
    accepted_at timestamptz,
    accepted_by uuid references users (id) on delete set null,
    joined_at   timestamptz,                                    -- when they had become a member; what comes between is a job's to finish
    revoked_at  timestamptz
);
create unique index invitations_open_key on invitations (tenant_id, email) where accepted_at is null and revoked_at is null;
create index invitations_email_idx on invitations (email);
create index invitations_expires_idx on invitations (expires_at);
