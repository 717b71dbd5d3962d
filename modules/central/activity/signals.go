package activity

import (
	"fmt"
	"strings"
)

// The kinds of signals.
const (
	newDevice            = "new_device"
	newCountry           = "new_country"
	impossibleTravel     = "impossible_travel"
	successAfterFailures = "success_after_failures"
	refreshReuse         = "refresh_reuse"
	credentialStuffing   = "credential_stuffing" //nolint:gosec // the name of an attack, no credential
	totpBruteforce       = "totp_bruteforce"
	dormantAccount       = "dormant_account"
)

// signal is something suspicious: of which events it is asked, and when it fires. The condition is SQL over e, the event that is
// being written, and the rows before it.
type signal struct {
	kind   string
	weight int // in percent: how sure it makes us, by itself, that this is not the owner
	on     func(Event) bool
	when   string
}

// An account's successful sign-ins before the event.
const logins = `from security_activities a where a.user_id = e.user_id and a.type = 'login' and a.outcome = 'success'`

// signals in the order in which reasons are listed. Each condition is an index scan over a few rows of one account or one network.
func signals() []signal {
	return []signal{
		// A reused refresh token was in two hands: identity has proved it.
		{refreshReuse, 90, func(e Event) bool { return e.Type == typeReuse }, `true`},
		// Five wrong codes within an hour, after the right password.
		{totpBruteforce, 80, secondFactorFailed, `e.reason = 'totp_bruteforce' or 4 <= (select count(*) from security_activities a
			where a.user_id = e.user_id and a.outcome = 'failure' and a.at > e.at - interval '1 hour' and a.type like 'two\_factor%')`},
		// Faster than a plane since the last sign-in that has a place. Below 300 km it is the file that errs.
		{impossibleTravel, 75, succeeded, `coalesce((select d.km > 300 and d.km > 900 * greatest(extract(epoch from e.at - d.at), 1) / 3600 from (
			select a.at, great_circle_km(a.lat, a.lon, e.lat, e.lon) as km ` + logins + ` and a.lat is not null order by a.at desc limit 1) d), false)`},
		// Twenty accounts tried from one network within an hour: those tries, and whatever succeeds among them. Or the throttle's word.
		{credentialStuffing, 70, tried, `e.type = 'credential_stuffing' or 20 <= (select count(distinct f.identifier_hash) from (
			select a.identifier_hash from security_activities a where a.network = e.network and a.type = 'login_failed'
			and a.identifier_hash is not null and a.at > e.at - interval '1 hour' order by a.at desc limit 500) f)`},
		// Five wrong passwords within an hour, and then the right one.
		{successAfterFailures, 50, succeeded, `5 <= (select count(*) from security_activities f
			where f.user_id = e.user_id and f.outcome = 'failure' and f.type = 'login_failed' and f.at > e.at - interval '1 hour'
			and f.at > coalesce((select max(a.at) ` + logins + `), '-infinity'))`},
		// A country the account has not been in for 180 days, where it is known to have been in others.
		{newCountry, 45, succeeded, `e.country <> '' and exists (select ` + logins + ` and a.country <> '')
			and not exists (select ` + logins + ` and a.country = e.country and a.at > e.at - interval '180 days')`},
		// Nobody signed in for thirty days. Of accounts whose last sign-in the log has forgotten, or that had none, their age is known.
		{dormantAccount, 35, succeeded, `(select coalesce(max(a.at), cast(@born as timestamptz)) < e.at - interval '30 days' ` + logins + `) is true`},
		// Neither a remembered device that was there before, nor a browser and system that were. The first sign-in of all is no news.
		{newDevice, 25, succeeded, `exists (select ` + logins + `)
			and not exists (select ` + logins + ` and (a.device_id = e.device_id or a.device = e.device))`},
	}
}

func succeeded(e Event) bool { return e.Type == typeLogin && e.Outcome == Success }

func tried(e Event) bool {
	return succeeded(e) || e.Type == typeLoginFailed || e.Type == credentialStuffing
}

func secondFactorFailed(e Event) bool {
	return e.Outcome == Failure && strings.HasPrefix(e.Type, "two_factor")
}

// What an event is written with. Scores add up like chances of independent alarms: two of 50 make 75, and none makes more than 100.
// The blank before @identifier: right after a parenthesis GORM would take the bytes for a list.
const (
	insertHead = `
with e as (select cast(@id as uuid) as id, cast(@at as timestamptz) as at, cast(@type as text) as type, cast(@outcome as text) as outcome,
	cast(@reason as text) as reason, cast(@note as text) as note, cast(@user as uuid) as user_id, cast(@actor as uuid) as actor_id,
	cast(@tenant as uuid) as tenant_id, cast(@session as uuid) as session_id, cast(@device_id as uuid) as device_id,
	cast( @identifier as bytea) as identifier_hash, cast(@amr as text) as amr, cast(@request as text) as request_id, cast(@ip as inet) as ip,
	cast(@network as inet) as network, cast(@agent as text) as user_agent, cast(@device as text) as device, cast(@country as text) as country,
	cast(@city as text) as city, cast(@lat as double precision) as lat, cast(@lon as double precision) as lon)
insert into security_activities (id, at, type, outcome, reason, note, user_id, actor_id, tenant_id, session_id, device_id, identifier_hash,
	amr, request_id, ip, network, user_agent, device, country, city, lat, lon, score, reasons)
select e.*, `
	insertPlain  = insertHead + `0, '' from e returning score, reasons`
	insertScored = insertHead + `s.score, s.reasons from e cross join lateral (
	select coalesce(round(100 * (1 - exp(sum(ln(1 - w.weight / 100.0)))))::integer, 0) as score,
		coalesce(string_agg(w.kind, ' ' order by w.weight desc), '') as reasons
	from (values %s) w (kind, weight, fires) where w.fires) s
returning score, reasons`
)

// insertFor returns the statement that writes and scores such an event. There are few different ones, so that Postgres keeps them planned.
func insertFor(e Event) string {
	var asked []string
	for _, s := range signals() {
		if s.on(e) {
			asked = append(asked, fmt.Sprintf("('%s', %d, %s)", s.kind, s.weight, s.when))
		}
	}
	if len(asked) == 0 {
		return insertPlain
	}
	return fmt.Sprintf(insertScored, strings.Join(asked, ",\n\t\t"))
}
