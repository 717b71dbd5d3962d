-- Names that read alike, such as rapi-jahit and rapl-jahlt: one of them must not pass for the other. The expression is lookalike's in
-- modules/central/tenants/slug.go.
create index tenants_lookalike_idx on tenants ((translate(replace(replace(slug, 'rn', 'm'), 'vv', 'w'), '01i', 'oll')));
