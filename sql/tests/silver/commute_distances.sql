-- @case Une distance connue, une inconnue, une corrigée, une retirée
-- @given bronze.commute_distances
SELECT * FROM (VALUES
    ('{"employee_id":1,"moyen_deplacement":"Marche/running","distance_m":14999.5,"source":"google_maps","flag":null,"computed_at":"2026-01-01T08:00:00Z"}'),
    ('{"employee_id":2,"moyen_deplacement":"Marche/running","distance_m":null,"source":"estimate","flag":"no_postcode","computed_at":"2026-01-01T08:00:00Z"}'),
    ('{"employee_id":3,"moyen_deplacement":"Marche/running","distance_m":0,"source":"estimate","flag":null,"computed_at":null}')
) AS t (after);

-- @expected
SELECT * FROM (VALUES
    (1, 14999.5, 'google_maps', NULL, TIMESTAMP '2026-01-01 08:00:00'),
    (2, NULL, 'estimate', 'no_postcode', TIMESTAMP '2026-01-01 08:00:00'),
    (3, 0.0, 'estimate', NULL, NULL)
) AS t (employee_id, distance_m, source, flag, computed_at);

-- @change bronze.commute_distances
SELECT * FROM (VALUES
    ('u', NULL, '{"employee_id":2,"distance_m":20000.25,"source":"google_maps"}'),
    ('d', '{"employee_id":3}', NULL)
) AS t (op, before, after);

-- @expected
SELECT * FROM (VALUES
    (1, 14999.5, 'google_maps'),
    (2, 20000.25, 'google_maps')
) AS t (employee_id, distance_m, source);

-- @case Une distance négative
-- @given bronze.commute_distances
SELECT * FROM (VALUES
    ('{"employee_id":1,"distance_m":-1}'),
    ('{"employee_id":2,"distance_m":0}')
) AS t (after);

-- @expected
SELECT 2 AS employee_id, 0.0 AS distance_m;

-- @expected quarantine
SELECT 1 AS employee_id, -1.0 AS distance_m, 'distance_plausible' AS rule;
