-- Le coût du programme, une BU par ligne. Les montants sont la somme des primes arrondies au centime.
-- @key     bu
-- @trigger on change, at most every 1s
-- @expect  une_par_bu: unique(bu)                                 ON VIOLATION FAIL
-- @expect  primes_des_salaries: nb_primes BETWEEN 0 AND nb_salaries ON VIOLATION FAIL
SELECT
    bu,
    count(*)                                            AS nb_salaries,
    count(*) FILTER (WHERE prime_sportive)              AS nb_primes,
    CAST(coalesce(sum(montant_prime_euros), 0) AS DECIMAL(14, 2)) AS montant_primes_euros,
    sum(jours_bien_etre)                                AS jours_bien_etre
FROM gold.eligibilites
GROUP BY bu
