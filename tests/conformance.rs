//! The clients people use, each with its own driver against the real program: Python by ADBC, the calls of the ODBC
//! driver, JDBC of two versions, those of Grafana's plugin, the SQL of Power BI beside DuckDB. A client that this machine lacks is named.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::parts::part;
use crate::project::{Project, text};

/// One row of extremes and one of NULLs.
const EVERY_TYPE: &str = "-- Chaque type, avec ses extrêmes et ses NULL.
-- @key id
SELECT
    CAST(column1 AS BIGINT) AS id,
    CAST(column2 AS BOOLEAN) AS boolean,
    CAST(column3 AS SMALLINT) AS smallint,
    CAST(column4 AS INT) AS integer,
    CAST(column5 AS BIGINT) AS bigint,
    CAST(column6 AS DOUBLE) AS double,
    CAST(column7 AS DECIMAL(12, 2)) AS decimal_12,
    CAST(column8 AS DECIMAL(38, 3)) AS decimal_38,
    column9 AS text,
    CAST(column10 AS BYTEA) AS bytes,
    CAST(column11 AS DATE) AS day,
    CAST(column12 AS TIMESTAMP) AS moment
FROM (VALUES
    (1, true, -32768, -2147483648, -9223372036854775808, 0.1, '-9999999999.99',
     '12345678901234567890123456789012345.678', 'été, l''hiver 🏃', X'00ff', '2024-02-29',
     '2024-02-29 23:59:59.123456'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
";

const CLIENTS: &str = "-- Les clients, et celui qu'on ne connaît pas.
SELECT column1 AS client, column2 AS nom
FROM (VALUES ('a', 'Anne'), ('b', 'Bob'), (NULL, 'inconnu'))
";

const VENTES: &str = "-- Une vente par ligne.
-- @key id
SELECT
    CAST(column1 AS BIGINT) AS id,
    column2 AS client,
    CAST(column3 AS DECIMAL(12, 2)) AS montant,
    CAST(column4 AS DATE) AS jour,
    CAST(column5 AS DOUBLE) AS poids
FROM (VALUES
    (1, 'a', 10.50, '2024-02-29', 1.5),
    (2, 'b', NULL, '2023-12-31', NULL),
    (3, NULL, 5.25, NULL, 0.0),
    (4, 'a', 4.25, '2024-03-01', -2.5))
";

#[test]
fn every_client_gets_what_it_needs() {
    let project = Project::new();
    std::fs::remove_dir_all(project.path("sql")).expect("removed");
    project.write("sql/gold/every_type.sql", EVERY_TYPE);
    project.write("sql/gold/clients.sql", CLIENTS);
    project.write("sql/gold/ventes.sql", VENTES);
    let built = project.run(&["refresh"]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    let mut serve = project.start(&["serve"]);
    let address = serve.address("grpc://");

    for script in ["adbc.py", "odbc.py", "power_bi.py"] {
        python(script, &address);
    }
    jdbc(&address);
    if let Some(grafana) = part("SPORTLAKE_TEST_GRAFANA") {
        let address = address.trim_start_matches("grpc://");
        passes(Command::new(grafana).args(["conformance", address]));
    }

    serve.signal(Signal::SIGINT);
    serve.end();
}

fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name]
        .iter()
        .collect()
}

fn python(name: &str, address: &str) {
    if let Some(python) = part("SPORTLAKE_TEST_PYTHON") {
        passes(Command::new(python).arg(script(name)).arg(address));
    }
}

/// The drivers that `tests/run` fetched.
fn jdbc(address: &str) {
    let Some(drivers) = part("SPORTLAKE_TEST_JDBC") else {
        return;
    };
    let drivers: Vec<OsString> = std::env::split_paths(&drivers).map(Into::into).collect();
    assert!(!drivers.is_empty(), "SPORTLAKE_TEST_JDBC names the drivers");
    for driver in drivers {
        let mut java = Command::new("java");
        java.args([
            "-Xmx512m",
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "-cp",
        ])
        .arg(driver)
        .arg(script("FlightSqlJdbc.java"))
        .arg(address.trim_start_matches("grpc://"));
        passes(&mut java);
    }
}

#[track_caller]
fn passes(client: &mut Command) {
    let output = client.output().expect("the client runs");
    assert!(
        output.status.success(),
        "{client:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}
