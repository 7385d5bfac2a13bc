"""Replays the calls of the Arrow Flight SQL ODBC driver, through the same C++ library that it is built on.

Usage: odbc.py grpc://127.0.0.1:50051

pyarrow has no Flight SQL messages, so they are packed by hand. Every check is a function below; the run prints each
one's name and ends with 1 if any failed.
"""

import pyarrow
import pyarrow.flight as flight

from checks import check, main

PREFIX = "type.googleapis.com/arrow.flight.protocol.sql."
META = b"ARROW:FLIGHT:SQL:"

# Protocol buffers, as far as these messages need them.


def varint(number):
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def text(tag, value):
    data = value if isinstance(value, bytes) else value.encode()
    return varint(tag << 3 | 2) + varint(len(data)) + data


def flag(tag, value):
    return varint(tag << 3) + varint(int(value))


def command(name, body=b""):
    return text(1, PREFIX + name) + text(2, body)


def fields(message):
    """Tag and bytes of each length-delimited field."""
    position = 0

    def number():
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while position < len(message):
        key = number()
        if key & 7 == 2:
            length = number()
            yield key >> 3, message[position : position + length]
            position += length
        else:
            yield key >> 3, number()


class Driver:
    """One connection as the driver opens it: cookies on, everything unknown in the connection string a header."""

    def __init__(self, uri, user=None, password=None, token=None, **properties):
        self.client = flight.connect(uri, middleware=[Cookies()])
        self.headers = [
            (name.lower().replace(" ", "").encode(), value.encode())
            for name, value in properties.items()
        ]
        if user is not None:
            # The driver sends Basic without a payload and takes the bearer from the response's headers.
            bearer = self.client.authenticate_basic_token(user, password)
            assert bearer[0] == b"authorization" and bearer[1].startswith(b"Bearer "), bearer
            self.headers.append(bearer)
        elif token is not None:
            self.headers.append((b"authorization", b"Bearer " + token.encode()))

    @property
    def options(self):
        return flight.FlightCallOptions(headers=self.headers)

    def info(self, message):
        descriptor = flight.FlightDescriptor.for_command(message)
        info = self.client.get_flight_info(descriptor, self.options)
        [endpoint] = info.endpoints
        assert not endpoint.locations, "the driver dials the first location blindly"
        return info, endpoint.ticket

    def rows(self, message):
        info, ticket = self.info(message)
        reader = self.client.do_get(ticket, self.options)
        assert reader.schema.equals(info.schema, check_metadata=True), (reader.schema, info.schema)
        return reader.read_all()

    def query(self, sql):
        return self.rows(command("CommandStatementQuery", text(1, sql)))

    def act(self, name, body):
        action = flight.Action(name, body)
        return [result.body.to_pybytes() for result in self.client.do_action(action, self.options)]

    def prepared(self, sql):
        """SQLPrepare and SQLExecute, then SQLFreeStmt."""
        body = command("ActionCreatePreparedStatementRequest", text(1, sql))
        [answer] = self.act("CreatePreparedStatement", body)
        message = dict(fields(answer))[2]
        handle = dict(fields(message))[1]
        rows = self.rows(command("CommandPreparedStatementQuery", text(1, handle)))
        self.act(
            "ClosePreparedStatement",
            command("ActionClosePreparedStatementRequest", text(1, handle)),
        )
        return rows


class Cookies(flight.ClientMiddlewareFactory):
    def __init__(self):
        super().__init__()
        self.cookies = {}

    def start_call(self, info):
        return Cookie(self.cookies)


class Cookie(flight.ClientMiddleware):
    def __init__(self, cookies):
        super().__init__()
        self.cookies = cookies

    def sending_headers(self):
        if not self.cookies:
            return {}
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    def received_headers(self, headers):
        for value in headers.get("set-cookie", []):
            name, _, rest = value.partition("=")
            self.cookies[name] = rest.split(";")[0]


@check
def it_connects_by_each_way_of_signing_in(uri):
    for ways in [{}, {"user": "anna", "password": "secret"}]:
        driver = Driver(uri, **ways)
        assert driver.query("SELECT 1 AS n")["n"].to_pylist() == [1]


@check
def what_folding_rests_on_is_told(uri):
    rows = Driver(uri).rows(command("CommandGetSqlInfo"))
    assert rows.schema.field(0).type == pyarrow.uint32()
    values = {row["info_name"]: row["value"] for row in rows.to_pylist()}
    assert len(values) == 91
    told = {
        526: 4,
        528: 6,
        518: True,
        522: 3,
        533: 0,
        534: 0,
        531: "catalog",
        503: 3,
        505: 0,
        507: 0,
        520: True,
        538: 15,
        540: 3,
        504: '"',
        3: True,
    }
    for name, expected in told.items():
        assert values[name] == expected, (name, values[name], expected)
    for name in [509, 510, 511, 512]:
        assert values[name] and all(function == function.upper() for function in values[name])
    assert "CONVERT" in values[511] and "TIMESTAMPADD" in values[512]
    assert len(values[517]) > 10


