-- Accounts are remembered with the tenants their owners see, which archived and dropped ones are not among. So nobody can tell from memory
-- whom a tenant concerns that comes back: its members are named (00022).
-- +goose StatementBegin
create function tenant_came_back() returns trigger language plpgsql as $$
begin
    perform pg_notify('homecore_access', 'user ' || m.user_id) from central.memberships m where m.tenant_id = new.id;
    return null;
end $$;
-- +goose StatementEnd
create trigger tenants_came_back after update on tenants for each row
    when (old.status in ('archived', 'dropping', 'dropped') and new.status not in ('archived', 'dropping', 'dropped'))
    execute function tenant_came_back();
