//! Users, roles and certificates, with the real program and real clients.

use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::parts::{missing, part};
use crate::project::{PATIENCE, Project, text};

const PASSWORD: &str = "correct horse battery";

/// Makes the first user; the server that is started next asks who calls. Returns a token.
pub(crate) fn a_manager_is_added(project: &Project, bu: &str) -> String {
    let attribute = format!("bu={bu}");
    let add = [
        "user",
        "add",
        "anne",
        "--role",
        "manager",
        "--attribute",
        &attribute,
    ];
    let typo = with_password(project, &["user", "add", "bob", "--role", "manger"]);
    assert_eq!(typo.status.code(), Some(3));
    assert!(
        text(&typo.stderr).contains("manager"),
        "{}",
        text(&typo.stderr)
    );
    let added = with_password(project, &add);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let again = with_password(project, &add);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again.stderr));
    let token = project.run(&["user", "token", "anne", "--label", "grafana"]);
    assert!(token.status.success(), "{}", text(&token.stderr));
    let listed = text(&project.run(&["user", "list", "--output", "csv"]).stdout);
    assert!(
        listed.contains("anne") && listed.contains(&attribute),
        "{listed}"
    );
    let file = project.read("users.toml");
    assert!(
        file.contains("$argon2id$") && !file.contains(PASSWORD),
        "{file}"
    );
    text(&token.stdout).trim().to_owned()
}

fn with_password(project: &Project, arguments: &[&str]) -> std::process::Output {
    let mut command = project.command(arguments);
    command.env("SPORTLAKE_PASSWORD", PASSWORD);
    command.output().expect("the program runs")
}

/// Otherwise the service could read neither its users nor its key any more.
#[test]
fn what_root_writes_belongs_to_the_service() {
    if !std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        missing("root");
        return;
    }
    let project = Project::new()
        .set("flight.users", "data/private/users.toml")
        .set("flight.key_file", "data/private/flight.key");
    let owner = |path: &str| {
        let metadata = std::fs::metadata(project.path(path)).expect("it is there");
        (metadata.uid(), metadata.gid())
    };
    chown(project.path(""), Some(4321), Some(1234)).expect("given away");
    let added = with_password(&project, &["user", "add", "anne", "--role", "rh"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let token = project.run(&["user", "token", "anne"]);
    assert!(token.status.success(), "{}", text(&token.stderr));
    let users = "data/private/users.toml";
    for path in ["data", "data/private", users, "data/private/flight.key"] {
        assert_eq!(owner(path), (4321, 1234), "{path}");
    }
    let mode = std::fs::metadata(project.path(users))
        .expect("it is there")
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    chown(project.path(users), Some(4322), Some(1235)).expect("given away");
    let removed = project.run(&["user", "remove", "anne"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(owner(users), (4322, 1235), "as the file that is replaced");
}

/// A role sees its unit and no amount, on the command line and through a client that signs in.
pub(crate) fn a_manager_sees_no_salary(project: &Project, flight: &str, bu: &str, token: &str) {
    let attribute = format!("bu={bu}");
    let tried = |sql: &str| {
        let arguments = [
            "query",
            "--as",
            "manager",
            "--attribute",
            &attribute,
            "--output",
            "csv",
            sql,
        ];
        project.run(&arguments)
    };
    let units = tried("SELECT DISTINCT bu FROM gold.eligibilites");
    assert_eq!(
        text(&units.stdout).lines().nth(1),
        Some(bu),
        "{}",
        text(&units.stderr)
    );
    let salary = tried("SELECT salaire_brut FROM silver.employees");
    assert_eq!(salary.status.code(), Some(2));
    assert!(
        text(&salary.stderr).contains("no column"),
        "{}",
        text(&salary.stderr)
    );

    let Some(python) = part("SPORTLAKE_TEST_PYTHON") else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/sign_in.py");
    let output = Command::new(&python)
        .args([script, "manager", flight, PASSWORD, bu, token])
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let log = project.read("data/audit.jsonl");
    assert!(
        log.contains("\"user\":\"anne\"") && !log.contains(PASSWORD),
        "{log}"
    );

    certificates(project);
    let config = project.read("sportlake.toml");
    let config = config
        .replace(
            "tls_certificate = \"\"",
            "tls_certificate = \"tls/server.pem\"",
        )
        .replace("tls_key = \"\"", "tls_key = \"tls/server-key.pem\"")
        .replace(
            "tls_client_authority = \"\"",
            "tls_client_authority = \"tls/ca.pem\"",
        );
    project.write("secured.toml", &config);
    let etl = [
        "user",
        "add",
        "etl",
        "--role",
        "rh",
        "--no-password",
        "--certificate",
        "tls/client.pem",
    ];
    let added = project.run(&etl);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let mut secured = project.start(&["--config", "secured.toml", "serve"]);
    let line = secured.wait_for("grpc");
    let address = line
        .rsplit("://")
        .next()
        .expect("an address")
        .trim()
        .to_owned();
    let folder = project.path("tls").display().to_string();
    let output = Command::new(&python)
        .args([script, "tls", &address, &folder])
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    a_new_certificate_is_taken_up(project, &address);
}

/// Without a restart, and as soon as it is whole.
fn a_new_certificate_is_taken_up(project: &Project, address: &str) {
    let first = project.read("tls/server.pem");
    let await_presented = |expected: &str| {
        let deadline = Instant::now() + PATIENCE;
        while presented(address).as_deref() != Some(expected.trim()) {
            assert!(Instant::now() < deadline, "another certificate");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    await_presented(&first);
    project.write("tls/server.pem", "half of a certif");
    std::thread::sleep(Duration::from_millis(1100)); // The files are looked at once a second.
    await_presented(&first);
    certificates(project);
    let second = project.read("tls/server.pem");
    assert_ne!(first, second);
    await_presented(&second);
}

/// The certificate that the server shows, as PEM.
fn presented(address: &str) -> Option<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, "-alpn", "h2"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let said = text(&output.stdout);
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = said.find(begin)?;
    let to = said.find(end)?;
    Some(said[from..to].to_owned() + end)
}

/// An authority with a server and a client, and a client of another one.
fn certificates(project: &Project) {
    let folder = project.path("tls");
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = r#"set -e
new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
for authority in ca other; do
    openssl req -x509 $new -days 2 -subj "/CN=$authority" -keyout $authority-key.pem -out $authority.pem
done
signed() {
    openssl req $new -subj "/CN=$1" -keyout $1-key.pem -out $1.csr
    printf '%s\n' "$3" >extensions
    openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2-key.pem -CAcreateserial -days 2 -extfile extensions -out $1.pem
}
signed server ca subjectAltName=DNS:localhost,IP:127.0.0.1
signed client ca extendedKeyUsage=clientAuth
signed stranger other extendedKeyUsage=clientAuth
chmod 600 *-key.pem"#;
    let made = Command::new("bash")
        .args(["-c", script])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
}
