use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use chrono::DateTime;
use engine::{
    Clock, Desk, ErrorKind, Lake, LakeConfig, Lease, ProjectConfig, Reader, ReaderConfig,
    RefreshConfig, Refresher, Role, SourceConfig, Visitor,
};
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use crate::config::FlightConfig;
use crate::server::Server;
use crate::user_file::{User, Users};
use crate::{TicketKey, hash_password};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse battery";
const HOUR: Duration = Duration::from_secs(60 * 60);
const NOON: i64 = 1_767_268_800;

const POLICIES: &str = "CREATE ROLE lecteur; CREATE ROLE chef;
GRANT SELECT ON gold.nombres TO lecteur;
GRANT SELECT ON SCHEMA gold TO chef;
GRANT REPLAY TO chef;
CREATE POLICY petits ON gold.nombres TO lecteur USING (n < 3);
CREATE MASK ON gold.nombres (secret) TO lecteur USING (NULL);";

fn clock(seconds: i64) -> Clock {
    Arc::new(move || DateTime::from_timestamp(seconds, 0).expect("in range"))
}

/// A desk over a table of five numbers, where anne reads and bob is a chief, at a time.
async fn desk(folder: &Path, seconds: i64) -> Arc<dyn Desk> {
    desk_by(folder, clock(seconds)).await
}

