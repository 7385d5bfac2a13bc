//! The statements that wait, run or ended lately: what `system.queries` shows, and what cancels and kills.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::{Clock, Error, ErrorKind, QueryRow, QueryState, Result, StatementMemory};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::audit::{Asked, Audit};
use crate::metrics::{self, Outcome};
use crate::traces::{Stage, Stages};

/// Tickets that were cancelled before they were used, remembered at most.
const CANCELLED_KEPT: usize = 1024;

/// Longest text of a statement that is kept, bytes.
const LONGEST: usize = 4096;

/// Bits of an id, so that clients that read numbers as doubles read it whole.
const ID_BITS: u32 = 53;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Running(Arc<Kept>);

struct Kept {
    next_id: AtomicU64,
    history: usize,
    clock: Clock,
    audit: Audit,
    statements: Mutex<Statements>,
}

#[derive(Default)]
struct Statements {
    running: Vec<Arc<Query>>,
    /// The oldest first.
    ended: VecDeque<Arc<Query>>,
    /// Tickets of statements that must not start, from the oldest.
    cancelled: VecDeque<u64>,
}

/// Why a statement has to end before its result does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It took this many seconds.
    Late(u64),
    /// Nobody read its result for this many seconds.
    Unread(u64),
    Stopping,
    Cancelled,
    Killed,
}

impl Cut {
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Late(seconds) => Error::new(
                ErrorKind::DeadlineExceeded,
                format!("the statement was stopped after {seconds} seconds"),
            )
            .hint("Ask for less. The smallest of flight.statement_timeout_seconds, that of your roles and the option timeout_seconds holds."),
            Self::Unread(seconds) => Error::new(
                ErrorKind::DeadlineExceeded,
                format!("the statement was stopped: nobody read its result for {seconds} seconds"),
            )
            .hint("Run it again and read it to the end, or raise flight.unread_seconds."),
            Self::Stopping => Error::new(ErrorKind::Unavailable, "the server is stopping")
                .hint("Run the statement again when the server is back."),
            Self::Cancelled => Error::new(ErrorKind::Cancelled, "the statement was cancelled")
                .hint("Whoever holds its ticket can cancel it; run it again."),
            Self::Killed => Error::new(ErrorKind::Cancelled, "the statement was ended by KILL")
                .hint("Its user or an operator did that; run it again."),
        }
    }
}

/// One execution of a statement.
pub(crate) struct Query {
    id: u64,
    user: String,
    client: String,
    /// The text, shortened: that of statements that ended long ago must not fill the memory.
    statement: String,
    session: Option<String>,
    is_page: bool,
    epoch: u64,
    arrived_at: i64,
    arrived: Instant,
    progress: Mutex<Progress>,
    rows: AtomicU64,
    bytes: AtomicU64,
    pub(crate) memory: StatementMemory,
    cut: OnceLock<Cut>,
    over: CancellationToken,
}

#[derive(Default)]
struct Progress {
    admitted: Option<Instant>,
    ended: Option<Ended>,
    stages: Stages,
}

struct Ended {
    at: Instant,
    state: QueryState,
    error: Option<ErrorKind>,
}

/// A statement that runs until this is dropped; then its client went away.
pub(crate) struct Run {
    pub(crate) query: Arc<Query>,
    asked: Asked,
    running: Running,
}

/// What is known of a statement when it arrives.
pub(crate) struct Arrival {
    pub(crate) id: u64,
    pub(crate) asked: Asked,
    pub(crate) session: Option<String>,
    pub(crate) epoch: u64,
    pub(crate) memory: StatementMemory,
    /// The trace of its ticket.
    pub(crate) trace: String,
    pub(crate) is_page: bool,
}

impl Running {
    /// `first_id` differs from start to start, so that the ids of tickets do too. The last `history` statements stay known.
    pub(crate) fn new(first_id: u64, history: usize, clock: Clock, audit: Audit) -> Self {
        Self(Arc::new(Kept {
            next_id: AtomicU64::new(first_id >> (u64::BITS - ID_BITS)),
            history,
            clock,
            audit,
            statements: Mutex::default(),
        }))
    }

