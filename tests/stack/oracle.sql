-- The programme's rules, as PostgreSQL computes them from its own tables: written from what the rules are, not from sql/.
-- {now} is the moment of the epoch. One JSON document: each silver table as rows of texts, each gold table as objects.
BEGIN;

CREATE TEMP VIEW people AS
SELECT * FROM public.employees
WHERE salaire_brut > 0 AND salaire_brut <> 'NaN'
  AND bu IS NOT NULL
  AND moyen_deplacement IS NOT NULL AND moyen_deplacement <> 'Trottinette'
  AND (jours_cp IS NULL OR jours_cp < 2 ^ 31);

CREATE TEMP VIEW ways AS
SELECT * FROM public.commute_distances
WHERE isfinite(computed_at) AND (distance_m IS NULL OR distance_m <= 1e9);

-- An hour that comes twice is the first one; one that never comes is as before the change.
CREATE TEMP VIEW sessions AS
SELECT a.*, least(
    date_debut AT TIME ZONE 'Europe/Paris',
    (date_debut - interval '1 hour') AT TIME ZONE 'Europe/Paris' + interval '1 hour'
) AS begun
FROM public.sport_activities a
WHERE type_activite <> 'BACKFILL_COMPLETE'
  AND date_debut >= '1900-01-01' AND date_debut < '2201-01-01'
  AND (distance_m IS NULL OR distance_m <= 1e9)
  AND duree_s > 0 AND duree_s < 2 ^ 31;

CREATE TEMP VIEW bonuses AS
SELECT
    p.id AS employee_id,
    p.bu,
    w.distance_m IS NOT NULL AND w.distance_m <= limits.metres AS prime_sportive,
    limits.metres,
    p.moyen_deplacement,
    p.salaire_brut,
    w.distance_m,
    w.source,
    (SELECT count(*) FROM sessions s
     WHERE s.employee_id = p.id
       AND s.begun BETWEEN timestamptz '{now}' - interval '365 days' AND timestamptz '{now}') AS nb_activites
FROM people p
LEFT JOIN ways w ON w.employee_id = p.id
LEFT JOIN (VALUES ('Marche/running', 15000), ('Vélo/Trottinette/Autres', 25000)) AS limits (mode, metres)
    ON limits.mode = p.moyen_deplacement;

CREATE TEMP VIEW eligible AS
SELECT
    employee_id,
    bu,
    coalesce(prime_sportive, FALSE) AS prime_sportive,
    CASE WHEN prime_sportive THEN round(salaire_brut / 20, 2) ELSE 0.00 END AS montant,
    distance_m / 1000 AS distance_km,
    nb_activites,
    CASE WHEN nb_activites < 15 THEN 0 ELSE 5 END AS jours_bien_etre,
    CASE WHEN metres IS NULL THEN TRUE WHEN distance_m IS NOT NULL THEN distance_m <= metres END AS declaration_correcte,
    source AS distance_source
FROM bonuses;

SELECT json_build_object(
'employees', (SELECT json_agg(json_build_array(
    id::text, nom, prenom, (date_naissance - date '1970-01-01')::text, bu, (date_embauche - date '1970-01-01')::text,
    salaire_brut::text, type_contrat, jours_cp::text, adresse, moyen_deplacement)) FROM people),
'declared_sports', (SELECT json_agg(json_build_array(
    employee_id::text, CASE btrim(sport, ' ') WHEN 'Runing' THEN 'Running' ELSE nullif(btrim(sport, ' '), '') END))
    FROM public.declared_sports),
'commute_distances', (SELECT json_agg(json_build_array(
    employee_id::text, moyen_deplacement, distance_m::text, source, flag,
    to_char(computed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))) FROM ways),
'sport_activities', (SELECT json_agg(json_build_array(
    id::text, employee_id::text, to_char(begun AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), type_activite,
    distance_m::text, duree_s::text, commentaire)) FROM sessions),
'gold', json_build_object(
    'eligibilites', (SELECT json_agg(x) FROM (
        SELECT employee_id, bu, prime_sportive, montant::text AS montant_prime_euros, distance_km, nb_activites,
            jours_bien_etre, declaration_correcte, distance_source
        FROM eligible) x),
    'cout_par_bu', (SELECT json_agg(x) FROM (
        SELECT bu, count(*) AS nb_salaries, sum(prime_sportive::int) AS nb_primes,
            sum(montant)::text AS montant_primes_euros, sum(jours_bien_etre) AS jours_bien_etre
        FROM eligible GROUP BY bu) x),
    'activites_par_mois', (SELECT json_agg(x) FROM (
        SELECT to_char(date_debut, 'YYYY-MM-01') AS mois, type_activite, count(*) AS nb_activites,
            coalesce(sum(distance_m::numeric), 0)::float8 / 1000 AS distance_km, sum(duree_s)::float8 / 3600 AS duree_h
        FROM sessions GROUP BY 1, 2) x),
    'classement', (SELECT json_agg(x) FROM (
        SELECT rank() OVER (ORDER BY nb_activites DESC, kilometres DESC, employee_id) AS rang, employee_id, bu,
            nb_activites, kilometres AS distance_km
        FROM eligible, LATERAL (
            SELECT coalesce(sum(s.distance_m::numeric), 0)::float8 / 1000 AS kilometres FROM sessions s
            WHERE s.employee_id = eligible.employee_id
              AND s.begun BETWEEN timestamptz '{now}' - interval '365 days' AND timestamptz '{now}') sums
        WHERE nb_activites > 0) x),
    'anomalies_declaration', (SELECT coalesce(json_agg(x), '[]') FROM (
        SELECT employee_id, bu, moyen_deplacement, distance_m / 1000 AS distance_km, metres / 1000.0 AS limite_km,
            CASE WHEN distance_m > metres THEN 'Domicile trop éloigné pour ce mode de déplacement'
                ELSE 'Distance domicile-bureau inconnue' END AS motif
        FROM bonuses
        WHERE metres IS NOT NULL AND NOT (prime_sportive)) x),
    'indicateurs', (SELECT json_agg(x) FROM (
        SELECT count(*) AS nb_salaries, coalesce(sum(prime_sportive::int), 0) AS nb_primes,
            coalesce(sum(montant), 0.00)::text AS montant_primes_euros,
            count(*) FILTER (WHERE jours_bien_etre = 5) AS nb_bien_etre,
            coalesce(sum(jours_bien_etre), 0) AS jours_bien_etre, coalesce(sum(nb_activites), 0) AS nb_activites,
            (SELECT coalesce(sum(s.distance_m::numeric), 0)::float8 / 1000 FROM sessions s JOIN people p ON p.id = s.employee_id
             WHERE s.begun BETWEEN timestamptz '{now}' - interval '365 days' AND timestamptz '{now}') AS distance_km
        FROM eligible) x)));

ROLLBACK;
