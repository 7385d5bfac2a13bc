//! Statements and messages that no client would send. `SPORTLAKE_FUZZ` asks for a number of calls instead of a minute
//! of them, `SPORTLAKE_SEED` for those of an earlier run.

mod texts;

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTables,
    CommandPreparedStatementQuery, CommandStatementIngest, CommandStatementQuery,
    CommandStatementUpdate, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, Criteria, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, Ticket,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use self::texts::{FRAGMENTS, corpus, words};
use super::Running;
use super::attacks::{POLICIES, client_of, served};
use crate::config::FlightConfig;
use crate::service::ACTIONS;

const SEED: u64 = 20_261_129;
const MINUTE: Duration = Duration::from_secs(60);
/// A statement may take this many seconds, and its call a little more.
const STATEMENT_SECONDS: &str = "2";
const PATIENCE: Duration = Duration::from_secs(60);
/// Growth of the process in the second half of a long run.
const GROWTH_BYTES: u64 = 256 << 20;
/// Calls from which on the growth of a run tells something.
const LONG_RUN: u64 = 50_000;

type Raw = FlightServiceClient<InterceptedService<Channel, Headers>>;

/// What every call carries.
#[derive(Clone)]
struct Headers(String);

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let bearer = format!("Bearer {}", self.0).parse().expect("ascii");
        let headers = request.metadata_mut();
        headers.insert("authorization", bearer);
        headers.insert("timeout_seconds", STATEMENT_SECONDS.parse().expect("ascii"));
        headers.insert("max_rows", "10000".parse().expect("ascii"));
        Ok(request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_breaks_the_server() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let calls = number("SPORTLAKE_FUZZ");
    let seed = number("SPORTLAKE_SEED").unwrap_or(SEED);
    let config = FlightConfig {
        query_history: 100,
        ..FlightConfig::default()
    };
    let running = served(config, POLICIES, &[("anne", "reader", "2")]).await;
    let token = client_of(&running, "anne").await;
    let token = token.token().expect("signed in").clone();
    let mut fuzz = Fuzz {
        random: SmallRng::seed_from_u64(seed),
        corpus: corpus(),
        client: FlightServiceClient::with_interceptor(running.channel.clone(), Headers(token)),
        captured: Vec::new(),
    };

    let started = Instant::now();
    let mut halfway = None;
    let (mut made, mut answered) = (0, 0);
    while calls.map_or(started.elapsed() < MINUTE, |calls| made < calls) {
        let call = fuzz.call();
        let told = format!("call {made} of seed {seed}: {call:?}");
        let outcome = tokio::time::timeout(PATIENCE, fuzz.make(call)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Status::unknown("no answer")));
        if let Err(status) = &outcome {
            let broken = [
                Code::Internal,
                Code::Unknown,
                Code::Unavailable,
                Code::DataLoss,
            ];
            assert!(!broken.contains(&status.code()), "{told}: {status:?}");
            assert!(!status.message().is_empty(), "{told}");
        }
        answered += u64::from(outcome.is_ok());
        made += 1;
        if calls.is_some_and(|calls| made == calls / 2) {
            halfway = Some(resident());
        }
    }
    let rate = made as f64 / started.elapsed().as_secs_f64();
    println!("seed {seed}: {made} calls, {answered} answered well, {rate:.0} a second");
    assert!(
        answered > made / 50,
        "the texts are mostly wrong: {answered} of {made}"
    );
    still_serves(&running).await;
    if let Some(before) = halfway.filter(|_| made >= LONG_RUN) {
        let after = resident();
        println!("{before} bytes halfway, {after} at the end");
        assert!(
            after < before + GROWTH_BYTES,
            "{before} bytes, then {after}"
        );
    }
}

/// A whole answer, and nothing left of the statements before.
async fn still_serves(running: &Running) {
    let mut client = client_of(running, "anne").await;
    let info = client.execute("SELECT 1 AS n".to_owned(), None).await;
    let batches = super::fetch(&mut client, info.expect("plans")).await;
    assert_eq!(super::rows(&batches.expect("answers")), 1);
    let sql = "SELECT query_id FROM system.queries WHERE state IN ('running', 'queued') AND memory_bytes > 1000000";
    let info = client.execute(sql.to_owned(), None).await;
    let left = super::fetch(&mut client, info.expect("plans")).await;
    assert_eq!(super::rows(&left.expect("answers")), 0);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}

struct Fuzz {
    random: SmallRng,
    corpus: Vec<String>,
    client: Raw,
    /// Handles and tickets that the server gave.
    captured: Vec<Bytes>,
}

