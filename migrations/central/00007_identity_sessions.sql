-- What a session knows of how it was proved, and what signing in must know of an account's second factor.

alter table sessions add column stepped_up_at timestamptz; -- when the user last proved anew who they are; beside auth_time, which a refresh hands on
alter table sessions add column device_id uuid;            -- the remembered device that stood in for the second factor

-- Kept by whoever adds the first factor or takes the last away, in the same transaction: so signing in without one asks no
-- other table, and notices one that was added meanwhile.
alter table users add column two_factor_at timestamptz;    -- since when the account has a second factor; null: it has none
