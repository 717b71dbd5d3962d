-- Every process keeps in memory which sessions have ended, which memberships have changed, and accounts as their owners see them.
-- Whatever changes one of these, a person at psql included, tells them all, in the transaction that changes it. The channel is
-- homecore_access; it says "session <id>", "member <tenant> <user> <version> <active>", "user <id>" or "tenant <id>".

-- What became of memberships, for a process that was not listening. A membership that is gone leaves its row: one that comes back
-- goes on from its version, so that a token of before is never taken for one of after.
create table membership_changes (
    tenant_id  uuid not null,
    user_id    uuid not null,
    version    bigint not null,
    active     boolean not null,
    changed_at timestamptz not null,                      -- by the database's clock
    primary key (tenant_id, user_id)
);
create index membership_changes_age_idx on membership_changes (changed_at);

-- +goose StatementBegin
create function membership_versions() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        new.version := greatest(new.version, coalesce((select c.version + 1 from central.membership_changes c
            where c.tenant_id = new.tenant_id and c.user_id = new.user_id), 1));
    else
        new.version := greatest(new.version, old.version + 1);
    end if;
    return new;
end $$;
-- +goose StatementEnd
create trigger membership_versions before insert or update on memberships for each row execute function membership_versions();

-- Who is a member no more loses the refresh tokens for that tenant at once; for whom something else has changed they go on, and the
-- next access token has the new version.
-- +goose StatementBegin
create function memberships_changed() returns trigger language plpgsql as $$
declare
    tenant    uuid    := coalesce(new.tenant_id, old.tenant_id);
    member    uuid    := coalesce(new.user_id, old.user_id);
    reached   bigint  := coalesce(new.version, old.version + 1);
    is_member boolean := coalesce(new.status, '') = 'active';
begin
    insert into central.membership_changes as c (tenant_id, user_id, version, active, changed_at)
        values (tenant, member, reached, is_member, clock_timestamp())
        on conflict on constraint membership_changes_pkey do update set version = excluded.version, active = excluded.active, changed_at = excluded.changed_at;
    if not is_member then
        delete from central.refresh_chains c using central.sessions s
            where s.id = c.session_id and s.user_id = member and c.audience = 'homecore:tenant:' || tenant;
    end if;
    perform pg_notify('homecore_access', 'member ' || tenant || ' ' || member || ' ' || reached || ' ' || is_member);
    return null;
end $$;
-- +goose StatementEnd
create trigger memberships_changed after insert or update or delete on memberships for each row execute function memberships_changed();

-- +goose StatementBegin
create function access_changed() returns trigger language plpgsql as $$
begin
    perform pg_notify('homecore_access', tg_argv[0] || ' ' || (coalesce(to_jsonb(new), to_jsonb(old)) ->> tg_argv[1]));
    return null;
end $$;
-- +goose StatementEnd
create trigger sessions_ended after update of revoked_at on sessions for each row
    when (old.revoked_at is null and new.revoked_at is not null) execute function access_changed('session', 'id');
-- A rehash and the like change nothing that anybody sees.
create trigger users_changed after update on users for each row
    when ((to_jsonb(old) - '{password_hash,updated_at}'::text[]) is distinct from (to_jsonb(new) - '{password_hash,updated_at}'::text[])
        or (old.password_hash is null) <> (new.password_hash is null)) execute function access_changed('user', 'id');
create trigger platform_roles_changed after insert or update or delete on platform_roles for each row
    execute function access_changed('user', 'user_id');
create trigger tenants_seen_changed after update on tenants for each row
    when (old.* is distinct from new.*) execute function access_changed('tenant', 'id');
