"""Runs the SQL that Power BI generates against our endpoint and against DuckDB on the same rows.

Usage: power_bi.py grpc://127.0.0.1:50051

The statements are of the shapes that are recorded of Power BI: by the ADBC connector (`SqlView.Generator`), and by ODBC
with the folding that GetSqlInfo's answers turn on. Where DuckDB spells one differently, both spellings stand beside
each other.
"""

import datetime
import decimal
import math
import sys
import traceback

import adbc_driver_flightsql.dbapi
import duckdb

TABLES = ["ventes", "clients"]

# What the connector asks before it shows a table.
BROWSING = [
    "SHOW DATABASES",
    "select schema_name from information_schema.schemata where catalog_name = 'sportlake' order by 1",
    "select table_schema, table_name, table_type from information_schema.tables where table_schema = 'gold' order by 2",
    "select column_name, data_type, is_nullable from information_schema.columns where table_name = 'ventes' order by ordinal_position",
    """select k.column_name from information_schema.table_constraints c
       join information_schema.key_column_usage k on c.constraint_name = k.constraint_name and c.table_name = k.table_name
       where c.table_name = 'ventes' and c.constraint_type = 'PRIMARY KEY'""",
]

# One statement, or ours and DuckDB's.
CORPUS = [
    'select * from "gold"."ventes" limit 1000',
    'select count(*) as "C1" from "gold"."ventes"',
    """select "a", "C1" from (select "a", sum("x") as "C1" from (
        select "OTBL"."montant" as "x", "ITBL"."nom" as "a" from "gold"."ventes" as "OTBL"
        left outer join "gold"."clients" as "ITBL" on ("OTBL"."client" = "ITBL"."client")) as "ITBL"
        group by "a") as "ITBL" where not "C1" is null limit 1000001""",
    """select "OTBL"."id", "ITBL"."nom" from "gold"."ventes" as "OTBL" inner join "gold"."clients" as "ITBL"
        on ("OTBL"."client" = "ITBL"."client" and "OTBL"."client" is not null and "ITBL"."client" is not null
            or "OTBL"."client" is null and "ITBL"."client" is null)""",
    """select count(distinct("client")) + max(case when "client" is null then 1 else 0 end) as "C1" from "gold"."ventes" """,
    'select "client", avg("montant") as "C1", min("jour") as "C2", max("poids") as "C3" from "gold"."ventes" group by "client"',
    'select "id" from "gold"."ventes" where cast("poids" as DOUBLE) > CAST(1 as DOUBLE)',
    """select "id" from "gold"."ventes" where "jour" >= {d '2024-01-01'} and "jour" < {d '2024-03-01'}""",
    """select "id" from "gold"."ventes" where ("client" is null or not ("client" like 'a%' escape '\\'))""",
    """select {fn YEAR("jour")} as "y", {fn MONTH("jour")} as "m", count(*) as "C1" from "gold"."ventes"
        where "jour" is not null group by {fn YEAR("jour")}, {fn MONTH("jour")}""",
    """select "id", {fn TIMESTAMPADD(SQL_TSI_DAY, 1, "jour")} as "d" from "gold"."ventes" where "jour" is not null""",
    """select "id", {fn TIMESTAMPDIFF(SQL_TSI_DAY, {d '2024-01-01'}, "jour")} as "n" from "gold"."ventes"
        where "jour" is not null""",
    """select {fn UCASE("nom")} as "n", {fn LENGTH("nom")} as "l", {fn CONCAT("nom", '!')} as "c" from "gold"."clients" """,
    """select "id" from "gold"."ventes" where {fn LOCATE('a', "client")} > 0""",
    """select {fn CONVERT("montant", SQL_DOUBLE)} as "x" from "gold"."ventes" """,
    'select "t"."client", "t"."n" from (select "client", count(*) as "n" from "gold"."ventes" group by "client") as "t" order by "t"."n" desc, "t"."client" limit 2',
    """select "client" from "gold"."ventes" union all select "nom" from "gold"."clients" """,
    """select "rows"."client" as "client", sum("rows"."montant") as "total" from "gold"."ventes" "rows"
        group by "client" having sum("rows"."montant") > 5""",
    """select "id", row_number() over (partition by "client" order by "id") as "r" from "gold"."ventes" """,
    """select coalesce("client", 'aucun') as "k", sum(cast("montant" as decimal(18, 2))) as "v" from "gold"."ventes"
        group by coalesce("client", 'aucun')""",
    """select "id" from "gold"."ventes" where "client" in (select "client" from "gold"."clients" where "nom" = 'Anne')""",
    """select "id" from "gold"."ventes" as "v" where exists (select 1 from "gold"."clients" as "c" where "c"."client" = "v"."client")""",
    """select (select max("montant") from "gold"."ventes") as "m" """,
    """select "client", sum("montant") over (order by "id" rows unbounded preceding) as "s" from "gold"."ventes" """,
]

