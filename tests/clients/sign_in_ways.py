"""Signs in with the ADBC Flight SQL driver in every way, and in ways that are refused; then stays over a restart.

Usage: sign_in_ways.py HOST:PORT PASSWORD TOKEN EXPIRED TAKEN_BACK

Prints "connected" when it holds connections, and waits for a line: the server is to start again meanwhile.
"""

import sys

import adbc_driver_manager
from adbc_driver_flightsql import DatabaseOptions, dbapi

SEEN = "SELECT texte FROM gold.visible"
UNAUTHENTICATED = adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED


def connect(uri, **options):
    return dbapi.connect(uri, db_kwargs=options, autocommit=True)


def bearer(token):
    return {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {token}"}


def rows(connection, sql=SEEN):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def refused(code, message, uri, sql=SEEN, **options):
    try:
        with connect(uri, **options) as connection:
            found = rows(connection, sql)
    except adbc_driver_manager.Error as error:
        assert message in str(error), f"{message}: {error}"
        assert "secret" not in str(error), error
        assert code is None or error.status_code == code, (error.status_code, str(error))
    else:
        raise AssertionError(f"not refused: {message}: {found}")


def main(address, password, token, expired, taken_back):
    uri = f"grpc://{address}"
    anne = {"username": "anne", "password": password}
    ways = [anne, bearer(token), {"username": "anyone", "password": token}]
    for way in ways:
        with connect(uri, **way) as connection:
            assert rows(connection) == [("vu",)], way.keys()

    refused(UNAUTHENTICATED, "nobody is signed in", uri)
    wrong = "the user or the password is wrong"
    refused(UNAUTHENTICATED, wrong, uri, username="anne", password="wrong horse")
    refused(UNAUTHENTICATED, wrong, uri, username="nobody", password=password)
    refused(UNAUTHENTICATED, "the token has expired", uri, **bearer(expired))
    refused(UNAUTHENTICATED, "the token was taken back", uri, **bearer(taken_back))
    refused(UNAUTHENTICATED, "the token is not valid", uri, **bearer(token[:-4] + "AAAA"))
    refused(None, "gold.cache' not found", uri, "SELECT * FROM gold.cache", **anne)
    bob = {"username": "bob", "password": password}
    refused(None, "gold.visible' not found", uri, **bob)
    with connect(uri, **bob) as connection:
        assert rows(connection, "SELECT 1") == [(1,)]
        assert rows(connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'gold'") == []

    connections = [connect(uri, **way) for way in ways]
    for connection in connections:
        assert rows(connection) == [("vu",)]
    print("connected", flush=True)
    sys.stdin.readline()
    for connection in connections:
        # The first call may meet the channel that broke.
        for attempt in (1, 2, 3):
            try:
                found = rows(connection)
                break
            except adbc_driver_manager.OperationalError as error:
                assert attempt < 3 and error.status_code != UNAUTHENTICATED, error
        assert found == [("vu",)], found
        connection.close()
    refused(UNAUTHENTICATED, "the token has expired", uri, **bearer(expired))


if __name__ == "__main__":
    main(*sys.argv[1:])
