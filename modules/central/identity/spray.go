package identity

import (
	"encoding/binary"
)

// Addresses and accounts have throttles of their own; who tries one password on many accounts, each from another address, passes under
// all of them. What stays the same is the password. See 00025_identity_sprays.sql for what is kept of it, and docs/security.md for why
// that is little enough.

// sprayedAccounts is how many of the 64 bits make a spray: thirty are set after about forty accounts. With two million wrong passwords an
// hour, all different, one in twenty of the 65,536 fingerprints would have as many by chance.
const sprayedAccounts = 30

// reasonOnePassword tells a spray from an address that fails for too many accounts.
const reasonOnePassword = "one_password"

// fingerprint is what is kept of a wrong password.
func (t throttle) fingerprint(password string) int32 {
	return int32(binary.BigEndian.Uint16(t.key(throttleLogin, "password", []byte(password))))
}

// accountBit is the one that stands for an account among those that a password was wrong for. It says nothing of the account across
// passwords.
func (t throttle) accountBit(fingerprint int32, identifier string) int64 {
	hash := t.key(throttleLogin, "sprayed", binary.BigEndian.AppendUint32(nil, uint32(fingerprint)), []byte(identifier)) //nolint:gosec // 16 bits
	return 1 << (hash[0] & 63)
}

// failSprayedSQL is throttle_fail, and the same for the password: shut for a quarter of an hour, true where that begins now.
const failSprayedSQL = `
with s as (insert into sprayed_passwords as p (fingerprint, accounts, since) values ($7, $8, now())
	on conflict (fingerprint) do update set
		since      = case when p.since > now() - interval '1 hour' then p.since else excluded.since end,
		accounts   = case when p.since > now() - interval '1 hour' then p.accounts | excluded.accounts else excluded.accounts end,
		shut_until = case when p.since > now() - interval '1 hour' and bit_count((p.accounts | excluded.accounts)::bit(64)) >= $9
			and coalesce(p.shut_until <= now(), true) then now() + interval '15 minutes' else p.shut_until end
	returning shut_until is not distinct from now() + interval '15 minutes' as shut)
select throttle_fail($1, $2, $3, $4, $5, $6), s.shut from s`
