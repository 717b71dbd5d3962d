-- Operators at work on accounts. A session that an operator opened in a user's place says whose hands it is in; it has no refresh chain.
alter table sessions add column actor_id uuid references users (id) on delete cascade;
create index sessions_actor_idx on sessions (actor_id) where actor_id is not null;
create index users_list_idx on users (created_at, id);