    /// The id of a new ticket.
    pub(crate) fn id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a ticket is used; one that was cancelled ends at once.
    pub(crate) fn start(&self, arrival: Arrival) -> Run {
        metrics::observe_statements_queued(1);
        let stages = Stages::begin(
            arrival.id,
            &arrival.asked.user,
            arrival.epoch,
            &arrival.trace,
        );
        let query = Arc::new(Query {
            id: arrival.id,
            user: arrival.asked.user.clone(),
            client: arrival.asked.from.to_string(),
            statement: shortened(&arrival.asked.sql).to_owned(),
            session: arrival.session,
            is_page: arrival.is_page,
            epoch: arrival.epoch,
            arrived_at: (self.0.clock)().timestamp_micros(),
            arrived: Instant::now(),
            progress: Mutex::new(Progress {
                stages,
                ..Progress::default()
            }),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            memory: arrival.memory,
            cut: OnceLock::new(),
            over: CancellationToken::new(),
        });
        let mut statements = self.0.statements.lock();
        if statements.cancelled.contains(&query.id) {
            query.cut(Cut::Cancelled);
        }
        statements.running.push(query.clone());
        Run {
            query,
            asked: arrival.asked,
            running: self.clone(),
        }
    }

    /// Ends a statement, now or as soon as it starts.
    pub(crate) fn cancel(&self, id: u64) {
        let mut statements = self.0.statements.lock();
        for query in statements.running.iter().filter(|query| query.id == id) {
            query.cut(Cut::Cancelled);
        }
        statements.cancelled.push_back(id);
        if statements.cancelled.len() > CANCELLED_KEPT {
            statements.cancelled.pop_front();
        }
    }

    /// Whether a statement that is known is somebody's own.
    pub(crate) fn is_of(&self, id: u64, user: &str) -> bool {
        let statements = self.0.statements.lock();
        let mut known = statements.running.iter().chain(&statements.ended);
        known.any(|query| query.id == id && query.user == user)
    }

    /// Ends a statement that runs or waits, and tells its state. To kill again what has ended changes nothing.
    ///
    /// # Errors
    /// `NotFound` for an id that is not known.
    pub(crate) fn kill(&self, id: u64) -> Result<QueryState> {
        let statements = self.0.statements.lock();
        let running = statements.running.iter();
        let mut state = None;
        for query in running.filter(|query| query.id == id) {
            query.cut(Cut::Killed);
            state = Some(QueryState::Cancelled);
        }
        let ended = statements.ended.iter().rev();
        let ended = ended
            .filter(|query| query.id == id)
            .map(|query| query.state())
            .next();
        state.or(ended).ok_or_else(|| unknown(id))
    }

    /// Every statement that is known, those that run first, the newest first.
    pub(crate) fn rows(&self) -> Vec<QueryRow> {
        let (running, ended): (Vec<_>, Vec<_>) = {
            let statements = self.0.statements.lock();
            (
                statements.running.iter().rev().cloned().collect(),
                statements.ended.iter().rev().cloned().collect(),
            )
        };
        running
            .iter()
            .chain(&ended)
            .map(|query| query.row())
            .collect()
    }
}

/// The one answer for an id that is not there and one that is of somebody else.
pub(crate) fn unknown(id: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no query {id}"))
        .hint("system.queries names those that run and have run lately; you may end your own.")
}

impl Query {
    /// Whether a page asked the same again, of both of which nothing is to be told.
    fn is_repeated_by(&self, next: &Self) -> bool {
        let same = |query: &Self| (query.is_page, query.state());
        same(self) == (true, QueryState::Finished)
            && same(next) == same(self)
            && (&self.user, &self.client, &self.statement)
                == (&next.user, &next.client, &next.statement)
    }

    /// Says why the statement has to end. The first reason holds.
    pub(crate) fn cut(&self, cut: Cut) {
        let _ = self.cut.set(cut);
        self.over.cancel();
    }

    /// Resolves when the statement has to end, with the reason.
    pub(crate) async fn is_cut(&self) -> Cut {
        self.over.cancelled().await;
        self.cut.get().copied().unwrap_or(Cut::Cancelled)
    }

    /// Counts rows that were made for the client; how many there are in all.
    pub(crate) fn made(&self, rows: usize) -> u64 {
        let rows = rows as u64;
        self.rows.fetch_add(rows, Ordering::Relaxed) + rows
    }

