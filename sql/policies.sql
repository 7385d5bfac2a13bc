-- Qui voit quoi. Un rôle ne voit que ce qui lui est accordé ici ; docs/policies.md explique chaque instruction.
-- `sportlake query --as manager --attribute bu=Marketing "..."` essaie un rôle, `sportlake check` vérifie ce fichier.

-- Les ressources humaines voient tout, y compris les lignes mises de côté et les messages bruts.
CREATE ROLE rh;

-- L'équipe données voit la même chose, reprend ce qui est mis de côté et met fin aux requêtes des autres.
CREATE ROLE donnees;
GRANT REPLAY TO donnees;
GRANT KILL TO donnees;
GRANT SELECT ON system.queries TO donnees;

GRANT SELECT ON SCHEMA bronze, silver, gold, main, quality TO rh, donnees;
GRANT SELECT ON bronze.dead_letters TO rh, donnees;
GRANT SELECT ON silver.employees__quarantine, silver.sport_activities__quarantine,
    silver.commute_distances__quarantine, silver.declared_sports__quarantine TO rh, donnees;

-- Grafana voit ce que montrent ses tableaux : des totaux, et personne.
CREATE ROLE tableaux;
GRANT SELECT ON gold.indicateurs, gold.cout_par_bu, gold.activites_par_mois TO tableaux;
GRANT SELECT (bu, motif) ON gold.anomalies_declaration TO tableaux;

-- Un manager voit sa BU (attribut `bu`), sans salaire, sans adresse et sans montant par personne.
CREATE ROLE manager;
GRANT SELECT ON parameters TO manager;
GRANT SELECT (id, nom, prenom, bu, date_embauche, type_contrat, jours_cp, moyen_deplacement)
    ON silver.employees TO manager;
GRANT SELECT (employee_id, bu, prime_sportive, montant_prime_euros, nb_activites, jours_bien_etre, declaration_correcte)
    ON gold.eligibilites TO manager;
GRANT SELECT ON gold.cout_par_bu, gold.classement TO manager;
GRANT SELECT (nb_salaries, nb_primes, montant_primes_euros, nb_bien_etre, jours_bien_etre, nb_activites)
    ON gold.indicateurs TO manager;

CREATE POLICY sa_bu ON silver.employees, gold.eligibilites, gold.classement, gold.cout_par_bu TO manager
    USING (bu = attribute('bu'));

-- Couvre aussi ce qui se calcule à partir du salaire : la prime est NULL pour chaque personne.
CREATE MASK ON silver.employees (salaire_brut, adresse) TO manager USING (NULL);

-- Un total ne se voit que s'il porte sur au moins cinq primes.
CREATE MASK ON gold.cout_par_bu (montant_primes_euros) TO manager
    USING (CASE WHEN nb_primes >= 5 THEN montant_primes_euros END);
CREATE MASK ON gold.indicateurs (montant_primes_euros) TO manager
    USING (CASE WHEN nb_primes >= 5 THEN montant_primes_euros END);

-- Des totaux qui n'existent dans aucune table se font ici, par groupes d'au moins cinq personnes. Sans montant : deux
-- découpages d'un même montant se soustraient (docs/policies.md).
CREATE TOTALS gold.totaux_par_declaration TO manager AT LEAST 5 employee_id AS
SELECT
    bu,
    declaration_correcte,
    count(*)            AS nb_salaries,
    sum(nb_activites)   AS nb_activites
FROM gold.eligibilites
GROUP BY bu, declaration_correcte;

-- Un salarié voit ses propres lignes (attribut `employee_id`).
CREATE ROLE salarie;
GRANT SELECT ON parameters, silver.employees, silver.sport_activities, silver.commute_distances,
    silver.declared_sports, gold.eligibilites, gold.classement, gold.anomalies_declaration TO salarie;

CREATE POLICY soi_meme ON silver.employees TO salarie USING (id = CAST(attribute('employee_id') AS BIGINT));
CREATE POLICY ses_lignes ON silver.sport_activities, silver.commute_distances, silver.declared_sports,
    gold.eligibilites, gold.classement, gold.anomalies_declaration TO salarie
    USING (employee_id = CAST(attribute('employee_id') AS BIGINT));