# What DuckDB has no word for, in its own words.
WORDS = [
    ("{d '2024-01-01'}", "DATE '2024-01-01'"),
    ("{d '2024-03-01'}", "DATE '2024-03-01'"),
    ('{fn TIMESTAMPADD(SQL_TSI_DAY, 1, "jour")}', "\"jour\" + INTERVAL 1 DAY"),
    ("{fn TIMESTAMPDIFF(SQL_TSI_DAY, DATE '2024-01-01', \"jour\")}", "date_sub('day', DATE '2024-01-01', \"jour\")"),
    ("{fn LOCATE('a', \"client\")}", "strpos(\"client\", 'a')"),
    ('{fn CONVERT("montant", SQL_DOUBLE)}', 'cast("montant" as double)'),
    ("{fn CONCAT(\"nom\", '!')}", "\"nom\" || '!'"),
    ('{fn UCASE("nom")}', 'upper("nom")'),
    ('{fn LENGTH("nom")}', 'length("nom")'),
    ('{fn YEAR("jour")}', 'year("jour")'),
    ('{fn MONTH("jour")}', 'month("jour")'),
]


def of_duckdb(sql):
    for ours, theirs in WORDS:
        sql = sql.replace(ours, theirs)
    return sql


def value(found):
    if isinstance(found, decimal.Decimal):
        return float(found)
    if isinstance(found, float):
        return None if math.isnan(found) else round(found, 6)
    if isinstance(found, datetime.datetime):
        return found.replace(tzinfo=None)
    if isinstance(found, datetime.date):
        return datetime.datetime.combine(found, datetime.time())
    return found


def rows(table):
    listed = [tuple(value(row[name]) for name in table.schema.names) for row in table.to_pylist()]
    return sorted(listed, key=repr)


def main(uri):
    failed = 0
    with adbc_driver_flightsql.dbapi.connect(uri, autocommit=True) as ours, duckdb.connect() as theirs:

        def fetch(sql):
            with ours.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetch_arrow_table()

        theirs.execute("CREATE SCHEMA gold")
        for name in TABLES:
            table = fetch(f"SELECT * FROM gold.{name}")
            theirs.register("rows_of_ours", table)
            theirs.execute(f"CREATE TABLE gold.{name} AS SELECT * FROM rows_of_ours")
            theirs.unregister("rows_of_ours")
        for sql in BROWSING:
            try:
                assert fetch(sql).num_rows > 0, sql
            except Exception:
                failed += 1
                print(f"FAILED  {sql}", flush=True)
                traceback.print_exc()
        assert fetch("SHOW DATABASES").schema.names == ["database_name"]
        for sql in CORPUS:
            try:
                found = rows(fetch(sql))
                expected = rows(theirs.execute(of_duckdb(sql)).to_arrow_table())
                assert found == expected, (found, expected)
            except Exception:
                failed += 1
                print(f"FAILED  {sql}", flush=True)
                traceback.print_exc()
    total = len(BROWSING) + len(CORPUS)
    print(f"{total - failed} of {total} statements passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