    /// Counts bytes that are sent; how many there are in all.
    pub(crate) fn sent(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    fn state(&self) -> QueryState {
        let progress = self.progress.lock();
        match (&progress.ended, self.cut.get(), progress.admitted) {
            (Some(ended), ..) => ended.state,
            (None, Some(cut), _) => failed(cut.error().kind()),
            (None, None, Some(_)) => QueryState::Running,
            (None, None, None) => QueryState::Queued,
        }
    }

    fn row(&self) -> QueryRow {
        let state = self.state();
        let progress = self.progress.lock();
        let until = progress
            .ended
            .as_ref()
            .map_or_else(Instant::now, |ended| ended.at);
        let since = progress.admitted.unwrap_or(until);
        let error = match &progress.ended {
            Some(ended) => ended.error,
            None => self.cut.get().map(|cut| cut.error().kind()),
        };
        QueryRow {
            query_id: self.id,
            user: self.user.clone(),
            client: self.client.clone(),
            session: self.session.clone(),
            statement: self.statement.clone(),
            state,
            started: self.arrived_at,
            queue_seconds: since.duration_since(self.arrived).as_secs_f64(),
            seconds: until.duration_since(since).as_secs_f64(),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            memory_bytes: self.memory.reserved() as u64,
            epoch: self.epoch,
            error,
        }
    }
}

impl Run {
    /// The plan is there, and the statement waits for its turn.
    pub(crate) fn planned(&self) {
        self.query.progress.lock().stages.enter(Stage::Queue);
    }

    /// It is the statement's turn.
    pub(crate) fn admitted(&self) {
        let now = Instant::now();
        {
            let mut progress = self.query.progress.lock();
            progress.admitted = Some(now);
            progress.stages.enter(Stage::Run);
        }
        metrics::observe_statements_queued(-1);
        metrics::observe_statement_started(now.duration_since(self.query.arrived));
    }

    /// Its rows can be read.
    pub(crate) fn streams(&self) {
        self.query.progress.lock().stages.enter(Stage::Stream);
    }

    pub(crate) fn finished(&self) {
        self.end(Outcome::Ok, QueryState::Finished, None);
    }

