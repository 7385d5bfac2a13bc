-- Les seuils du programme, sur une seule ligne.
-- @expect une_ligne: count(*) = 1                         ON VIOLATION FAIL
-- @expect taux_plausible: taux_prime BETWEEN 0 AND 1      ON VIOLATION FAIL
SELECT
    CAST(0.05 AS DECIMAL(5, 4)) AS taux_prime,      -- prime, part du salaire brut annuel
    15000                       AS limite_marche_m, -- distance maximale à pied, en mètres
    25000                       AS limite_velo_m,   -- distance maximale à vélo, en mètres
    15                          AS seuil_activites, -- activités qui donnent les jours bien-être
    365                         AS fenetre_jours,   -- durée sur laquelle on les compte
    5                           AS jours_bien_etre  -- jours accordés
