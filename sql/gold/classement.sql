-- Le classement des salariés actifs sur la fenêtre du programme : par nombre d'activités, puis par distance, puis par
-- identifiant. Un salarié sans activité n'y figure pas.
-- @key     employee_id
-- @trigger on change, at most every 1s
-- @expect  un_par_salarie: unique(employee_id)                    ON VIOLATION FAIL
-- @expect  un_par_rang: unique(rang)                              ON VIOLATION FAIL
WITH scores AS (
    SELECT
        a.employee_id,
        count(*)                                              AS nb_activites,
        coalesce(sum(CAST(a.distance_m AS DECIMAL(15, 3))), 0) AS distance_m
    FROM silver.sport_activities a
    CROSS JOIN parameters p
    WHERE a.date_debut >= now() - CAST(concat(p.fenetre_jours, ' days') AS INTERVAL)
      AND a.date_debut <= now()
    GROUP BY a.employee_id
)
SELECT
    row_number() OVER (ORDER BY s.nb_activites DESC, s.distance_m DESC, e.id) AS rang,
    e.id                                AS employee_id,
    e.bu,
    s.nb_activites,
    CAST(s.distance_m AS DOUBLE) / 1000 AS distance_km
FROM scores s
JOIN silver.employees e ON e.id = s.employee_id
