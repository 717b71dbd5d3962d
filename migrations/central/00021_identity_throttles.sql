-- How often something may be tried. Here, so that it holds for all processes and over a restart; by the database's clock, which
-- they share. A key is a keyed hash of what is counted (an address, an identifier, both, a device): no row says whom it is about.

create table throttles (
    key         bytea primary key,
    spent_until timestamptz not null,                     -- when all that was spent will have come back: the arrival time of GCRA
    failures    integer not null default 0,               -- in a row
    waits_until timestamptz,                              -- after failures
    told_at     timestamptz,                              -- when a refusal was last worth a record
    seen_at     timestamptz not null
);
create index throttles_seen_idx on throttles (seen_at);

-- For which identifiers an address has failed: one password tried on many accounts shows here and nowhere else.
create table throttle_failures (
    address    bytea not null,
    identifier bytea not null,
    seen_at    timestamptz not null,
    primary key (address, identifier)
);
create index throttle_failures_seen_idx on throttle_failures (seen_at);

-- Takes one from each allowance, or none: keys in the order address, both, identifier, which is also the order of the locks. An
-- attempt that is refused for its address alone so costs the identifier's owner nothing. One comes back every so many seconds,
-- and at most bursts are there. It answers how many seconds to wait, 0 for admitted, whether this refusal is the first in a
-- minute, and how many failures in a row there have been.
-- +goose StatementBegin
create function throttle_admit(keys bytea[], every float8[], bursts float8[], out wait float8, out tell boolean, out failures integer)
language plpgsql as $$
declare
    entry  central.throttles;
    moment timestamptz;
begin
    wait := 0; tell := false; failures := 0;
    for i in 1 .. cardinality(keys) loop
        insert into central.throttles (key, spent_until, seen_at) values (keys[i], clock_timestamp(), clock_timestamp()) on conflict do nothing;
        select * into entry from central.throttles t where t.key = keys[i] for update;
        moment := clock_timestamp();
        wait := greatest(extract(epoch from entry.spent_until - moment) - every[i] * (bursts[i] - 1), extract(epoch from entry.waits_until - moment), 0);
        if wait > 0 then
            tell := entry.told_at is null or entry.told_at < moment - interval '1 minute';
            if tell then
                update central.throttles t set told_at = moment where t.key = keys[i];
            end if;
            return;
        end if;
        failures := greatest(failures, entry.failures);
    end loop;
    moment := clock_timestamp();
    for i in 1 .. cardinality(keys) loop
        update central.throttles t set spent_until = greatest(t.spent_until, moment) + make_interval(secs => every[i]), seen_at = moment
            where t.key = keys[i];
    end loop;
end $$;
-- +goose StatementEnd

-- Counts a failure: keys (both, identifier) wait 1 s after so many free ones, then 2, 4, 8 …, up to caps seconds, and an hour from
-- the hundredth on. It answers true where the address has now failed for too many identifiers within an hour, and shuts it for a
-- quarter of one. Address may be null.
-- +goose StatementBegin
create function throttle_fail(keys bytea[], free integer[], caps float8[], address bytea, identifier bytea, most integer) returns boolean
language plpgsql as $$
declare
    moment timestamptz := clock_timestamp();
    many   boolean := false;
begin
    if address is not null then
        insert into central.throttle_failures as f (address, identifier, seen_at) values (throttle_fail.address, throttle_fail.identifier, moment)
            on conflict on constraint throttle_failures_pkey do update set seen_at = excluded.seen_at;
        if (select count(*) from central.throttle_failures f where f.address = throttle_fail.address and f.seen_at > moment - interval '1 hour') >= most then
            update central.throttles t set waits_until = moment + interval '15 minutes', seen_at = moment
                where t.key = throttle_fail.address and (t.waits_until is null or t.waits_until <= moment);
            many := found;
        end if;
    end if;
    for i in 1 .. cardinality(keys) loop
        insert into central.throttles as t (key, spent_until, failures, seen_at) values (keys[i], moment, 1, moment)
            on conflict (key) do update set failures = t.failures + 1, seen_at = moment, waits_until = case when t.failures >= free[i] then
                moment + make_interval(secs => case when t.failures >= 100 then 3600 else least(caps[i], power(2, least(t.failures - free[i], 30))) end) end;
    end loop;
    return many;
end $$;
-- +goose StatementEnd
