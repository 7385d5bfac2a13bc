-- @case Les totaux sont la somme des montants arrondis
-- @given gold.eligibilites
SELECT * FROM (VALUES
    (1, 'Finance', TRUE, 1500.01, 5),
    (2, 'Finance', TRUE, 1500.01, 0),
    (3, 'Finance', FALSE, 0.00, 5),
    (4, 'Ventes', FALSE, 0.00, 0)
) AS t (employee_id, bu, prime_sportive, montant_prime_euros, jours_bien_etre);

-- @expected
SELECT * FROM (VALUES
    ('Finance', 3, 2, 3000.02, 10),
    ('Ventes', 1, 0, 0.00, 0)
) AS t (bu, nb_salaries, nb_primes, montant_primes_euros, jours_bien_etre);

-- @change gold.eligibilites
SELECT 4 AS employee_id, 'Finance' AS bu, TRUE AS prime_sportive, 0.98 AS montant_prime_euros, 0 AS jours_bien_etre;

-- @expected
SELECT * FROM (VALUES
    ('Finance', 4, 3, 3001.00, 10)
) AS t (bu, nb_salaries, nb_primes, montant_primes_euros, jours_bien_etre);

-- @case Trois demi-centimes : chacun arrondi, puis la somme
-- @given silver.employees
SELECT n AS id, 'R&D' AS bu, 0.10 AS salaire_brut, 'Marche/running' AS moyen_deplacement
FROM generate_series(1, 3) AS t (n);

-- @given silver.commute_distances
SELECT n AS employee_id, 1.0 AS distance_m FROM generate_series(1, 3) AS t (n);

-- @expected
SELECT 'R&D' AS bu, 3 AS nb_primes, 0.03 AS montant_primes_euros;