/// One call, and what it sends.
#[derive(Debug)]
enum Call {
    Query(String),
    Prepare(String),
    Info(Bytes),
    Get(Bytes),
    Put(Vec<FlightData>),
    Act(Action),
    SignIn(Bytes),
    List(Bytes),
}

impl Fuzz {
    fn call(&mut self) -> Call {
        match self.random.random_range(0..20) {
            0..9 => Call::Query(self.statement()),
            9..11 => Call::Prepare(self.statement()),
            11..13 => Call::Info(self.command()),
            13..15 => Call::Get(self.ticket()),
            15..17 => Call::Put(self.upload()),
            17..19 => Call::Act(self.action()),
            _ => match self.random.random() {
                true => Call::SignIn(self.noise()),
                false => Call::List(self.noise()),
            },
        }
    }

    async fn make(&mut self, call: Call) -> Result<(), Status> {
        match call {
            Call::Query(query) => {
                let query = CommandStatementQuery {
                    query,
                    transaction_id: None,
                };
                let info = self.info(query.as_any().encode_to_vec().into()).await?;
                let ticket = info
                    .endpoint
                    .into_iter()
                    .find_map(|endpoint| endpoint.ticket);
                self.get(ticket.unwrap_or_default().ticket).await
            }
            Call::Prepare(query) => {
                let request = ActionCreatePreparedStatementRequest {
                    query,
                    transaction_id: None,
                };
                let body = request.as_any().encode_to_vec();
                self.act(Action::new("CreatePreparedStatement", body)).await
            }
            Call::Info(command) => self.info(command).await.map(drop),
            Call::Get(ticket) => self.get(ticket).await,
            Call::Put(upload) => {
                let answers = self.client.do_put(tokio_stream::iter(upload)).await?;
                drained(answers.into_inner()).await
            }
            Call::Act(action) => self.act(action).await,
            Call::SignIn(payload) => {
                let request = HandshakeRequest {
                    protocol_version: self.random.random(),
                    payload,
                };
                let answers = self.client.handshake(tokio_stream::iter([request])).await?;
                drained(answers.into_inner()).await
            }
            Call::List(expression) => {
                let answers = self.client.list_flights(Criteria { expression }).await?;
                drained(answers.into_inner()).await
            }
        }
    }

    async fn info(&mut self, command: Bytes) -> Result<FlightInfo, Status> {
        let descriptor = FlightDescriptor::new_cmd(command);
        let info = self.client.get_flight_info(descriptor).await?.into_inner();
        let tickets = info.endpoint.iter().filter_map(|end| end.ticket.clone());
        for ticket in tickets {
            self.capture(ticket.ticket);
        }
        Ok(info)
    }

    async fn get(&mut self, ticket: Bytes) -> Result<(), Status> {
        let answers = self.client.do_get(Ticket { ticket }).await?;
        drained(answers.into_inner()).await
    }

    async fn act(&mut self, action: Action) -> Result<(), Status> {
        let mut answers = self.client.do_action(action).await?.into_inner();
        while let Some(answer) = answers.try_next().await? {
            self.capture(answer.body);
        }
        Ok(())
    }

    fn capture(&mut self, bytes: Bytes) {
        if self.captured.len() == 64 {
            let nth = self.random.random_range(0..64);
            self.captured.swap_remove(nth);
        }
        self.captured.push(bytes);
    }

    /// A statement of the corpus with some of its words changed, taken away, doubled or exchanged for others'.
    fn statement(&mut self) -> String {
        let mut words = words(self.one());
        for _ in 0..self.random.random_range(0..6) {
            if words.is_empty() {
                break;
            }
            let at = self.random.random_range(0..words.len());
            match self.random.random_range(0..6) {
                0 => drop(words.remove(at)),
                1 => words.insert(at, words[at].clone()),
                2 => words[at] = self.fragment(),
                3 => words.insert(at, self.fragment()),
                4 => {
                    let other = texts::words(self.one());
                    let from = self.random.random_range(0..=other.len());
                    words.truncate(at);
                    words.extend_from_slice(&other[from..]);
                }
                _ => {
                    let (open, close) = [("(", ")"), ("(SELECT ", ")"), ("{fn ", "}"), ("[", "]")]
                        .choose(&mut self.random)
                        .copied()
                        .unwrap_or_default();
                    words[at] = format!("{open}{}{close}", words[at]);
                }
            }
        }
        words.concat()
    }

