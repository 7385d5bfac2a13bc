-- Prime sportive et jours bien-être, un salarié par ligne.
-- @key     employee_id
-- @trigger on change, at most every 1s
-- @fresh   60s                                                  ON VIOLATION WARN
-- @expect  un_par_salarie: unique(employee_id)                    ON VIOLATION FAIL
-- @expect  montant_positif: montant_prime_euros >= 0              ON VIOLATION WARN
WITH activites AS (
    SELECT a.employee_id, count(*) AS nb_activites
    FROM silver.sport_activities a
    CROSS JOIN parameters p
    WHERE a.date_debut >= now() - CAST(concat(p.fenetre_jours, ' days') AS INTERVAL)
      AND a.date_debut <= now()
    GROUP BY a.employee_id
),
trajets AS (
    SELECT
        e.id AS employee_id,
        d.distance_m,
        d.source AS distance_source,
        CASE e.moyen_deplacement
            WHEN 'Marche/running' THEN p.limite_marche_m
            WHEN 'Vélo/Trottinette/Autres' THEN p.limite_velo_m
        END AS limite_m -- NULL : le mode n'est pas sportif
    FROM silver.employees e
    CROSS JOIN parameters p
    LEFT JOIN silver.commute_distances d ON d.employee_id = e.id
)
SELECT
    e.id                                                        AS employee_id,
    e.bu,
    coalesce(t.distance_m <= t.limite_m, FALSE)                 AS prime_sportive,
    CASE
        WHEN t.distance_m <= t.limite_m
            THEN CAST(round(e.salaire_brut * p.taux_prime, 2) AS DECIMAL(12, 2))
        ELSE CAST(0 AS DECIMAL(12, 2))
    END                                                         AS montant_prime_euros,
    t.distance_m / 1000                                         AS distance_km,
    coalesce(a.nb_activites, 0)                                 AS nb_activites,
    CASE
        WHEN a.nb_activites >= p.seuil_activites THEN p.jours_bien_etre
        ELSE 0
    END                                                         AS jours_bien_etre,
    CASE
        WHEN t.limite_m IS NULL THEN TRUE
        ELSE t.distance_m <= t.limite_m -- NULL : distance inconnue
    END                                                         AS declaration_correcte,
    t.distance_source
FROM silver.employees e
CROSS JOIN parameters p
JOIN trajets t ON t.employee_id = e.id
LEFT JOIN activites a ON a.employee_id = e.id
