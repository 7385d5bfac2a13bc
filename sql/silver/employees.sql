-- Les salariés, un par ligne.
-- @key    id
-- @cdc    sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect mode_connu:     moyen_deplacement IN ('Marche/running', 'Vélo/Trottinette/Autres', 'Transports en commun', 'véhicule thermique/électrique') ON VIOLATION QUARANTINE
-- @expect bu_connue:      bu IS NOT NULL       ON VIOLATION QUARANTINE
-- @expect salaire_positif: salaire_brut > 0    ON VIOLATION QUARANTINE
SELECT
    CAST(after ->> 'id' AS BIGINT)                          AS id,
    after ->> 'nom'                                         AS nom,
    after ->> 'prenom'                                      AS prenom,
    CAST(CAST(after ->> 'date_naissance' AS INT) AS DATE)   AS date_naissance,
    after ->> 'bu'                                          AS bu,
    CAST(CAST(after ->> 'date_embauche' AS INT) AS DATE)    AS date_embauche,
    CAST(after ->> 'salaire_brut' AS DECIMAL(12, 2))        AS salaire_brut,
    after ->> 'type_contrat'                                AS type_contrat,
    CAST(after ->> 'jours_cp' AS INT)                       AS jours_cp,
    after ->> 'adresse'                                     AS adresse,
    after ->> 'moyen_deplacement'                           AS moyen_deplacement
FROM bronze.employees
