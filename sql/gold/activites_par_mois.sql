-- L'activité sportive par mois et par type. `mois` est le premier jour du mois, à l'heure de la source ;
-- toutes les activités comptent, quel que soit leur âge.
-- @key     mois, type_activite
-- @trigger on change, at most every 1s
-- @expect  un_par_type: unique(mois, type_activite)               ON VIOLATION FAIL
WITH activites AS (
    SELECT
        CAST(date_trunc('month', local_date(date_debut)) AS DATE) AS mois,
        type_activite,
        CAST(distance_m AS DECIMAL(15, 3))                        AS distance_m, -- exact : l'ordre ne change pas la somme
        duree_s
    FROM silver.sport_activities
)
SELECT
    mois,
    type_activite,
    count(*)                                                AS nb_activites,
    CAST(coalesce(sum(distance_m), 0) AS DOUBLE) / 1000     AS distance_km,
    CAST(coalesce(sum(duree_s), 0) AS DOUBLE) / 3600        AS duree_h
FROM activites
GROUP BY mois, type_activite
