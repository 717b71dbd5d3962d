-- Digits that stand for letters, such as r4pi-jahit beside rapi-jahit. The expression is lookalike's in modules/central/tenants/slug.go.
create index tenants_alike_idx on tenants ((translate(replace(replace(slug, 'rn', 'm'), 'vv', 'w'), '01i3457', 'olleast')));
drop index tenants_lookalike_idx;
