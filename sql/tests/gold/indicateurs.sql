-- @case Sans salarié, tout est à zéro
-- @expected
SELECT * FROM (VALUES
    (0, 0, 0.00, 0, 0, 0, 0.0)
) AS t (nb_salaries, nb_primes, montant_primes_euros, nb_bien_etre, jours_bien_etre, nb_activites, distance_km);

-- @case Les sommes des autres tables, sur la fenêtre
-- @now 2026-03-01T12:00:00Z
-- @given gold.eligibilites
SELECT * FROM (VALUES
    (1, TRUE, 1500.01, 15, 5),
    (2, TRUE, 0.01, 0, 0),
    (3, FALSE, 0.00, 3, 0)
) AS t (employee_id, prime_sportive, montant_prime_euros, nb_activites, jours_bien_etre);

-- @given silver.employees
SELECT n AS id FROM generate_series(1, 3) AS t (n);

-- @given silver.sport_activities
SELECT * FROM (VALUES
    (1, 1, TIMESTAMP '2026-02-01 12:00:00', 1000.5),
    (2, 3, TIMESTAMP '2025-03-01 12:00:00', 500.0),
    (3, 3, TIMESTAMP '2025-03-01 11:59:59', 7000.0),
    (4, 3, TIMESTAMP '2026-03-01 12:00:01', 7000.0),
    (5, 3, TIMESTAMP '2026-02-01 12:00:00', NULL),
    (6, 99, TIMESTAMP '2026-02-01 12:00:00', 7000.0) -- pas un salarié
) AS t (id, employee_id, date_debut, distance_m);

-- @expected
SELECT * FROM (VALUES
    (3, 2, 1500.02, 1, 5, 18, 1.5005)
) AS t (nb_salaries, nb_primes, montant_primes_euros, nb_bien_etre, jours_bien_etre, nb_activites, distance_km);
