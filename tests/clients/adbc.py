"""Checks a running endpoint with the ADBC Flight SQL driver, as a Python user meets it.

Usage: adbc.py grpc://127.0.0.1:50051

Needs adbc-driver-manager, adbc-driver-flightsql and pyarrow, and a lake with at least one epoch.
Every check is a function below; the run prints each one's name and ends with 1 if any failed.
"""

import datetime
import decimal

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow

from checks import check, main

MANY = 1_000_000
# More rows than any buffer on the way holds, fewer than would take long to give up.
ENDLESS = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b"


def connect(uri, **options):
    return adbc_driver_flightsql.dbapi.connect(uri, autocommit=True, **options)


def fetch(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def refusal(connection, sql):
    try:
        fetch(connection, sql)
    except adbc_driver_manager.Error as error:
        return error
    raise AssertionError(f"not refused: {sql}")


@check
def types_keep_their_values_and_nulls(uri):
    columns = {
        "CAST(1 AS TINYINT)": 1,
        "CAST(-32768 AS SMALLINT)": -32768,
        "CAST(2147483647 AS INT)": 2147483647,
        "CAST(-9223372036854775808 AS BIGINT)": -9223372036854775808,
        "CAST(1.5 AS REAL)": 1.5,
        "CAST(0.1 AS DOUBLE)": 0.1,
        "CAST(1234567890.12 AS DECIMAL(12, 2))": decimal.Decimal("1234567890.12"),
        "CAST('12345678901234567890123456789012345.678' AS DECIMAL(38, 3))": decimal.Decimal(
            "12345678901234567890123456789012345.678"
        ),
        "true": True,
        "'été, l''hiver 🏃'": "été, l'hiver 🏃",
        "''": "",
        "X'00ff'": b"\x00\xff",
        "DATE '1970-01-01'": datetime.date(1970, 1, 1),
        "DATE '9999-12-31'": datetime.date(9999, 12, 31),
        "TIMESTAMP '2024-02-29 23:59:59.123456'": datetime.datetime(
            2024, 2, 29, 23, 59, 59, 123456
        ),
    }
    with connect(uri) as connection:
        for expression, expected in columns.items():
            sql = f"SELECT x, NULLIF(x, x) AS n FROM (SELECT {expression} AS x) UNION ALL SELECT NULL, NULL"
            table = fetch(connection, sql)
            values = sorted(table["x"].to_pylist(), key=lambda value: value is None)
            assert values == [expected, None], (expression, values)
            assert table["n"].to_pylist() == [None, None], expression
            assert table["x"].type == table["n"].type, expression


@check
def aggregates_announce_the_schema_they_send(uri):
    with connect(uri) as connection:
        sql = "SELECT count(*) AS n, min(value) AS low, max(value) AS high, avg(value) AS mean FROM range(0, 10)"
        table = fetch(connection, sql)
        assert table.to_pylist() == [{"n": 10, "low": 0, "high": 9, "mean": 4.5}]
        empty = fetch(connection, "SELECT 1 AS one, 'x' AS t WHERE false")
        assert (empty.num_rows, empty.column_names) == (0, ["one", "t"])


@check
def parameters_are_bound_and_bound_again(uri):
    with connect(uri) as connection:
        sql = "SELECT value, ? AS label FROM range(0, 10) WHERE value >= ? AND value < ? ORDER BY value"
        with connection.cursor() as cursor:
            for low, high in [(2, 5), (8, 100), (5, 5)]:
                cursor.execute(sql, ("été", low, high))
                rows = cursor.fetchall()
                assert rows == [(n, "été") for n in range(low, min(high, 10))], rows
        numbered = fetch(connection, "SELECT CONCAT($2, '-', $1) AS t", ("a", "b"))
        assert numbered["t"].to_pylist() == ["b-a"]
        missing = fetch(connection, "SELECT value FROM range(0, 3) WHERE value = ?", (None,))
        assert missing.num_rows == 0


@check
def a_prepared_statement_tells_its_schemas(uri):
    with connect(uri) as connection, connection.cursor() as cursor:
        parameters = cursor.adbc_prepare("SELECT value FROM range(0, 3) WHERE value > ?")
        assert parameters is not None and len(parameters) == 1, parameters
        assert parameters.field(0).nullable
        result = cursor.adbc_execute_schema("SELECT 1 / 0 AS n")
        assert result.names == ["n"], result


@check
def objects_are_listed_at_every_depth(uri):
    with connect(uri) as connection:
        for depth in ["catalogs", "db_schemas", "tables", "all"]:
            listed = connection.adbc_get_objects(depth=depth).read_all().to_pylist()
            assert [catalog["catalog_name"] for catalog in listed] == ["sportlake"], listed
            schemas = listed[0]["catalog_db_schemas"]
            if depth == "catalogs":
                assert not schemas
                continue
            names = [schema["db_schema_name"] for schema in schemas]
            assert "main" in names and names == sorted(names), names
            tables = [table for schema in schemas for table in schema["db_schema_tables"] or []]
            if depth == "db_schemas":
                assert not tables
                continue
            assert {table["table_type"] for table in tables} <= {"TABLE", "VIEW"}
            for table in tables:
                columns = table["table_columns"] or []
                assert bool(columns) == (depth == "all"), table["table_name"]


@check
def a_listed_table_is_what_a_select_yields(uri):
    with connect(uri) as connection:
        listed = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        for schema in listed[0]["catalog_db_schemas"]:
            for table in schema["db_schema_tables"]:
                place = {
                    "catalog_filter": "sportlake",
                    "db_schema_filter": schema["db_schema_name"],
                }
                described = connection.adbc_get_table_schema(table["table_name"], **place)
                name = f'"{schema["db_schema_name"]}"."{table["table_name"]}"'
                selected = fetch(connection, f"SELECT * FROM {name} LIMIT 0").schema
                assert selected.names == described.names, name
                assert selected.types == described.types, name
                columns = [column["column_name"] for column in table["table_columns"]]
                assert columns == described.names, name


@check
def objects_are_filtered(uri):
    with connect(uri) as connection:
        only = connection.adbc_get_objects(depth="db_schemas", db_schema_filter="ma%")
        schemas = only.read_all().to_pylist()[0]["catalog_db_schemas"]
        assert [schema["db_schema_name"] for schema in schemas] == ["main"]
        for types in [["BASE TABLE"], ["table"], ["VIEW"]]:
            some = connection.adbc_get_objects(depth="tables", table_types_filter=types)
            for schema in some.read_all().to_pylist()[0]["catalog_db_schemas"]:
                found = {table["table_type"] for table in schema["db_schema_tables"]}
                assert found <= {"VIEW" if types == ["VIEW"] else "TABLE"}, found
        assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]


