-- @case La distance à la limite exacte, juste au-delà, et inconnue
-- @given silver.employees
SELECT * FROM (VALUES
    (1, 'Finance', 30000.00, 'Marche/running'),
    (2, 'Finance', 30000.00, 'Marche/running'),
    (3, 'Ventes', 50000.00, 'Vélo/Trottinette/Autres'),
    (4, 'Ventes', 50000.00, 'Vélo/Trottinette/Autres'),
    (5, 'Ventes', 50000.00, 'Marche/running'),
    (6, 'Ventes', 50000.00, 'Vélo/Trottinette/Autres'),
    (7, 'Ventes', 50000.00, 'Transports en commun'),
    (8, 'Ventes', 50000.00, 'véhicule thermique/électrique')
) AS t (id, bu, salaire_brut, moyen_deplacement);

-- @given silver.commute_distances
SELECT * FROM (VALUES
    (1, 15000.0, 'google_maps'),
    (2, 15000.0001, 'google_maps'),
    (3, 25000.0, 'estimate'),
    (4, 25000.4, 'estimate'),
    (5, NULL, 'estimate'),
    (7, 40000.0, 'estimate')
) AS t (employee_id, distance_m, source);

-- @expected
SELECT * FROM (VALUES
    (1, 'Finance', TRUE, 1500.00, 15.0, 0, 0, TRUE, 'google_maps'),
    (2, 'Finance', FALSE, 0.00, 15.0000001, 0, 0, FALSE, 'google_maps'),
    (3, 'Ventes', TRUE, 2500.00, 25.0, 0, 0, TRUE, 'estimate'),
    (4, 'Ventes', FALSE, 0.00, 25.0004, 0, 0, FALSE, 'estimate'),
    (5, 'Ventes', FALSE, 0.00, NULL, 0, 0, NULL, 'estimate'),
    (6, 'Ventes', FALSE, 0.00, NULL, 0, 0, NULL, NULL),
    (7, 'Ventes', FALSE, 0.00, 40.0, 0, 0, TRUE, 'estimate'),
    (8, 'Ventes', FALSE, 0.00, NULL, 0, 0, TRUE, NULL)
) AS t (employee_id, bu, prime_sportive, montant_prime_euros, distance_km, nb_activites, jours_bien_etre, declaration_correcte, distance_source);

-- @case La distance devient connue, puis le salarié part
-- @given silver.employees
SELECT 1 AS id, 'R&D' AS bu, 40000 AS salaire_brut, 'Marche/running' AS moyen_deplacement;

-- @expected
SELECT 1 AS employee_id, FALSE AS prime_sportive, NULL AS declaration_correcte;

-- @change silver.commute_distances
SELECT 1 AS employee_id, 800.0 AS distance_m;

-- @expected
SELECT 1 AS employee_id, TRUE AS prime_sportive, TRUE AS declaration_correcte;

-- @change silver.employees delete
SELECT 1 AS id;

-- @expected no rows

-- @case Les primes s'arrondissent au centime, la moitié vers le haut
-- @given silver.employees
SELECT id, 'R&D' AS bu, salaire_brut, 'Marche/running' AS moyen_deplacement
FROM (VALUES
    (1, 30000.10), -- 1500.005
    (2, 30000.09), -- 1500.0045
    (3, 30000.30), -- 1500.015
    (4, 0.10),     -- 0.005
    (5, 0.09),     -- 0.0045
    (6, 9999999999.90)
) AS t (id, salaire_brut);

-- @given silver.commute_distances
SELECT n AS employee_id, 0.0 AS distance_m FROM generate_series(1, 6) AS t (n);

-- @expected
SELECT * FROM (VALUES
    (1, 1500.01),
    (2, 1500.00),
    (3, 1500.02),
    (4, 0.01),
    (5, 0.00),
    (6, 500000000.00)
) AS t (employee_id, montant_prime_euros);

-- @case Quinze activités aux bords de la fenêtre, qui avance
-- @now 2026-03-01T12:00:00Z
-- @given silver.employees
SELECT n AS id, 'R&D' AS bu, 40000 AS salaire_brut, 'Transports en commun' AS moyen_deplacement
FROM generate_series(1, 4) AS t (n);

-- Quatorze bien à l'intérieur pour chacun, et une au bord.
-- @given silver.sport_activities
SELECT e * 100 + n AS id, e AS employee_id, TIMESTAMP '2026-02-01 10:00:00' AS date_debut
FROM generate_series(1, 4) AS t (e)
CROSS JOIN generate_series(1, 14) AS u (n);

