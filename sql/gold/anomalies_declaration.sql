-- Les déclarations à vérifier, un salarié par ligne : ceux qui déclarent venir par le sport et dont le domicile est trop
-- loin du bureau, ou à une distance inconnue. Les autres modes de déplacement ne se vérifient pas.
-- @key     employee_id
-- @trigger on change, at most every 1s
-- @expect  un_par_salarie: unique(employee_id)                    ON VIOLATION FAIL
-- @expect  au_dela_de_la_limite: distance_km IS NULL OR distance_km >= limite_km ON VIOLATION FAIL
WITH trajets AS (
    SELECT
        e.id AS employee_id,
        e.bu,
        e.moyen_deplacement,
        d.distance_m,
        CASE e.moyen_deplacement
            WHEN 'Marche/running' THEN p.limite_marche_m
            WHEN 'Vélo/Trottinette/Autres' THEN p.limite_velo_m
        END AS limite_m -- NULL : le mode n'est pas sportif
    FROM silver.employees e
    CROSS JOIN parameters p
    LEFT JOIN silver.commute_distances d ON d.employee_id = e.id
)
SELECT
    employee_id,
    bu,
    moyen_deplacement,
    distance_m / 1000                   AS distance_km,
    CAST(limite_m AS DOUBLE) / 1000     AS limite_km,
    CASE
        WHEN distance_m IS NULL THEN 'Distance domicile-bureau inconnue'
        ELSE 'Domicile trop éloigné pour ce mode de déplacement'
    END                                 AS motif
FROM trajets
WHERE limite_m IS NOT NULL
  AND (distance_m <= limite_m) IS NOT TRUE
