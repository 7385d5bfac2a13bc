-- La distance du domicile au bureau de chaque salarié, en mètres ; NULL tant qu'elle est inconnue.
-- @key    employee_id
-- @cdc    sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect distance_plausible: distance_m IS NULL OR distance_m BETWEEN 0 AND 1000000000 ON VIOLATION QUARANTINE
SELECT
    CAST(after ->> 'employee_id' AS BIGINT)         AS employee_id,
    after ->> 'moyen_deplacement'                   AS moyen_deplacement,
    CAST(after ->> 'distance_m' AS DOUBLE)          AS distance_m,
    after ->> 'source'                              AS source,
    after ->> 'flag'                                AS flag,
    CAST(after ->> 'computed_at' AS TIMESTAMPTZ)    AS computed_at
FROM bronze.commute_distances
