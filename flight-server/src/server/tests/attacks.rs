//! A server with users, attacked from outside and by its own users.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandGetTables, CommandPreparedStatementQuery, CommandStatementQuery, ProstMessageExt,
};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket,
};
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, Request};

use super::{Client, Running, fetch, status};
use crate::config::FlightConfig;
use crate::service::ACTIONS;
use crate::ticket::TicketKey;
use crate::user_file::{User, Users};
use crate::{hash_password, issue_token};

const PASSWORD: &str = "correct horse";

const LOCK: &str = r#"format = 1
[bronze.employees]
topic = "sportsdata.public.employees"
key = ["id"]
[bronze.employees.fields]
id = "int64"
"#;

pub(super) const POLICIES: &str = "CREATE ROLE reader;
GRANT SELECT (_offset, op) ON bronze.employees TO reader;
CREATE POLICY below ON bronze.employees TO reader USING (_offset < CAST(attribute('below') AS BIGINT));";

/// anne sees one message, bob two; the lake holds three.
async fn guarded() -> Running {
    let users = [("anne", "reader", "1"), ("bob", "reader", "2")];
    served(FlightConfig::default(), POLICIES, &users).await
}

/// Users with a role each, who see the messages below a number.
pub(super) async fn served(
    config: FlightConfig,
    policies: &str,
    known: &[(&str, &str, &str)],
) -> Running {
    let running = Running::prepared(config, |folder| {
        let texts = BTreeMap::from([("sources.lock", LOCK)]);
        let project = folder.join("lake/_project");
        std::fs::create_dir_all(&project).expect("a folder");
        let texts = serde_json::to_vec(&texts).expect("JSON");
        std::fs::write(project.join("none"), texts).expect("written");
        std::fs::write(folder.join("policies.sql"), policies).expect("written");
        let mut users = Users::default();
        for &(name, role, below) in known {
            let user = User {
                name: name.to_owned(),
                password: Some(hash_password(PASSWORD).expect("a hash")),
                certificate: None,
                generation: 0,
                roles: vec![role.to_owned()],
                attributes: BTreeMap::from([("below".to_owned(), below.to_owned())]),
                tokens: Vec::new(),
            };
            users.add(user).expect("a user");
        }
        users.store(&folder.join("users.toml")).expect("stored");
    });
    running.await
}

pub(super) async fn client_of(running: &Running, user: &str) -> Client {
    let mut client = Client::new(super::connection(running.address).await);
    client.handshake(user, PASSWORD).await.expect("signs in");
    client
}

async fn count(client: &mut Client, sql: &str) -> Result<i64, tonic::Status> {
    let info = client.execute(sql.to_owned(), None).await.map_err(status)?;
    let batches = fetch(client, info).await?;
    Ok(batches[0].column(0).as_primitive::<Int64Type>().value(0))
}

#[tokio::test]
async fn no_call_is_answered_before_sign_in() {
    let running = guarded().await;
    for authorization in [
        None,
        Some("Basic YW5uZTp3cm9uZw=="),
        Some("Bearer abc"),
        Some("Nonsense"),
    ] {
        let mut client = FlightServiceClient::new(running.channel.clone());
        macro_rules! refused {
            ($call:ident, $message:expr) => {
                let mut request = Request::new($message);
                if let Some(authorization) = authorization {
                    let value = authorization.parse().expect("ascii");
                    request.metadata_mut().insert("authorization", value);
                }
                let refused = client.$call(request).await.map(|_| ());
                let code = refused.expect_err("refused").code();
                assert_eq!(
                    code,
                    Code::Unauthenticated,
                    "{} {authorization:?}",
                    stringify!($call)
                );
            };
        }
        let query = CommandStatementQuery {
            query: "SELECT 1".to_owned(),
            transaction_id: None,
        };
        let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
        refused!(handshake, tokio_stream::iter([HandshakeRequest::default()]));
        refused!(list_flights, Criteria::default());
        refused!(get_flight_info, descriptor.clone());
        refused!(poll_flight_info, descriptor.clone());
        refused!(get_schema, descriptor);
        refused!(do_get, Ticket::new("x"));
        refused!(do_put, tokio_stream::iter([FlightData::new()]));
        refused!(do_exchange, tokio_stream::iter([FlightData::new()]));
        refused!(list_actions, Empty {});
        for (name, _) in ACTIONS {
            refused!(do_action, Action::new(name, ""));
        }
        refused!(do_action, Action::new("unknown", ""));
    }
}

