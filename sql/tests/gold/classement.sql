-- @case Par nombre d'activités, puis par distance, puis par identifiant
-- @now 2026-03-01T12:00:00Z
-- @given silver.employees
SELECT n AS id, concat('BU ', n) AS bu FROM generate_series(1, 6) AS t (n);

-- @given silver.sport_activities
SELECT id, employee_id, TIMESTAMP '2026-02-01 10:00:00' AS date_debut, distance_m
FROM (VALUES
    (11, 1, 5000.0), (12, 1, 5000.0),
    (21, 2, 9000.5), (22, 2, 1000.0),
    (31, 3, 1.0), (32, 3, NULL), (33, 3, NULL),
    (41, 4, 4000.0), (42, 4, 6000.0),
    (51, 5, NULL),
    (991, 99, 1.0) -- pas un salarié
) AS t (id, employee_id, distance_m);

-- @expected
SELECT * FROM (VALUES
    (1, 3, 'BU 3', 3, 0.001),
    (2, 2, 'BU 2', 2, 10.0005),
    (3, 1, 'BU 1', 2, 10.0),
    (4, 4, 'BU 4', 2, 10.0),
    (5, 5, 'BU 5', 1, 0.0)
) AS t (rang, employee_id, bu, nb_activites, distance_km);

-- @change silver.sport_activities delete
SELECT * FROM (VALUES (31), (32)) AS t (id);

-- @change silver.sport_activities
SELECT 51 AS id, 5 AS employee_id, TIMESTAMP '2026-02-01 10:00:00' AS date_debut, 2.0 AS distance_m;

-- @expected
SELECT * FROM (VALUES
    (1, 2),
    (2, 1),
    (3, 4),
    (4, 5),
    (5, 3)
) AS t (rang, employee_id);

-- @case Sur la fenêtre du programme
-- @now 2026-03-01T12:00:00Z
-- @given silver.employees
SELECT n AS id, 'R&D' AS bu FROM generate_series(1, 2) AS t (n);

-- @given silver.sport_activities
SELECT * FROM (VALUES
    (1, 1, TIMESTAMP '2025-03-01 12:00:00'),
    (2, 1, TIMESTAMP '2025-03-01 11:59:59'),
    (3, 2, TIMESTAMP '2026-03-01 12:00:01')
) AS t (id, employee_id, date_debut);

-- @expected
SELECT 1 AS rang, 1 AS employee_id, 1 AS nb_activites;

-- @now +1s
-- @expected
SELECT 1 AS rang, 2 AS employee_id, 1 AS nb_activites;
