-- Le sport que chaque salarié déclare pratiquer ; NULL pour aucun.
-- @key    employee_id
-- @cdc    sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT
    CAST(after ->> 'employee_id' AS BIGINT) AS employee_id,
    CASE trim(after ->> 'sport')
        WHEN '' THEN NULL
        WHEN 'Runing' THEN 'Running'
        ELSE trim(after ->> 'sport')
    END                                     AS sport
FROM bronze.declared_sports