-- @given silver.sport_activities
SELECT * FROM (VALUES
    (1, 1, TIMESTAMP '2025-03-01 12:00:00'),        -- il y a 365 jours exactement
    (2, 2, TIMESTAMP '2025-03-01 11:59:59.999999'), -- une microseconde trop tôt
    (3, 3, TIMESTAMP '2026-03-01 12:00:00'),        -- à l'instant
    (4, 4, TIMESTAMP '2026-03-01 12:00:00.000001')  -- une microseconde trop tard
) AS t (id, employee_id, date_debut);

-- @expected
SELECT * FROM (VALUES
    (1, 15, 5),
    (2, 14, 0),
    (3, 15, 5),
    (4, 14, 0)
) AS t (employee_id, nb_activites, jours_bien_etre);

-- Une seconde plus tard, la première sort de la fenêtre et la dernière y entre.
-- @now +1s
-- @expected
SELECT * FROM (VALUES
    (1, 14, 0),
    (2, 14, 0),
    (3, 15, 5),
    (4, 15, 5)
) AS t (employee_id, nb_activites, jours_bien_etre);

-- @change silver.sport_activities delete
SELECT 3 AS id;

-- @change silver.sport_activities
SELECT 101 AS id, 2 AS employee_id, TIMESTAMP '2026-02-01 10:00:00' AS date_debut;

-- @expected
SELECT * FROM (VALUES
    (1, 13, 0),
    (2, 15, 5),
    (3, 14, 0),
    (4, 15, 5)
) AS t (employee_id, nb_activites, jours_bien_etre);

-- @case Chaque seuil vient de parameters
-- @now 2026-03-01T12:00:00Z
-- @given parameters
SELECT 0.10 AS taux_prime, 100 AS limite_marche_m, 200 AS limite_velo_m, 2 AS seuil_activites, 10 AS fenetre_jours, 7 AS jours_bien_etre;

-- @given silver.employees
SELECT * FROM (VALUES
    (1, 10.00, 'Marche/running'),
    (2, 10.00, 'Marche/running'),
    (3, 10.00, 'Vélo/Trottinette/Autres'),
    (4, 10.00, 'Vélo/Trottinette/Autres')
) AS t (id, salaire_brut, moyen_deplacement);

-- @given silver.commute_distances
SELECT * FROM (VALUES (1, 100.0), (2, 101.0), (3, 200.0), (4, 201.0)) AS t (employee_id, distance_m);

-- @given silver.sport_activities
SELECT * FROM (VALUES
    (1, 1, TIMESTAMP '2026-02-28 12:00:00'),
    (2, 1, TIMESTAMP '2026-02-19 12:00:00'),
    (3, 2, TIMESTAMP '2026-02-28 12:00:00'),
    (4, 2, TIMESTAMP '2026-02-19 11:59:59')
) AS t (id, employee_id, date_debut);

-- @expected
SELECT * FROM (VALUES
    (1, TRUE, 1.00, 2, 7),
    (2, FALSE, 0.00, 1, 0),
    (3, TRUE, 1.00, 0, 0),
    (4, FALSE, 0.00, 0, 0)
) AS t (employee_id, prime_sportive, montant_prime_euros, nb_activites, jours_bien_etre);

-- @given parameters
SELECT 0.20 AS taux_prime, 101 AS limite_marche_m, 0 AS limite_velo_m, 1 AS seuil_activites, 11 AS fenetre_jours, 3 AS jours_bien_etre;

-- @expected
SELECT * FROM (VALUES
    (1, TRUE, 2.00, 2, 3),
    (2, TRUE, 2.00, 2, 3),
    (3, FALSE, 0.00, 0, 0),
    (4, FALSE, 0.00, 0, 0)
) AS t (employee_id, prime_sportive, montant_prime_euros, nb_activites, jours_bien_etre);

-- @case Un montant négatif se voit
-- @given silver.employees
SELECT 1 AS id, 'R&D' AS bu, -40000 AS salaire_brut, 'Marche/running' AS moyen_deplacement;

-- @given silver.commute_distances
SELECT 1 AS employee_id, 800.0 AS distance_m;

-- @expected warned montant_positif 1

-- @case De bout en bout, depuis les événements
-- @now 2026-03-01T12:00:00Z
-- @given bronze.employees
SELECT '{"id":7,"nom":"Durand","bu":"R&D","salaire_brut":"30000.10","moyen_deplacement":"Marche/running"}' AS after;

-- @given bronze.commute_distances
SELECT '{"employee_id":7,"moyen_deplacement":"Marche/running","distance_m":15000,"source":"google_maps"}' AS after;

-- @given bronze.sport_activities
SELECT concat('{"id":', n, ',"employee_id":7,"type_activite":"Natation","duree_s":60,"date_debut":', 1769940000000000 + n, '}') AS after
FROM generate_series(1, 15) AS t (n);

-- @expected
SELECT 7 AS employee_id, TRUE AS prime_sportive, 1500.01 AS montant_prime_euros, 15 AS nb_activites, 5 AS jours_bien_etre;
