"""Reads gold as plain Delta tables, with another program of Delta's, and compares it with what the server answers."""

import json
import sys
from pathlib import Path

from adbc_driver_flightsql import dbapi
from deltalake import DeltaTable


def rows_of(table):
    return sorted(map(repr, table.to_pylist()))


def main(uri, lake):
    manifests = Path(lake, "_epochs").glob("[0-9]*[0-9].json")
    manifest = json.loads(max(manifests).read_text())
    gold = {name: table for name, table in manifest["tables"].items() if name.startswith("gold.")}
    assert gold
    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        for name, table in sorted(gold.items()):
            files = DeltaTable(f"{lake}/{table['path']}", version=table["version"]).to_pyarrow_table()
            cursor.execute(f"SELECT * FROM {name} VERSION AS OF {table['version']}")
            answer = cursor.fetch_arrow_table()
            assert files.column_names == answer.column_names, name
            assert rows_of(files) == rows_of(answer), name
            print(f"{name}: {files.num_rows} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
