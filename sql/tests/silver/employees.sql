-- @case Un salarié, avec ses dates, son salaire et son mode de déplacement
-- @given bronze.employees
SELECT '{"id":1,"nom":"Durand","prenom":"Éva","date_naissance":7305,"bu":"R&D","date_embauche":18262,"salaire_brut":"30940.10","type_contrat":"CDI","jours_cp":25,"adresse":"1 rue de l''Aire, 34470 Pérols","moyen_deplacement":"Marche/running"}' AS after;

-- @expected
SELECT * FROM (VALUES
    (1, 'Durand', 'Éva', '1990-01-01', 'R&D', '2020-01-01', 30940.10, 'CDI', 25, '1 rue de l''Aire, 34470 Pérols', 'Marche/running')
) AS t (id, nom, prenom, date_naissance, bu, date_embauche, salaire_brut, type_contrat, jours_cp, adresse, moyen_deplacement);

-- @expected quarantine no rows

-- @case Le dernier état de chacun : modifié, supprimé, revenu
-- @given bronze.employees
SELECT * FROM (VALUES
    ('c', '{"id":1,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}'),
    ('c', '{"id":2,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}')
) AS t (op, after);

-- @expected
SELECT * FROM (VALUES (1, 30000), (2, 30000)) AS t (id, salaire_brut);

-- @change bronze.employees
SELECT * FROM (VALUES
    ('u', NULL, '{"id":1,"bu":"R&D","salaire_brut":"31000.55","moyen_deplacement":"Marche/running"}'),
    ('d', '{"id":2}', NULL)
) AS t (op, before, after);

-- @expected
SELECT * FROM (VALUES (1, 31000.55)) AS t (id, salaire_brut);

-- @change bronze.employees
SELECT 'c' AS op, '{"id":2,"bu":"Ventes","salaire_brut":"1.00","moyen_deplacement":"Marche/running"}' AS after;

-- @expected
SELECT * FROM (VALUES (1, 'R&D'), (2, 'Ventes')) AS t (id, bu);

-- @case Une nouvelle ancienne ne remplace pas une plus récente, ni un événement rejoué
-- @given bronze.employees
SELECT * FROM (VALUES
    (20, 'c', '{"id":1,"bu":"Ventes","salaire_brut":"20.00","moyen_deplacement":"Marche/running"}'),
    (10, 'u', '{"id":1,"bu":"R&D","salaire_brut":"10.00","moyen_deplacement":"Marche/running"}')
) AS t (lsn, op, after);

-- @expected
SELECT * FROM (VALUES (1, 'Ventes')) AS t (id, bu);

-- @change bronze.employees
SELECT 30 AS lsn, 'd' AS op, '{"id":1}' AS before;

-- @expected no rows

-- @change bronze.employees
SELECT * FROM (VALUES
    (20, 'c', '{"id":1,"bu":"Ventes","salaire_brut":"20.00","moyen_deplacement":"Marche/running"}'),
    (25, 'u', '{"id":1,"bu":"R&D","salaire_brut":"25.00","moyen_deplacement":"Marche/running"}')
) AS t (lsn, op, after);

-- @expected no rows

-- @case Une nouvelle génération de la source l'emporte, quel que soit son lsn
-- @given bronze.employees
SELECT 0 AS generation, 900 AS lsn, '{"id":1,"bu":"Avant","salaire_brut":"1.00","moyen_deplacement":"Marche/running"}' AS after;

-- @change bronze.employees
SELECT 1 AS generation, 5 AS lsn, '{"id":1,"bu":"Après","salaire_brut":"1.00","moyen_deplacement":"Marche/running"}' AS after;

-- @expected
SELECT * FROM (VALUES (1, 'Après')) AS t (id, bu);

-- @case Ce qui n'est pas un événement ne change rien
-- @given bronze.employees
SELECT '{"id":1,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}' AS after;

-- @change bronze.employees
SELECT * FROM (VALUES
    ('{"id":1}', NULL, NULL),
    ('{"id":1}', 'pas du JSON', 'not JSON')
) AS t (key, value, error);

-- @expected
SELECT * FROM (VALUES (1, 'R&D')) AS t (id, bu);

-- @case Un mode inconnu, une BU absente, un salaire nul
-- @given bronze.employees
SELECT * FROM (VALUES
    ('{"id":1,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Trottinette"}'),
    ('{"id":2,"bu":null,"salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}'),
    ('{"id":3,"bu":"R&D","salaire_brut":"0.00","moyen_deplacement":"Transports en commun"}'),
    ('{"id":4,"bu":"R&D","salaire_brut":"0.01","moyen_deplacement":"véhicule thermique/électrique"}'),
    ('{"id":5,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Vélo/Trottinette/Autres"}')
) AS t (after);

-- @expected
SELECT * FROM (VALUES
    (4, 0.01, 'véhicule thermique/électrique'),
    (5, 30000, 'Vélo/Trottinette/Autres')
) AS t (id, salaire_brut, moyen_deplacement);

-- @expected quarantine
SELECT * FROM (VALUES
    (1, 'mode_connu'),
    (2, 'bu_connue'),
    (3, 'salaire_positif')
) AS t (id, rule);

-- Un événement suivant guérit le premier, un autre écarte le quatrième, une suppression efface le deuxième.
-- @change bronze.employees
SELECT * FROM (VALUES
    ('u', NULL, '{"id":1,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}'),
    ('d', '{"id":2}', NULL),
    ('u', NULL, '{"id":4,"bu":"R&D","salaire_brut":"-1.00","moyen_deplacement":"véhicule thermique/électrique"}')
) AS t (op, before, after);

-- @expected
SELECT * FROM (VALUES (1, 'Marche/running'), (5, 'Vélo/Trottinette/Autres')) AS t (id, moyen_deplacement);

-- @expected quarantine
SELECT * FROM (VALUES
    (3, 'salaire_positif'),
    (4, 'salaire_positif')
) AS t (id, rule);

-- @case Un salaire illisible n'écarte que sa ligne
-- @given bronze.employees
SELECT * FROM (VALUES
    ('{"id":1,"bu":"R&D","salaire_brut":"trente mille","moyen_deplacement":"Marche/running"}'),
    ('{"id":2,"bu":"R&D","salaire_brut":"30000.00","moyen_deplacement":"Marche/running"}')
) AS t (after);

-- @expected
SELECT 2 AS id, 30000 AS salaire_brut;

-- @expected quarantine
SELECT 1 AS id, 'evaluation' AS rule;
