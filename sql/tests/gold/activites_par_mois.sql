-- @case Le mois est celui de Paris : au Nouvel An et aux deux changements d'heure
-- @given silver.sport_activities
SELECT id, 'Marche' AS type_activite, date_debut, 1000.0 AS distance_m, 1800 AS duree_s
FROM (VALUES
    (1, TIMESTAMP '2025-12-31 22:59:59.999999'), -- 31 décembre, à minuit moins une microseconde
    (2, TIMESTAMP '2025-12-31 23:00:00'),        -- 1er janvier, à minuit
    (3, TIMESTAMP '2026-03-29 01:30:00'),        -- le jour où l'heure avance
    (4, TIMESTAMP '2026-03-31 21:59:59'),        -- 31 mars, 23 h 59 : l'heure d'été
    (5, TIMESTAMP '2026-03-31 22:00:00'),        -- 1er avril, à minuit
    (6, TIMESTAMP '2026-10-25 00:30:00'),        -- l'heure qui vient deux fois, la première
    (7, TIMESTAMP '2026-10-25 01:30:00'),        -- et la seconde
    (8, TIMESTAMP '2026-10-31 22:59:59'),        -- 31 octobre, 23 h 59 : l'heure d'hiver
    (9, TIMESTAMP '2026-10-31 23:00:00')         -- 1er novembre, à minuit
) AS t (id, date_debut);

-- @expected
SELECT * FROM (VALUES
    ('2025-12-01', 'Marche', 1, 1.0, 0.5),
    ('2026-01-01', 'Marche', 1, 1.0, 0.5),
    ('2026-03-01', 'Marche', 2, 2.0, 1.0),
    ('2026-04-01', 'Marche', 1, 1.0, 0.5),
    ('2026-10-01', 'Marche', 3, 3.0, 1.5),
    ('2026-11-01', 'Marche', 1, 1.0, 0.5)
) AS t (mois, type_activite, nb_activites, distance_km, duree_h);

-- @case Par type ; une distance inconnue ne compte pas de kilomètres
-- @given silver.sport_activities
SELECT id, type_activite, TIMESTAMP '2026-02-10 12:00:00' AS date_debut, distance_m, duree_s
FROM (VALUES
    (1, 'Natation', 1500.25, 1800),
    (2, 'Natation', NULL, 3600),
    (3, 'Escalade', NULL, 5400),
    (4, 'Course à pied', 0.1, 1),
    (5, 'Course à pied', 0.2, 1)
) AS t (id, type_activite, distance_m, duree_s);

-- @expected
SELECT * FROM (VALUES
    ('2026-02-01', 'Natation', 2, 1.50025, 1.5),
    ('2026-02-01', 'Escalade', 1, 0.0, 1.5),
    ('2026-02-01', 'Course à pied', 2, 0.0003, 0.000555555555555)
) AS t (mois, type_activite, nb_activites, distance_km, duree_h);

-- @change silver.sport_activities delete
SELECT 3 AS id;

-- @change silver.sport_activities
SELECT 2 AS id, 'Natation' AS type_activite, TIMESTAMP '2026-03-10 12:00:00' AS date_debut, NULL AS distance_m, 3600 AS duree_s;

-- @expected
SELECT * FROM (VALUES
    ('2026-02-01', 'Natation', 1),
    ('2026-03-01', 'Natation', 1),
    ('2026-02-01', 'Course à pied', 2)
) AS t (mois, type_activite, nb_activites);

-- @case L'âge d'une activité n'y change rien
-- @now 2026-03-01T12:00:00Z
-- @given silver.sport_activities
SELECT 1 AS id, 'Marche' AS type_activite, TIMESTAMP '2019-06-15 12:00:00' AS date_debut;

-- @expected
SELECT '2019-06-01' AS mois, 'Marche' AS type_activite, 1 AS nb_activites;