    pub(crate) fn failed(&self, kind: ErrorKind) {
        let outcome = match kind {
            ErrorKind::Cancelled => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        self.end(outcome, failed(kind), Some(kind));
    }

    /// The client went away before the last row.
    pub(crate) fn abandoned(&self) {
        let error = Some(ErrorKind::Cancelled);
        self.end(Outcome::Abandoned, QueryState::Cancelled, error);
    }

    /// The first end of a statement is the one that is told.
    fn end(&self, outcome: Outcome, state: QueryState, error: Option<ErrorKind>) {
        let at = Instant::now();
        let rows = self.query.rows.load(Ordering::Relaxed);
        let bytes = self.query.bytes.load(Ordering::Relaxed);
        let admitted = {
            let mut progress = self.query.progress.lock();
            if progress.ended.is_some() {
                return;
            }
            progress.ended = Some(Ended { at, state, error });
            progress.stages.end(outcome, error, rows, bytes);
            progress.admitted
        };
        let took = at.duration_since(self.query.arrived);
        match admitted {
            Some(_) => metrics::observe_statement_running(-1),
            None => metrics::observe_statements_queued(-1),
        }
        metrics::observe_statement(outcome, took);
        let kept = &self.running.0;
        kept.audit
            .ended(&self.asked, Some(rows), took, outcome.label());
        tracing::debug!(?outcome, ?took, "statement ended");
        let mut statements = kept.statements.lock();
        statements
            .running
            .retain(|query| !Arc::ptr_eq(query, &self.query));
        // An open page would leave room for nothing but itself.
        if self.query.is_page {
            let ended = &mut statements.ended;
            ended.retain(|known| !known.is_repeated_by(&self.query));
        }
        statements.ended.push_back(self.query.clone());
        while statements.ended.len() > kept.history {
            statements.ended.pop_front();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.abandoned();
    }
}

fn failed(kind: ErrorKind) -> QueryState {
    match kind {
        ErrorKind::Cancelled => QueryState::Cancelled,
        _ => QueryState::Failed,
    }
}

fn shortened(sql: &str) -> &str {
    match sql.len() <= LONGEST {
        true => sql,
        false => &sql[..sql.floor_char_boundary(LONGEST)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who asks with a page in these tests.
    const PAGE: &str = "a page";

    fn running(history: usize) -> Running {
        let clock: Clock = Arc::new(|| chrono::DateTime::UNIX_EPOCH);
        Running::new(u64::MAX << 16, history, clock, Audit::none())
    }

    fn start(running: &Running, id: u64, user: &str) -> Run {
        running.start(Arrival {
            id,
            asked: Asked {
                user: user.to_owned(),
                from: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
                sql: "SELECT 1".to_owned(),
                epoch: Some(1),
            },
            session: None,
            epoch: 1,
            memory: engine::Memory::new(1 << 20, 1).share(),
            trace: String::new(),
            is_page: user == PAGE,
        })
    }

    fn states(running: &Running) -> Vec<(u64, &'static str)> {
        let rows = running.rows().into_iter();
        rows.map(|row| (row.query_id, row.state.as_str())).collect()
    }

    #[tokio::test]
    async fn a_statement_is_cancelled_while_it_runs_and_before() {
        let running = running(10);
        let (first, second) = (running.id(), running.id());
        assert_ne!(first, second);
        let (one, other) = (
            start(&running, first, "anne"),
            start(&running, second, "anne"),
        );
        running.cancel(first);
        assert_eq!(one.query.is_cut().await, Cut::Cancelled);
        assert!(!other.query.over.is_cancelled());
        drop((one, other));
        assert!(running.0.statements.lock().running.is_empty());
        let third = running.id();
        running.cancel(third);
        let late = start(&running, third, "anne");
        assert_eq!(late.query.is_cut().await, Cut::Cancelled);
    }

    #[test]
    fn what_a_page_asks_again_and_again_is_kept_once() {
        let running = running(10);
        for user in ["anne", PAGE] {
            for _ in 0..3 {
                let id = running.id();
                start(&running, id, user).finished();
            }
        }
        drop(start(&running, running.id(), PAGE));
        let states: Vec<&str> = states(&running).iter().map(|(_, state)| *state).collect();
        assert_eq!(
            states,
            ["cancelled", "finished", "finished", "finished", "finished"]
        );
    }

    #[test]
    fn what_was_cancelled_is_not_remembered_for_ever() {
        let running = running(10);
        for id in 0..2 * CANCELLED_KEPT as u64 {
            running.cancel(id);
        }
        assert_eq!(running.0.statements.lock().cancelled.len(), CANCELLED_KEPT);
    }

    #[test]
    fn ids_are_numbers_that_a_double_holds() {
        let running = running(10);
        assert!(running.id() < 1 << ID_BITS);
    }

    #[test]
    fn a_statement_is_on_record_from_its_arrival_to_its_end() {
        let running = running(2);
        let runs: Vec<Run> = (1..=4).map(|id| start(&running, id, "anne")).collect();
        runs[1].admitted();
        runs[2].admitted();
        runs[2].finished();
        runs[2].failed(ErrorKind::Internal);
        runs[3].failed(ErrorKind::DeadlineExceeded);
        let expected = [
            (2, "running"),
            (1, "queued"),
            (4, "failed"),
            (3, "finished"),
        ];
        assert_eq!(states(&running), expected);
        assert_eq!(running.rows()[2].error, Some(ErrorKind::DeadlineExceeded));
        drop(runs);
        assert_eq!(states(&running), [(2, "cancelled"), (1, "cancelled")]);
    }

    #[test]
    fn a_kill_ends_what_runs_and_may_be_said_again() {
        let running = running(10);
        let run = start(&running, 7, "anne");
        assert!(running.is_of(7, "anne") && !running.is_of(7, "bob"));
        for _ in 0..2 {
            assert_eq!(running.kill(7).expect("known"), QueryState::Cancelled);
        }
        assert_eq!(states(&running), [(7, "cancelled")]);
        run.failed(ErrorKind::Cancelled);
        drop(run);
        assert_eq!(running.kill(7).expect("known"), QueryState::Cancelled);
        let error = running.kill(8).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let sql = format!("{}é", "x".repeat(LONGEST - 1));
        assert_eq!(shortened(&sql).len(), LONGEST - 1);
    }
}
