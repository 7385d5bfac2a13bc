//! What cannot work is refused with one message and its remedy.

use changes::{Error, ErrorKind};
use sources::cdc::{CdcConfig, CdcOptions};
use sources::postgres::Address;

use crate::kafka::Kafka;
use crate::node::{Capture, config};
use crate::postgres::{Database, PASSWORD, Server, run};

struct Refused {
    database: Database,
    folder: tempfile::TempDir,
    kafka: Kafka,
}

impl Refused {
    async fn on(name: &str) -> Option<Self> {
        let database = Database::create(name)?;
        let folder = tempfile::tempdir().expect("a folder");
        let kafka = Kafka::start(folder.path()).await;
        Some(Self {
            database,
            folder,
            kafka,
        })
    }

    fn config(&self) -> CdcConfig {
        config(&self.database, self.folder.path())
    }

    async fn with(&self, address: Address, config: &CdcConfig) -> Error {
        let capture =
            Capture::start_with(address, &self.kafka.config, config, CdcOptions::default());
        let error = capture.ended().await.expect_err("refused");
        assert!(!error.to_string().contains(PASSWORD), "{error}");
        error
    }

    async fn as_it_is(&self) -> Error {
        self.with(self.database.address(), &self.config()).await
    }
}

fn check(error: &Error, kind: ErrorKind, message: &str, hint: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(message), "{error}");
    assert!(
        error.hint_text().is_some_and(|text| text.contains(hint)),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_sign_in_or_replicate() {
    let Some(at) = Refused::on("t_sign_in").await else {
        return;
    };
    let wrong = at
        .with(
            at.database.address_of("sportlake_cdc", "wrong", ""),
            &at.config(),
        )
        .await;
    check(
        &wrong,
        ErrorKind::Unauthenticated,
        "refuses the password of \"sportlake_cdc\"",
        "password_file",
    );
    let nobody = at
        .with(at.database.address_of("nobody", "x", ""), &at.config())
        .await;
    check(
        &nobody,
        ErrorKind::Unauthenticated,
        "\"nobody\"",
        "SPORTLAKE__SOURCE__POSTGRES",
    );
    let plain = at
        .with(
            at.database.address_of("sportlake_app", PASSWORD, ""),
            &at.config(),
        )
        .await;
    check(
        &plain,
        ErrorKind::PermissionDenied,
        "\"sportlake_app\" may not replicate",
        "REPLICATION",
    );
    at.database.sql("REVOKE SELECT ON employees FROM sportlake_cdc; INSERT INTO employees VALUES (1, 'a', 'b', NULL, NULL, NULL, 1)");
    let blind = at.as_it_is().await;
    check(
        &blind,
        ErrorKind::PermissionDenied,
        "\"sportlake_cdc\" may not read \"public.employees\"",
        "GRANT SELECT",
    );
    let text = at
        .database
        .url_of("sportlake_cdc", PASSWORD, "")
        .replace("t_sign_in", "t_absent");
    let absent = at
        .with(Address::parse(&text, None).expect("valid"), &at.config())
        .await;
    check(
        &absent,
        ErrorKind::NotFound,
        "no database \"t_absent\"",
        "source.postgres",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there() {
    let Some(at) = Refused::on("t_absent_things").await else {
        return;
    };
    let text = "postgres://a:b@127.0.0.1:1/c";
    let nowhere = at
        .with(Address::parse(text, None).expect("valid"), &at.config())
        .await;
    check(
        &nowhere,
        ErrorKind::Unavailable,
        "no PostgreSQL answers at \"127.0.0.1:1\"",
        "source.postgres",
    );
    let config = CdcConfig {
        create_topics: false,
        ..at.config()
    };
    let topic = at.with(at.database.address(), &config).await;
    check(
        &topic,
        ErrorKind::NotFound,
        "there is no topic \"sportsdata.public.",
        "cdc.create_topics",
    );
    at.database.sql("DROP PUBLICATION sportlake");
    let publication = at.as_it_is().await;
    check(
        &publication,
        ErrorKind::NotFound,
        "no publication \"sportlake\"",
        "CREATE PUBLICATION",
    );
    at.database.sql("CREATE PUBLICATION sportlake");
    let tables = at.as_it_is().await;
    check(
        &tables,
        ErrorKind::InvalidRequest,
        "has no table",
        "ADD TABLE",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_captured() {
    let Some(at) = Refused::on("t_tables").await else {
        return;
    };
    at.database
        .sql("CREATE TABLE bare (v text); ALTER PUBLICATION sportlake SET TABLE bare");
    let bare = at.as_it_is().await;
    check(
        &bare,
        ErrorKind::InvalidRequest,
        "\"public.bare\" has no primary key",
        "ADD PRIMARY KEY",
    );
    at.database.sql("ALTER PUBLICATION sportlake SET TABLE employees; ALTER TABLE employees REPLICA IDENTITY NOTHING");
    let silent = at.as_it_is().await;
    check(
        &silent,
        ErrorKind::InvalidRequest,
        "REPLICA IDENTITY of \"public.employees\"",
        "REPLICA IDENTITY DEFAULT",
    );
    at.database.sql("CREATE TABLE odd (id int PRIMARY KEY, p polygon); ALTER PUBLICATION sportlake SET TABLE odd");
    let odd = at.as_it_is().await;
    check(
        &odd,
        ErrorKind::Unsupported,
        "column \"p\" of \"public.odd\"",
        "SET TABLE",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_else_reads() {
    let Some(at) = Refused::on("t_in_use").await else {
        return;
    };
    let mut capture = Capture::start(&at.database, &at.kafka.config, &at.config());
    capture.following().await;
    let same = at.as_it_is().await;
    check(
        &same,
        ErrorKind::Conflict,
        "another capture is at work with",
        "cdc.state",
    );
    let elsewhere = CdcConfig {
        state: at.folder.path().join("elsewhere.json"),
        slot_wait_seconds: 1,
        ..at.config()
    };
    let second = at.with(at.database.address(), &elsewhere).await;
    check(
        &second,
        ErrorKind::Conflict,
        "slot \"t_in_use\" is in use",
        "cdc.slot",
    );
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_slot_or_prefix_than_so_far() {
    let Some(at) = Refused::on("t_another").await else {
        return;
    };
    let mut capture = Capture::start(&at.database, &at.kafka.config, &at.config());
    capture.following().await;
    capture.stop().await;
    let other_slot = CdcConfig {
        slot: "t_another_one".to_owned(),
        ..at.config()
    };
    let slot = at.with(at.database.address(), &other_slot).await;
    check(
        &slot,
        ErrorKind::Conflict,
        "slot \"t_another_one\" is another than \"t_another\"",
        "--new-generation",
    );
    let kafka = changes::KafkaConfig {
        prefix: "elsewhere".to_owned(),
        ..at.kafka.config.clone()
    };
    let prefix = Capture::start(&at.database, &kafka, &at.config())
        .ended()
        .await;
    check(
        &prefix.expect_err("refused"),
        ErrorKind::Conflict,
        "prefix \"elsewhere\" is another than \"sportsdata\"",
        "kafka.prefix",
    );
    // Nothing was made for what was refused.
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 't_another%'";
    assert_eq!(at.database.sql(slots), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_log_what_changed() {
    let Some(server) = Server::start(&["wal_level=replica"]) else {
        return;
    };
    let database = Database::on(server.into(), "t_replica");
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let config = config(&database, folder.path());
    let error = Capture::start(&database, &kafka.config, &config)
        .ended()
        .await
        .expect_err("refused");
    check(
        &error,
        ErrorKind::InvalidRequest,
        "wal_level of PostgreSQL is \"replica\"",
        "wal_level = 'logical'",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_trusted_only_when_its_authority_is_named() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let data = server.data();
    let files = tempfile::tempdir().expect("a folder");
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1' >san; openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 \
        -extfile san -set_serial 1 -out server.crt";
    let mut openssl = std::process::Command::new("sh");
    run(openssl.args(["-ec", script]).current_dir(files.path()));
    for name in ["server.key", "server.crt"] {
        std::fs::copy(files.path().join(name), data.join(name)).expect("copied");
    }
    let owner = "chmod 600 server.key && chown --reference=PG_VERSION server.key server.crt";
    run(std::process::Command::new("sh")
        .args(["-ec", owner])
        .current_dir(&data));
    let database = Database::on(server.into(), "t_tls");
    database.sql("ALTER SYSTEM SET ssl = on");
    database.sql("SELECT pg_reload_conf()");

    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let config = config(&database, folder.path());
    let with = |options: &str| database.address_of("sportlake_cdc", PASSWORD, options);
    let start = |options: &str| {
        Capture::start_with(with(options), &kafka.config, &config, CdcOptions::default())
    };
    let error = start("?sslmode=verify-full")
        .ended()
        .await
        .expect_err("refused");
    check(
        &error,
        ErrorKind::Unauthenticated,
        "certificate of \"127.0.0.1\" is not trusted",
        "sslrootcert",
    );
    let trusted = format!(
        "?sslmode=verify-full&sslrootcert={}",
        files.path().join("ca.pem").display()
    );
    let mut capture = start(&trusted);
    capture.following().await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'sportlake_cdc'";
    assert_eq!(database.sql(encrypted), "t");
    capture.stop().await;
}
