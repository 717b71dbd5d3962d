-- One password tried on many accounts, each time from another address, shows in nothing but the password. Of a wrong one 16 bits of
-- a keyed hash are kept: enough to notice that it comes again, and shared by one in 65,536 of all passwords, so that not even a
-- holder of the key learns which it was. For which accounts it was wrong is a set of 64 bits, one by a keyed hash for each: how many
-- there were can be told, which cannot. There are 65,536 rows at most. Not logged: it is no part of a backup's or a replica's files,
-- and a crash forgets it.
create unlogged table sprayed_passwords (
    fingerprint integer primary key,
    accounts    bigint not null,
    since       timestamptz not null,                     -- begins anew after an hour
    shut_until  timestamptz                               -- after too many accounts
);