@check
def the_server_says_what_it_is(uri):
    with connect(uri) as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "sportlake", info
        assert info["vendor_version"], info
        assert info["vendor_arrow_version"], info


@check
def a_million_rows_are_streamed(uri):
    with connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT value, 'row ' || value AS label FROM range(0, {MANY})")
        rows = total = batches = 0
        for batch in cursor.fetch_record_batch():
            batches += 1
            rows += batch.num_rows
            total += pyarrow.compute.sum(batch["value"]).as_py() or 0
        assert (rows, total) == (MANY, MANY * (MANY - 1) // 2), (rows, total)
        assert batches > 1


@check
def mistakes_have_the_right_codes(uri):
    code = adbc_driver_manager.AdbcStatusCode
    mistakes = {
        "SELECT * FROM gold.eligibilitees": (code.INVALID_ARGUMENT, code.NOT_FOUND),
        "SELECT nowhere FROM range(0, 1)": (code.INVALID_ARGUMENT, code.NOT_FOUND),
        "SELEC 1": (code.INVALID_ARGUMENT,),
        "SELECT no_such_function(1)": (code.INVALID_ARGUMENT,),
        "SELECT 1 / (value - 900000) AS n FROM range(0, 1000000)": (code.INVALID_ARGUMENT,),
        "INSERT INTO parameters VALUES (1)": (code.INVALID_ARGUMENT,),
        "DELETE FROM parameters": (code.INVALID_ARGUMENT,),
        "CREATE TABLE t AS SELECT 1 AS n": (code.INVALID_ARGUMENT,),
        "DROP TABLE parameters": (code.INVALID_ARGUMENT,),
    }
    with connect(uri) as connection:
        for sql, expected in mistakes.items():
            error = refusal(connection, sql)
            assert error.status_code in expected, (sql, error.status_code, str(error))
            assert "Backtrace" not in str(error) and "DataFusionError" not in str(error), str(error)
        assert "hint: " in str(refusal(connection, "DELETE FROM parameters"))
        assert fetch(connection, "SELECT 1 AS n").num_rows == 1


@check
def writing_is_refused_by_every_door(uri):
    with connect(uri) as connection, connection.cursor() as cursor:
        table = pyarrow.table({"n": [1]})
        for write in [
            lambda: cursor.adbc_ingest("t", table),
            lambda: cursor.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)]),
        ]:
            try:
                write()
            except adbc_driver_manager.Error:
                continue
            raise AssertionError("a write was taken")


