-- The security log: what happened to accounts, who did it and from where. A row is complete when it is written, its score included,
-- and is never touched again: the application's role may insert and select, and nothing else. What its comment says is what
-- the installation grants (tenancy/fleet). Rows outlive the accounts and tenants they name, so nothing here refers to those.
create table security_activities (
    id              uuid primary key,
    at              timestamptz not null,
    type            text not null,
    outcome         text not null check (outcome in ('success', 'failure')),
    reason          text not null default '',              -- a stable word
    note            text not null default '',              -- what an operator said, for what operators do
    user_id         uuid,                                  -- whose account; null: nobody we know
    actor_id        uuid,                                  -- who did it, where that is somebody else
    tenant_id       uuid,
    session_id      uuid,
    device_id       uuid,                                  -- of a remembered device
    identifier_hash bytea,                                 -- the address that was tried, under the server's key: never its text
    amr             text not null default '',
    request_id      text not null default '',
    ip              inet,
    network         inet,                                  -- the address, or the /64 it belongs to
    user_agent      text not null default '',
    device          text not null default '',              -- the agent's family: "Firefox, Linux"
    country         text not null default '',              -- ISO 3166-1, empty where no GeoIP file says it
    city            text not null default '',
    lat             double precision,
    lon             double precision,
    score           integer not null default 0 check (score between 0 and 100),
    reasons         text not null default ''               -- the signals that make the score, separated by blanks
);
comment on table security_activities is 'append-only: the security log';
create index security_activities_at_idx on security_activities (at, id);
create index security_activities_user_idx on security_activities (user_id, at, id);
create index security_activities_tenant_idx on security_activities (tenant_id, at, id) where tenant_id is not null;
create index security_activities_score_idx on security_activities (score, id) where score > 0;
create index security_activities_logins_idx on security_activities (user_id, at) where type = 'login' and outcome = 'success';
create index security_activities_failures_idx on security_activities (user_id, at) where outcome = 'failure';
create index security_activities_network_idx on security_activities (network, at) where type = 'login_failed';

-- The owner may delete what is too old to keep; nobody changes what happened.
-- +goose StatementBegin
create function security_activities_stay() returns trigger language plpgsql as $$
begin
    raise exception 'what happened is not changed afterwards';
end $$;
-- +goose StatementEnd
create trigger security_activities_stay before update on security_activities for each row execute function security_activities_stay();
create trigger security_activities_whole before truncate on security_activities for each statement execute function security_activities_stay();

-- Kilometres between two places on a sphere (haversine).
create function great_circle_km(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)
    returns double precision language sql immutable parallel safe as
    'select 12742 * asin(least(1, sqrt(power(sin(radians(lat2 - lat1) / 2), 2) + cos(radians(lat1)) * cos(radians(lat2)) * power(sin(radians(lon2 - lon1) / 2), 2))))';

-- When an account was last warned of a kind of signal, and by which row of the log: at most once an hour.
create table security_alerts (
    user_id     uuid not null references users (id) on delete cascade,
    kind        text not null,
    activity_id uuid not null,
    at          timestamptz not null,
    primary key (user_id, kind)
);
