-- Les activités sportives, une par ligne, à l'heure UTC.
-- La ligne BACKFILL_COMPLETE marque la fin du premier chargement : ce n'est pas une activité.
-- @key    id
-- @cdc    sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect date_plausible:     date_part('year', date_debut) BETWEEN 1900 AND 2200        ON VIOLATION QUARANTINE
-- @expect distance_plausible: distance_m IS NULL OR distance_m BETWEEN 0 AND 1000000000 ON VIOLATION QUARANTINE
-- @expect duree_plausible:    duree_s > 0                                               ON VIOLATION QUARANTINE
SELECT
    CAST(after ->> 'id' AS BIGINT)                              AS id,
    CAST(after ->> 'employee_id' AS BIGINT)                     AS employee_id,
    local_timestamp(CAST(after ->> 'date_debut' AS BIGINT))     AS date_debut,
    after ->> 'type_activite'                                   AS type_activite,
    CAST(after ->> 'distance_m' AS DOUBLE)                      AS distance_m,
    CAST(after ->> 'duree_s' AS INT)                            AS duree_s,
    after ->> 'commentaire'                                     AS commentaire
FROM bronze.sport_activities
WHERE (after ->> 'type_activite') IS DISTINCT FROM 'BACKFILL_COMPLETE'
