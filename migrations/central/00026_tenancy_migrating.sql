-- Migrating all tenants writes schema_version of each and nothing else, and nobody keeps that in memory. Said to every process it
-- cost more than the write: who notifies holds a lock of the whole server until the commit is on the disk, so that one tenant was
-- committed at a time. A column that is new here goes into the list; a test compares.
drop trigger tenants_seen_changed on tenants;
create trigger tenants_seen_changed
    after update of id, slug, name, status, cluster, schema_name, role_name, login_group, statement_timeout_ms, plan, country, currency, timezone,
        locale, created_at, updated_at, status_reason, status_changed_at, status_before, drop_after, version, retry_after, is_canary,
        two_factor_required, remembered_devices_forbidden on tenants
    for each row when (old.* is distinct from new.*) execute function access_changed('tenant', 'id');

-- Room beside each row for its next version, so that no index has to hear of it.
alter table tenants set (fillfactor = 80);