async fn desk_by(folder: &Path, clock_of_server: Clock) -> Arc<dyn Desk> {
    let sql = folder.join("sql");
    std::fs::create_dir_all(sql.join("gold")).expect("a folder");
    let nombres = "-- @key n\nSELECT value AS n, value * 100 AS secret FROM range(1, 6)";
    std::fs::write(sql.join("gold/nombres.sql"), nombres).expect("written");
    std::fs::write(sql.join("policies.sql"), POLICIES).expect("written");
    let mut users = Users::default();
    for (name, role) in [("anne", "lecteur"), ("bob", "chef")] {
        let user = User {
            name: name.to_owned(),
            password: Some(hash_password(PASSWORD).expect("a hash")),
            certificate: None,
            generation: 0,
            roles: vec![role.to_owned()],
            attributes: Default::default(),
            tokens: Vec::new(),
        };
        users.add(user).expect("a user");
    }
    let file = |name: &str| folder.join(name).display().to_string();
    users.store(&folder.join("users.toml")).expect("stored");
    let config = LakeConfig { uri: file("lake") };
    let lake = Lake::open(&config).await.expect("a lake");
    let source = SourceConfig::default();
    if let Ok(lease) = Lease::acquire(&lake, Role::Refresh) {
        let project = ProjectConfig { path: sql.clone() };
        let refresh = RefreshConfig::default();
        let opened = Refresher::open(
            lake.clone(),
            lease,
            &project,
            &refresh,
            &source,
            clock(NOON),
        )
        .await;
        opened.expect("a project").turn().await.expect("an epoch");
    }
    let reader = Reader::new(lake, &ReaderConfig::default(), &source).expect("a reader");
    let config = FlightConfig {
        key: Some(TicketKey::new([7; 32])),
        users: file("users.toml"),
        audit: file("audit.jsonl"),
        ..FlightConfig::default()
    };
    let address = (HOME, 0).into();
    let shutdown = CancellationToken::new();
    let reader = reader.with_policies(&sql);
    let server = Server::open(address, reader, &config, clock_of_server, shutdown);
    server.expect("a server").desk()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_until_it_expires_or_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let seconds = Arc::new(AtomicI64::new(NOON));
    let shown = seconds.clone();
    let moving = move || DateTime::from_timestamp(shown.load(Relaxed), 0).expect("in range");
    let desk_now = desk_by(folder.path(), Arc::new(moving)).await;
    assert!(desk_now.has_users());
    let token = desk_now
        .sign_in("anne", PASSWORD.to_owned(), HOME, HOUR)
        .await;
    let token = token.expect("signed in");
    let anne = desk_now.principal(&token).expect("known");
    assert_eq!((anne.name(), anne.is_operator()), ("anne", false));
    let restarted = desk(folder.path(), NOON).await;
    let ended = restarted.principal(&token).expect_err("of another start");
    assert_eq!(ended.kind(), ErrorKind::Unauthenticated);
    seconds.store(NOON + 3_600, Relaxed);
    let expired = desk_now.principal(&token).expect_err("expired");
    assert_eq!(expired.kind(), ErrorKind::Unauthenticated);
    seconds.store(NOON, Relaxed);
    for wrong in ["", "abc", &token[1..]] {
        desk_now.principal(wrong).expect_err("no token");
    }
    desk_now.sign_out(&token);
    desk_now.principal(&token).expect_err("left");
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).expect("a log");
    assert!(audit.contains("\"outcome\":\"ok\""), "{audit}");
    assert!(!audit.contains(PASSWORD), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_at_the_desk_make_the_next_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = desk(folder.path(), NOON).await;
    let mut hints = Vec::new();
    for _ in 0..10 {
        let wrong = desk.sign_in("anne", "wrong".to_owned(), HOME, HOUR).await;
        let refused = wrong.expect_err("wrong");
        assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
        hints.push(refused.hint_text().unwrap_or_default().to_owned());
    }
    assert!(hints[9].starts_with("Try again in"), "{hints:?}");
    let right = desk.sign_in("anne", PASSWORD.to_owned(), HOME, HOUR).await;
    right.expect_err("not even with the right one");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_at_the_desk_obey_policies_and_are_on_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = desk(folder.path(), NOON).await;
    let token = desk.sign_in("anne", PASSWORD.to_owned(), HOME, HOUR).await;
    let principal = desk.principal(&token.expect("signed in")).expect("known");
    let session = desk.session(&principal).await.expect("a session");
    let info = session.info(&"gold.nombres".parse().expect("a name"));
    let info = info.expect("granted");
    assert!(!info.whole && info.masked.contains("secret"), "{info:?}");

    let visitor = Visitor {
        principal,
        from: HOME,
    };
    let field = Field::new("$1", DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![field]));
    let row = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![2]))]);
    let sql = "SELECT count(*), count(secret) FROM gold.nombres WHERE n >= $1";
    let parameters = Some(row.expect("a row"));
    let answer = desk
        .answer(&visitor, sql, parameters, session.epoch())
        .await;
    let batches: Vec<RecordBatch> = answer
        .expect("runs")
        .batches
        .try_collect()
        .await
        .expect("rows");
    let count = |column| {
        batches[0]
            .column(column)
            .as_primitive::<Int64Type>()
            .value(0)
    };
    assert_eq!((count(0), count(1)), (1, 0));

    let sql = "SELECT query_id FROM system.queries WHERE statement LIKE '%nombres%' AND state = 'finished'";
    let answer = desk.answer(&visitor, sql, None, session.epoch()).await;
    let known: Vec<RecordBatch> = answer
        .expect("runs")
        .batches
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(known.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);

    let hidden = desk.answer(
        &visitor,
        "SELECT * FROM quality.results",
        None,
        session.epoch(),
    );
    assert_eq!(
        hidden.await.err().expect("hidden").kind(),
        ErrorKind::InvalidRequest
    );
    let unknown = desk.kill(&visitor, 7).await.expect_err("no query");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_role_that_is_granted_it_may_replay() {
    let folder = tempfile::tempdir().expect("a folder");
    let desk = desk(folder.path(), NOON).await;
    for (name, may) in [("anne", false), ("bob", true)] {
        let token = desk.sign_in(name, PASSWORD.to_owned(), HOME, HOUR).await;
        let principal = desk.principal(&token.expect("signed in")).expect("known");
        let found = desk
            .reader()
            .may_replay(&principal)
            .await
            .expect("policies");
        assert_eq!(found, may, "{name}");
    }
}