#[tokio::test]
async fn each_user_sees_what_the_policies_say() {
    let running = guarded().await;
    let sql = "SELECT count(*) FROM bronze.employees";
    for (user, expected) in [("anne", 1), ("bob", 2)] {
        let mut client = client_of(&running, user).await;
        assert_eq!(count(&mut client, sql).await.expect("answers"), expected);
        let hidden = count(&mut client, "SELECT count(value) FROM bronze.employees").await;
        let hidden = hidden.expect_err("a hidden column");
        assert_eq!(hidden.code(), Code::InvalidArgument, "{hidden:?}");
        assert!(
            hidden.message().contains("no column \"value\""),
            "{hidden:?}"
        );
        let letters = count(&mut client, "SELECT count(*) FROM bronze.dead_letters").await;
        assert!(
            letters
                .expect_err("a hidden table")
                .message()
                .contains("not found")
        );

        let command = CommandGetTables {
            include_schema: true,
            ..CommandGetTables::default()
        };
        let info = client.get_tables(command).await.expect("told");
        let tables = fetch(&mut client, info).await.expect("listed");
        let names = tables[0].column_by_name("table_name").expect("names");
        let names: Vec<_> = names.as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["employees", "queries", "sessions"]);
        let schema = tables[0].column_by_name("table_schema").expect("a schema");
        let schema = schema.as_binary::<i32>().value(0).to_vec();
        let holds = |name: &[u8]| schema.windows(name.len()).any(|part| part == name);
        assert!(holds(b"_offset") && !holds(b"value") && !holds(b"before"));
    }
}

#[tokio::test]
async fn tickets_and_handles_of_somebody_else_are_refused() {
    let running = guarded().await;
    let mut anne = client_of(&running, "anne").await;
    let mut bob = client_of(&running, "bob").await;
    let sql = "SELECT count(*) FROM bronze.employees".to_owned();
    let info = bob.execute(sql.clone(), None).await.expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let stolen = fetch(&mut anne, info.clone()).await.expect_err("bob's");
    assert_eq!(stolen.code(), Code::PermissionDenied);
    for _ in 0..2 {
        let batches = fetch(&mut bob, info.clone())
            .await
            .expect("bob may fetch again");
        assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 2);
    }
    let mut forged = ticket.ticket.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let refused = bob
        .do_get(Ticket::new(forged))
        .await
        .map(|_| ())
        .map_err(status);
    assert_eq!(refused.expect_err("forged").code(), Code::InvalidArgument);

    let create = ActionCreatePreparedStatementRequest {
        query: sql,
        transaction_id: None,
    };
    let create = Action::new("CreatePreparedStatement", create.as_any().encode_to_vec());
    let mut plain = FlightServiceClient::new(running.channel.clone());
    let created = plain.do_action(of(&bob, create)).await.expect("prepares");
    let created = created.into_inner().try_next().await.expect("answers");
    let created = Any::decode(created.expect("one").body).expect("an answer");
    let created: ActionCreatePreparedStatementResult =
        created.unpack().expect("of its kind").expect("of its kind");
    let command = CommandPreparedStatementQuery {
        prepared_statement_handle: created.prepared_statement_handle,
    };
    let command = command.as_any().encode_to_vec();
    let descriptor = FlightDescriptor::new_cmd(command.clone());
    plain
        .get_flight_info(of(&bob, descriptor.clone()))
        .await
        .expect("bob's own");
    for refused in [
        plain
            .get_flight_info(of(&anne, descriptor.clone()))
            .await
            .map(|_| ()),
        plain.get_schema(of(&anne, descriptor)).await.map(|_| ()),
        plain
            .do_get(of(&anne, Ticket::new(command)))
            .await
            .map(|_| ()),
    ] {
        assert_eq!(refused.expect_err("bob's").code(), Code::PermissionDenied);
    }
}

/// A call in the name of whoever signed in with this client.
fn of<T>(client: &Client, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = format!("Bearer {}", client.token().expect("signed in"));
    let value = token.parse().expect("ascii");
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_token_may_stand_for_one() {
    let running = guarded().await;
    let mut client = Client::new(running.channel.clone());
    let refused = client.handshake("anne", "wrong horse").await;
    // The client of `arrow-flight` keeps only the text of a refused handshake.
    let refused = refused.expect_err("wrong").to_string();
    assert!(
        refused.contains("the user or the password is wrong"),
        "{refused}"
    );

    let path = running.directory.path().join("users.toml");
    let mut users = Users::load(&path).expect("readable").expect("there");
    let bob = users.find_mut("bob").expect("there");
    let given = issue_token(&TicketKey::new([5; 32]), bob, "grafana", 60, 0).expect("a token");
    users.store(&path).expect("stored");
    // The file is looked at again a moment after the edit.
    let signed_in = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while client.handshake("anything", &given.0).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    signed_in.await.expect("the token is good");
    let sql = "SELECT count(*) FROM bronze.employees";
    assert_eq!(count(&mut client, sql).await.expect("answers"), 2);
}

#[tokio::test]
async fn the_audit_log_tells_who_asked_what_and_no_value() {
    let running = guarded().await;
    let mut anne = client_of(&running, "anne").await;
    let sql = "SELECT count(*) FROM bronze.employees WHERE op <> 'Dupont'";
    count(&mut anne, sql).await.expect("answers");
    count(&mut anne, "SELECT nom FROM bronze.employees")
        .await
        .expect_err("refused");
    let path = running.directory.path().join("audit.jsonl");
    let text = std::fs::read_to_string(path).expect("a log");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["event"], line["user"], line["rows"], line["outcome"]
            )
        })
        .collect();
    let expected = [
        r#""sign_in" "anne" null "ok""#,
        r#""statement" "anne" 1 "ok""#,
        r#""statement" "anne" null "refused""#,
    ];
    assert_eq!(told, expected, "{text}");
    assert!(!text.contains("Dupont"), "{text}");
}
