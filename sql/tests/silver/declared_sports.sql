-- Le sport déclaré : « Runing » se lit Running, un blanc est l'absence de sport.
-- @given bronze.declared_sports
SELECT * FROM (VALUES
    ('{"employee_id":1,"sport":"Running"}'),
    ('{"employee_id":2,"sport":"Runing"}'),
    ('{"employee_id":3,"sport":" Runing "}'),
    ('{"employee_id":4,"sport":"Tennis "}'),
    ('{"employee_id":5,"sport":""}'),
    ('{"employee_id":6,"sport":"   "}'),
    ('{"employee_id":7,"sport":null}'),
    ('{"employee_id":8,"sport":"Voile"}')
) AS t (after);

-- @expected
SELECT * FROM (VALUES
    (1, 'Running'),
    (2, 'Running'),
    (3, 'Running'),
    (4, 'Tennis'),
    (5, NULL),
    (6, NULL),
    (7, NULL),
    (8, 'Voile')
) AS t (employee_id, sport);

-- @change bronze.declared_sports
SELECT * FROM (VALUES
    ('d', '{"employee_id":8}', NULL),
    ('u', NULL, '{"employee_id":7,"sport":"Escalade"}')
) AS t (op, before, after);

-- @expected
SELECT * FROM (VALUES
    (1, 'Running'),
    (2, 'Running'),
    (3, 'Running'),
    (4, 'Tennis'),
    (5, NULL),
    (6, NULL),
    (7, 'Escalade')
) AS t (employee_id, sport);