@check
def two_cursors_read_side_by_side(uri):
    with connect(uri) as connection:
        with connection.cursor() as left, connection.cursor() as right:
            left.execute("SELECT value FROM range(0, 200000)")
            right.execute("SELECT value FROM range(200000, 400000)")
            left_rows, right_rows = left.fetch_record_batch(), right.fetch_record_batch()
            rows = [0, 0]
            while True:
                batches = [next(left_rows, None), next(right_rows, None)]
                if batches == [None, None]:
                    break
                for index, batch in enumerate(batches):
                    rows[index] += batch.num_rows if batch is not None else 0
            assert rows == [200000, 200000], rows


@check
def an_abandoned_reader_does_no_harm(uri):
    for _ in range(5):
        with connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute(ENDLESS)
            reader = cursor.fetch_record_batch()
            assert next(reader).num_rows > 0
    with connect(uri) as connection:
        assert fetch(connection, "SELECT 1 AS n")["n"].to_pylist() == [1]


@check
def a_result_is_read_by_its_partitions(uri):
    with connect(uri) as connection, connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT value FROM range(0, 1000)")
        assert schema.names == ["value"], schema
        [partition] = partitions
        cursor.adbc_read_partition(partition)
        assert cursor.fetch_arrow_table().num_rows == 1000


@check
def a_running_statement_is_cancelled(uri):
    with connect(uri) as connection:
        with connection.cursor() as cursor:
            cursor.execute(ENDLESS)
            reader = cursor.fetch_record_batch()
            assert next(reader).num_rows > 0
            cursor.adbc_cancel()
            try:
                for _ in reader:
                    pass
            except (adbc_driver_manager.Error, pyarrow.ArrowException, OSError):
                pass
            else:
                raise AssertionError("it ran to its end")
        assert fetch(connection, "SELECT 1 AS n").num_rows == 1


@check
def the_sql_of_other_clients_is_read(uri):
    statements = {
        "SELECT TOP 1 {fn UCASE('a')} AS x, {d '2024-02-29'} AS y": ["A", datetime.date(2024, 2, 29)],
        "SELECT date_add(DATE '2024-02-28', 1) AS x, nvl(NULL, 'b') AS y": [datetime.date(2024, 2, 29), "b"],
        "SELECT CONVERT('1.5', SQL_DOUBLE) AS x, `value` AS y FROM range(3, 4)": [1.5, 3],
    }
    with connect(uri) as connection:
        for sql, expected in statements.items():
            table = fetch(connection, sql)
            assert [table["x"][0].as_py(), table["y"][0].as_py()] == expected, sql
        assert fetch(connection, "SHOW DATABASES").to_pylist() == [{"database_name": "sportlake"}]
        named = fetch(connection, "SELECT year(DATE '2024-02-29')")
        assert named.schema.names == ["year(DATE '2024-02-29')"], named.schema


@check
def headers_choose_the_schema_and_the_shape(uri):
    header = adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
    with connect(uri, db_kwargs={header + "schema": "gold", header + "profile": "grafana"}) as connection:
        assert connection.adbc_current_db_schema == "gold"
        table = fetch(connection, "SELECT DATE '2024-02-29' AS d, CAST(1.5 AS DECIMAL(12, 2)) AS m")
        assert table.schema.types == [pyarrow.timestamp("ns"), pyarrow.float64()], table.schema
    with connect(uri) as connection:
        table = fetch(connection, "SELECT DATE '2024-02-29' AS d, CAST(1.5 AS DECIMAL(12, 2)) AS m")
        assert table.schema.types == [pyarrow.date32(), pyarrow.decimal128(12, 2)], table.schema


@check
def signing_in_and_session_options_work(uri):
    option = adbc_driver_flightsql.ConnectionOptions.OPTION_SESSION_OPTION_PREFIX.value
    with connect(uri, db_kwargs={"username": "anna", "password": "secret"}) as connection:
        assert connection.adbc_current_catalog == "sportlake"
        assert connection.adbc_current_db_schema == "main"
        connection.adbc_current_db_schema = "gold"
        assert connection.adbc_current_db_schema == "gold"
        for name, value in [("schema", "nowhere"), ("epoch", "999999999"), ("colour", "red")]:
            try:
                connection.adbc_connection.set_options(**{option + name: value})
            except adbc_driver_manager.Error as error:
                assert name in str(error), str(error)
                continue
            raise AssertionError(f"the option {name} was taken")
        assert connection.adbc_current_db_schema == "gold"
    # Who has not signed in gets a session with the first option.
    with connect(uri) as connection:
        connection.adbc_current_db_schema = "bronze"
        assert connection.adbc_current_db_schema == "bronze"


if __name__ == "__main__":
    main()
