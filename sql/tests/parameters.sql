-- Les seuils du programme, tels que le règlement les fixe.
-- @expected
SELECT * FROM (VALUES
    (0.05, 15000, 25000, 15, 365, 5)
) AS t (taux_prime, limite_marche_m, limite_velo_m, seuil_activites, fenetre_jours, jours_bien_etre);
