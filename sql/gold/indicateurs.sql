-- Les chiffres clés du programme, sur une seule ligne. Les activités sont celles de la fenêtre.
-- @trigger on change, at most every 1s
-- @expect  une_ligne: count(*) = 1                                ON VIOLATION FAIL
WITH activites AS (
    SELECT CAST(coalesce(sum(CAST(a.distance_m AS DECIMAL(15, 3))), 0) AS DOUBLE) / 1000 AS distance_km
    FROM silver.sport_activities a
    JOIN silver.employees e ON e.id = a.employee_id
    CROSS JOIN parameters p
    WHERE a.date_debut >= now() - CAST(concat(p.fenetre_jours, ' days') AS INTERVAL)
      AND a.date_debut <= now()
),
salaries AS (
    SELECT
        count(*)                                    AS nb_salaries,
        count(*) FILTER (WHERE prime_sportive)      AS nb_primes,
        sum(montant_prime_euros)                    AS montant_primes_euros,
        count(*) FILTER (WHERE jours_bien_etre > 0) AS nb_bien_etre,
        sum(jours_bien_etre)                        AS jours_bien_etre,
        sum(nb_activites)                           AS nb_activites
    FROM gold.eligibilites
)
SELECT
    s.nb_salaries,
    s.nb_primes,
    CAST(coalesce(s.montant_primes_euros, 0) AS DECIMAL(14, 2)) AS montant_primes_euros,
    s.nb_bien_etre,
    coalesce(s.jours_bien_etre, 0)                              AS jours_bien_etre,
    coalesce(s.nb_activites, 0)                                 AS nb_activites,
    a.distance_km
FROM salaries s
CROSS JOIN activites a
