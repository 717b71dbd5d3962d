-- The session that had a recovery code made on the strength of a step-up; null where the factor it stands in for was proved.
alter table recovery_codes add column session_id uuid;
