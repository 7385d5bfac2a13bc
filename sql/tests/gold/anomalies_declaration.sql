-- @case Trop loin, inconnue, à la limite ; les autres modes ne se vérifient pas
-- @given silver.employees
SELECT * FROM (VALUES
    (1, 'Finance', 'Marche/running'),
    (2, 'Finance', 'Marche/running'),
    (3, 'Ventes', 'Vélo/Trottinette/Autres'),
    (4, 'Ventes', 'Vélo/Trottinette/Autres'),
    (5, 'Ventes', 'Marche/running'),
    (6, 'Ventes', 'Vélo/Trottinette/Autres'),
    (7, 'Ventes', 'Transports en commun'),
    (8, 'Ventes', 'véhicule thermique/électrique')
) AS t (id, bu, moyen_deplacement);

-- @given silver.commute_distances
SELECT * FROM (VALUES
    (1, 15000.0),
    (2, 15000.0001),
    (3, 25000.0),
    (4, 31000.0),
    (5, NULL),
    (7, 40000.0)
) AS t (employee_id, distance_m);

-- @expected
SELECT * FROM (VALUES
    (2, 'Finance', 'Marche/running', 15.0000001, 15.0, 'Domicile trop éloigné pour ce mode de déplacement'),
    (4, 'Ventes', 'Vélo/Trottinette/Autres', 31.0, 25.0, 'Domicile trop éloigné pour ce mode de déplacement'),
    (5, 'Ventes', 'Marche/running', NULL, 15.0, 'Distance domicile-bureau inconnue'),
    (6, 'Ventes', 'Vélo/Trottinette/Autres', NULL, 25.0, 'Distance domicile-bureau inconnue')
) AS t (employee_id, bu, moyen_deplacement, distance_km, limite_km, motif);

-- @change silver.commute_distances
SELECT * FROM (VALUES (5, 14000.0), (6, 25000.5)) AS t (employee_id, distance_m);

-- @change silver.employees
SELECT 4 AS id, 'Ventes' AS bu, 'Transports en commun' AS moyen_deplacement;

-- @expected
SELECT * FROM (VALUES
    (2, 'Domicile trop éloigné pour ce mode de déplacement'),
    (6, 'Domicile trop éloigné pour ce mode de déplacement')
) AS t (employee_id, motif);

-- @case Les limites viennent de parameters
-- @given parameters
SELECT 0.05 AS taux_prime, 100 AS limite_marche_m, 200 AS limite_velo_m, 15 AS seuil_activites, 365 AS fenetre_jours, 5 AS jours_bien_etre;

-- @given silver.employees
SELECT * FROM (VALUES
    (1, 'R&D', 'Marche/running'),
    (2, 'R&D', 'Vélo/Trottinette/Autres')
) AS t (id, bu, moyen_deplacement);

-- @given silver.commute_distances
SELECT * FROM (VALUES (1, 150.0), (2, 150.0)) AS t (employee_id, distance_m);

-- @expected
SELECT 1 AS employee_id, 0.15 AS distance_km, 0.1 AS limite_km;
