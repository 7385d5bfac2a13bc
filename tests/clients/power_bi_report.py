"""Checks the model of powerbi/ against what the endpoint announces, and runs the SQL of its visuals there.

Usage: power_bi_report.py grpc://127.0.0.1:50051 VISUALS.json

VISUALS.json has `tables` (gold's tables with TMDL's data type of each column) and `statements` (a visual's statement as
Power BI folds it, and in plain SQL). The folded one runs at the endpoint, the plain one in DuckDB on the same rows.
"""

import decimal
import json
import sys

import adbc_driver_flightsql.dbapi
import duckdb
from pyarrow import types

# Arrow's types as Power BI has them.
DATA_TYPES = [
    (types.is_boolean, "boolean"),
    (types.is_signed_integer, "int64"),
    (types.is_floating, "double"),
    (lambda found: types.is_decimal(found) and found.scale <= 4, "decimal"),
    (types.is_string, "string"),
    (lambda found: types.is_date(found) or types.is_timestamp(found), "dateTime"),
]


def data_type(found):
    return next((name for test, name in DATA_TYPES if test(found)), str(found))


def value(found):
    if isinstance(found, (decimal.Decimal, int)) and not isinstance(found, bool):
        return format(decimal.Decimal(found).normalize(), "f")
    return round(found, 6) if isinstance(found, float) else found


def rows(table):
    listed = table.to_pydict().values()
    return sorted((tuple(map(value, row)) for row in zip(*listed)), key=repr)


def main(uri, path):
    with open(path, encoding="utf-8") as file:
        asked = json.load(file)
    failed = []
    with adbc_driver_flightsql.dbapi.connect(uri, autocommit=True) as ours, duckdb.connect() as theirs:

        def fetch(sql):
            with ours.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetch_arrow_table()

        theirs.execute("CREATE SCHEMA gold")
        for name, columns in asked["tables"].items():
            table = fetch(f'SELECT * FROM gold."{name}"')
            sent = {field.name: data_type(field.type) for field in table.schema}
            if sent != columns:
                failed.append(f"{name}: the endpoint sends {sent}, the model has {columns}")
            theirs.register("sent", table)
            theirs.execute(f'CREATE TABLE gold."{name}" AS SELECT * FROM sent')
            theirs.unregister("sent")
        for statement in asked["statements"]:
            found = rows(fetch(statement["folded"]))
            expected = rows(theirs.sql(statement["plain"]).to_arrow_table())
            if found != expected or not found:
                differing = set(found).symmetric_difference(expected)
                failed.append(f"{statement}: {len(found)} rows, {len(expected)} expected; {list(differing)[:4]}")
    print("\n".join(failed) or f"{len(asked['statements'])} statements passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
