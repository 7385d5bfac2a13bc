"""Signs in as people do: by password, by token and by certificate; and as others should not."""

import sys
import time

from adbc_driver_flightsql import DatabaseOptions, dbapi
from pyarrow import flight


def rows(sql, uri, **options):
    with dbapi.connect(uri, db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def refused(word, *arguments, **options):
    try:
        answer = rows(*arguments, **options)
    except Exception as error:
        assert word in str(error).lower(), error
    else:
        raise AssertionError(f"not refused: {answer}")


def a_manager(uri, password, bu, token):
    anne = {"username": "anne", "password": password}
    seen = "SELECT count(DISTINCT bu), max(bu), max(montant_prime_euros), count(*) > 0 FROM gold.eligibilites"
    assert rows(seen, uri, **anne) == [(1, bu, None, True)], rows(seen, uri, **anne)
    bearer = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}
    assert rows(seen, uri, **bearer) == [(1, bu, None, True)]
    refused("no column", "SELECT salaire_brut FROM silver.employees", uri, **anne)
    refused("not found", "SELECT * FROM bronze.employees", uri, **anne)
    refused("unauthenticated", "SELECT 1", uri)
    refused("unauthenticated", "SELECT 1", uri, username="anne", password="wrong horse")
    a_slow_query_is_ended(uri, **anne)


ENDLESS = "SELECT a.value FROM range(0, 1000000) a CROSS JOIN range(0, 1000000) b"


def a_slow_query_is_ended(uri, **anne):
    """By the client that sent it, and by KILL from another connection."""

    def started(cursor):
        cursor.execute(ENDLESS)
        reader = cursor.fetch_record_batch()
        assert next(reader).num_rows > 0
        return reader

    def ended(word, reader):
        try:
            while next(reader, None) is not None:
                pass
        except Exception as error:
            assert word in str(error).lower(), error
        else:
            raise AssertionError("a result without end came to its end")

    with dbapi.connect(uri, db_kwargs=anne) as connection, connection.cursor() as cursor:
        reader = started(cursor)
        cursor.adbc_cancel()
        ended("cancel", reader)
    running = "SELECT query_id FROM system.queries WHERE state = 'running' AND statement LIKE 'SELECT a.value%'"
    while rows(running, uri, **anne):
        time.sleep(0.05)
    with dbapi.connect(uri, db_kwargs=anne) as connection, connection.cursor() as cursor:
        reader = started(cursor)
        [(query,)] = rows(running, uri, **anne)
        assert rows(f"KILL {query}", uri, **anne) == [(query, "cancelled")]
        ended("kill", reader)


def over_tls(address, folder):
    def pem(name):
        with open(f"{folder}/{name}.pem", "rb") as file:
            return file.read()

    def actions(**options):
        with flight.FlightClient(f"grpc+tls://{address}", tls_root_certs=pem("ca"), **options) as client:
            return list(client.list_actions(flight.FlightCallOptions(timeout=20)))

    assert actions(cert_chain=pem("client"), private_key=pem("client-key"))
    for options in [{}, {"cert_chain": pem("stranger"), "private_key": pem("stranger-key")}]:
        try:
            actions(**options)
        except flight.FlightError:
            pass
        except OSError:
            pass
        else:
            raise AssertionError("a stranger was let in")


if __name__ == "__main__":
    {"manager": a_manager, "tls": over_tls}[sys.argv[1]](*sys.argv[2:])
