-- @case L'heure de la source devient l'heure UTC, aux deux changements d'heure et au Nouvel An
-- @given bronze.sport_activities
SELECT concat('{"id":', id, ',"employee_id":1,"type_activite":"Marche","duree_s":60,"date_debut":', micros, '}') AS after
FROM (VALUES
    (1, 1767227400000000), -- 1er janvier, 0 h 30
    (2, 1782907200000000), -- en été
    (3, 1774749599000000), -- juste avant l'heure sautée
    (4, 1774751400000000), -- dans l'heure sautée
    (5, 1774753200000000), -- juste après
    (6, 1792895400000000), -- dans l'heure qui vient deux fois : la première
    (7, 1792897200000000)  -- juste après
) AS t (id, micros);

-- @expected
SELECT * FROM (VALUES
    (1, TIMESTAMP '2025-12-31 23:30:00'),
    (2, TIMESTAMP '2026-07-01 10:00:00'),
    (3, TIMESTAMP '2026-03-29 00:59:59'),
    (4, TIMESTAMP '2026-03-29 01:30:00'),
    (5, TIMESTAMP '2026-03-29 01:00:00'),
    (6, TIMESTAMP '2026-10-25 00:30:00'),
    (7, TIMESTAMP '2026-10-25 02:00:00')
) AS t (id, date_debut);

-- @case BACKFILL_COMPLETE n'est pas une activité
-- @given bronze.sport_activities
SELECT * FROM (VALUES
    ('{"id":1,"employee_id":7,"date_debut":0,"type_activite":"Natation","distance_m":1500,"duree_s":2400,"commentaire":null}'),
    ('{"id":2,"employee_id":0,"date_debut":0,"type_activite":"BACKFILL_COMPLETE","distance_m":null,"duree_s":0,"commentaire":null}'),
    ('{"id":3,"employee_id":7,"date_debut":0,"type_activite":null,"distance_m":null,"duree_s":60,"commentaire":"dehors"}')
) AS t (after);

-- @expected
SELECT * FROM (VALUES
    (1, 7, 'Natation', 1500.0, 2400, NULL),
    (3, 7, NULL, NULL, 60, 'dehors')
) AS t (id, employee_id, type_activite, distance_m, duree_s, commentaire);

-- @case Corrigée, supprimée, et une correction arrivée trop tard
-- @given bronze.sport_activities
SELECT * FROM (VALUES
    (10, '{"id":1,"employee_id":7,"date_debut":0,"type_activite":"Natation","distance_m":1500,"duree_s":2400}'),
    (11, '{"id":2,"employee_id":7,"date_debut":0,"type_activite":"Natation","distance_m":1500,"duree_s":2400}')
) AS t (lsn, after);

-- @change bronze.sport_activities
SELECT * FROM (VALUES
    (30, 'u', NULL, '{"id":1,"employee_id":8,"date_debut":0,"type_activite":"Natation","distance_m":1600,"duree_s":2400}'),
    (31, 'd', '{"id":2}', NULL)
) AS t (lsn, op, before, after);

-- @expected
SELECT * FROM (VALUES (1, 8, 1600.0)) AS t (id, employee_id, distance_m);

-- @change bronze.sport_activities
SELECT * FROM (VALUES
    (20, '{"id":1,"employee_id":9,"date_debut":0,"type_activite":"Natation","distance_m":1,"duree_s":1}'),
    (21, '{"id":2,"employee_id":9,"date_debut":0,"type_activite":"Natation","distance_m":1,"duree_s":1}')
) AS t (lsn, after);

-- @expected
SELECT * FROM (VALUES (1, 8, 1600.0)) AS t (id, employee_id, distance_m);

-- @case Une distance négative, une durée nulle, une date impossible
-- @given bronze.sport_activities
SELECT concat('{"id":', id, ',"employee_id":7,"type_activite":"Natation","date_debut":', micros, ',"distance_m":', distance, ',"duree_s":', duree, '}') AS after
FROM (VALUES
    (1, '0', '-0.5', '2400'),
    (2, '0', '0', '0'),
    (3, '0', 'null', '1'),
    (4, 'null', '100', '60'),
    (5, '9000000000000000000', '100', '60'),
    (6, '0', '1e300', '60')
) AS t (id, micros, distance, duree);

-- @expected
SELECT 3 AS id, NULL AS distance_m, 1 AS duree_s;

-- @expected quarantine
SELECT * FROM (VALUES
    (1, 'distance_plausible'),
    (2, 'duree_plausible'),
    (4, 'date_plausible'),
    (5, 'date_plausible'),
    (6, 'distance_plausible')
) AS t (id, rule);