    fn one(&mut self) -> &str {
        let nth = self.random.random_range(0..self.corpus.len());
        &self.corpus[nth]
    }

    fn fragment(&mut self) -> String {
        match self.random.random_range(0..8) {
            0 => self.random.random::<i64>().to_string(),
            1 => format!("{:e}", self.random.random::<f64>() * 1e300),
            2 => {
                let text: String = (0..self.random.random_range(0..8))
                    .map(|_| self.random.random::<char>())
                    .collect();
                format!("'{text}'")
            }
            _ => {
                let fragment = FRAGMENTS.choose(&mut self.random).copied();
                fragment.unwrap_or_default().to_owned()
            }
        }
    }

    /// A command of Flight SQL, with bytes changed or under another's name.
    fn command(&mut self) -> Bytes {
        let text = self.statement();
        let handle = self.ticket();
        let mut any = match self.random.random_range(0..8) {
            0 => CommandGetTables {
                catalog: Some(text.clone()),
                db_schema_filter_pattern: Some(self.fragment()),
                table_name_filter_pattern: Some(text),
                table_types: vec![self.fragment()],
                include_schema: self.random.random(),
            }
            .as_any(),
            1 => CommandGetDbSchemas {
                catalog: None,
                db_schema_filter_pattern: Some(
                    "%".repeat(self.random.random_range(0..500)) + &text,
                ),
            }
            .as_any(),
            2 => CommandGetSqlInfo {
                info: (0..20).map(|_| self.random.random()).collect(),
            }
            .as_any(),
            3 => CommandGetCrossReference {
                pk_table: text.clone(),
                fk_table: text,
                ..CommandGetCrossReference::default()
            }
            .as_any(),
            4 => CommandPreparedStatementQuery {
                prepared_statement_handle: handle,
            }
            .as_any(),
            5 => CommandStatementUpdate {
                query: text,
                transaction_id: Some(handle),
            }
            .as_any(),
            6 => ActionClosePreparedStatementRequest {
                prepared_statement_handle: handle,
            }
            .as_any(),
            _ => CommandStatementIngest {
                table: text,
                ..CommandStatementIngest::default()
            }
            .as_any(),
        };
        if self.random.random_ratio(1, 4) {
            any.value = self.noise();
        }
        if self.random.random_ratio(1, 8) {
            any.type_url = format!("type.googleapis.com/{}", self.fragment());
        }
        self.damaged(any.encode_to_vec())
    }

    /// One that the server gave, whole or damaged, or noise.
    fn ticket(&mut self) -> Bytes {
        let known = self.captured.choose(&mut self.random).cloned();
        match (known, self.random.random_range(0..4)) {
            (Some(known), 0) => known,
            (Some(known), 1) => self.damaged(known.to_vec()),
            (Some(known), 2) => {
                let ticket = TicketStatementQuery {
                    statement_handle: known,
                };
                self.damaged(ticket.as_any().encode_to_vec())
            }
            _ => self.noise(),
        }
    }

    fn upload(&mut self) -> Vec<FlightData> {
        let command = self.command();
        let messages = self.random.random_range(1..5);
        (0..messages)
            .map(|nth| FlightData {
                flight_descriptor: (nth == 0).then(|| FlightDescriptor::new_cmd(command.clone())),
                data_header: self.noise(),
                app_metadata: self.noise(),
                data_body: self.noise(),
            })
            .collect()
    }

    fn action(&mut self) -> Action {
        let known = ACTIONS.choose(&mut self.random).map(|(name, _)| *name);
        let name = match self.random.random_ratio(1, 10) {
            true => self.fragment(),
            false => known.unwrap_or_default().to_owned(),
        };
        let body = match self.random.random_range(0..3) {
            0 => self.noise(),
            1 => self.command(),
            _ => self.ticket(),
        };
        Action::new(name, body)
    }

    fn noise(&mut self) -> Bytes {
        let bytes = self.random.random_range(0..200);
        (0..bytes).map(|_| self.random.random::<u8>()).collect()
    }

    fn damaged(&mut self, mut bytes: Vec<u8>) -> Bytes {
        for _ in 0..self.random.random_range(0..4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.random.random_range(0..bytes.len());
            match self.random.random_range(0..3) {
                0 => bytes[at] = self.random.random(),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, self.random.random()),
            }
        }
        bytes.into()
    }
}

async fn drained<T>(
    mut answers: impl futures::Stream<Item = Result<T, Status>> + Unpin,
) -> Result<(), Status> {
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}