@check
def tables_are_browsed(uri):
    driver = Driver(uri)
    assert driver.rows(command("CommandGetCatalogs"))[0].to_pylist() == ["sportlake"]
    assert "gold" in driver.rows(command("CommandGetDbSchemas"))[1].to_pylist()
    assert driver.rows(command("CommandGetTableTypes"))[0].to_pylist() == ["TABLE", "VIEW"]
    body = text(3, "every%") + text(4, "TABLE") + flag(5, False)
    assert driver.rows(command("CommandGetTables", body))[2].to_pylist() == ["every_type"]


@check
def every_listed_column_has_what_the_driver_reads_unasked(uri):
    # A field without metadata crashes it.
    body = flag(5, True)
    rows = Driver(uri, profile="odbc").rows(command("CommandGetTables", body))
    for name, serialized in zip(rows[2].to_pylist(), rows[4].to_pylist()):
        schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(serialized))
        for field in schema:
            described(field, name)


def described(field, of):
    metadata = field.metadata
    assert metadata, (of, field)
    assert metadata[META + b"TYPE_NAME"], (of, field)
    assert metadata[META + b"IS_SEARCHABLE"] == b"1", (of, field)
    assert metadata[META + b"IS_CASE_SENSITIVE"] in (b"0", b"1"), (of, field)
    if pyarrow.types.is_decimal(field.type):
        assert metadata[META + b"PRECISION"] == str(field.type.precision).encode()
        assert metadata[META + b"SCALE"] == str(field.type.scale).encode()


@check
def types_are_told(uri):
    rows = Driver(uri).rows(command("CommandGetXdbcTypeInfo"))
    names = rows["type_name"].to_pylist()
    assert len(names) == len(set(names)) == 13, names
    assert set(rows["searchable"].to_pylist()) == {3}


@check
def a_result_has_only_types_that_the_driver_converts(uri):
    driver = Driver(uri, profile="odbc")
    sql = "SELECT *, now() AS now, make_array(1, 2) AS list, NULL AS nothing FROM gold.every_type ORDER BY id"
    for rows in [driver.query(sql), driver.prepared(sql)]:
        for field in rows.schema:
            described(field, "result")
            kind = field.type
            assert not pyarrow.types.is_nested(kind), field
            assert not pyarrow.types.is_large_string(kind), field
            assert kind not in (pyarrow.string_view(), pyarrow.binary_view(), pyarrow.null())
            assert not (pyarrow.types.is_timestamp(kind) and kind.tz), field
        assert rows["list"].to_pylist() == ["[1,2]", "[1,2]"], rows["list"]
        assert rows["text"].to_pylist() == ["été, l'hiver 🏃", None]
        for name in rows.schema.names[1:]:
            if name not in ("now", "list"):
                assert rows[name][1].as_py() is None, name


@check
def a_query_streams_and_an_abandoned_one_ends(uri):
    driver = Driver(uri)
    rows = driver.query("SELECT value FROM range(0, 1000000)")
    assert rows.num_rows == 1_000_000
    endless = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b"
    _, ticket = driver.info(command("CommandStatementQuery", text(1, endless)))
    reader = driver.client.do_get(ticket, driver.options)
    assert reader.read_chunk().data.num_rows > 0
    reader.cancel()
    assert driver.query("SELECT 1 AS n").num_rows == 1


@check
def a_timeout_is_a_deadline_of_the_whole_stream(uri):
    driver = Driver(uri)
    endless = "SELECT sum(a.value * b.value) AS s FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b"
    _, ticket = driver.info(command("CommandStatementQuery", text(1, endless)))
    options = flight.FlightCallOptions(timeout=1, headers=driver.headers)
    try:
        driver.client.do_get(ticket, options).read_all()
    except flight.FlightTimedOutError:
        assert driver.query("SELECT 1 AS n").num_rows == 1
        return
    raise AssertionError("it never ended")


@check
def mistakes_keep_their_codes(uri):
    driver = Driver(uri)
    for sql in ["SELEC 1", "SELECT nowhere FROM gold.every_type", "DELETE FROM gold.every_type"]:
        try:
            driver.query(sql)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError):
            continue
        raise AssertionError(sql)


@check
def a_connection_string_sets_the_schema(uri):
    driver = Driver(uri, user="anna", password="secret", database="sportlake", schema="gold")
    assert driver.query("SELECT count(*) AS n FROM every_type")["n"].to_pylist() == [2]


@check
def what_power_query_folds_runs(uri):
    driver = Driver(uri)
    sql = """
select "a","C1" from (select "a", sum("x") as "C1" from (
    select "OTBL"."id", "OTBL"."double" as "x", "ITBL"."text" as "a" from "sportlake"."gold"."every_type" as "OTBL"
    left outer join "sportlake"."gold"."every_type" as "ITBL" on ("OTBL"."id"="ITBL"."id")) as "ITBL" group by "a") as "ITBL"
where not "C1" is null limit 1000001"""
    assert driver.query(sql).to_pylist() == [{"a": "été, l'hiver 🏃", "C1": 0.1}]


if __name__ == "__main__":
    main()
