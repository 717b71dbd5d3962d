-- Failures from one network that say which account was tried. Others come as fast as anybody likes, and must neither crowd these out nor
-- be read along with them.
drop index security_activities_network_idx;
create index security_activities_network_idx on security_activities (network, at) where type = 'login_failed' and identifier_hash is not null;
