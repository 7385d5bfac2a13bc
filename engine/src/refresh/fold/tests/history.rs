//! Random histories of a source, sent as Debezium may send them, beside a model that reads them in one pass.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// What happens in the source.
#[derive(Debug, Clone)]
enum Step {
    Insert {
        id: i64,
        n: &'static str,
        t: u8,
    },
    /// Without `t`: the change left it as it was, and the log does not say it.
    Update {
        id: i64,
        n: &'static str,
        t: Option<u8>,
    },
    Delete {
        id: i64,
    },
    Rename {
        from: i64,
        to: i64,
    },
    Truncate,
    Snapshot,
    /// Another log begins, whose positions are lower.
    Restore,
}

/// How the events of a history arrive.
#[derive(Debug, Clone)]
struct Delivery {
    /// Stretches that are sent again: where, and how long.
    repeats: Vec<(Index, u8)>,
    swaps: Vec<(Index, Index)>,
    /// Events a commit.
    cuts: Vec<u8>,
    /// Commits a turn.
    turns: u8,
    /// Whether events are folded in files.
    in_files: Vec<bool>,
    /// Whether the process ends after a turn.
    ends: Vec<bool>,
    /// Whether a message has its schema around it.
    wrapped: Vec<bool>,
    /// Whether a message without value follows a delete.
    tombstones: bool,
    partitions: i32,
}

/// One event, as the model reads it.
#[derive(Debug, Clone)]
struct Told {
    generation: i64,
    lsn: i64,
    op: &'static str,
    id: i64,
    n: &'static str,
    t: Option<String>,
}

type Rows = BTreeMap<i64, (&'static str, Option<String>)>;

fn step() -> impl Strategy<Value = Step> {
    let id = 0..5i64;
    let n = prop::sample::select(vec!["1", "7", "42", "500", "-3", "\"x\""]);
    prop_oneof![
        4 => (id.clone(), n.clone(), 0..9u8).prop_map(|(id, n, t)| Step::Insert { id, n, t }),
        6 => (id.clone(), n, prop::option::of(0..9u8)).prop_map(|(id, n, t)| Step::Update { id, n, t }),
        2 => id.clone().prop_map(|id| Step::Delete { id }),
        1 => (id.clone(), id).prop_map(|(from, to)| Step::Rename { from, to }),
        1 => Just(Step::Truncate),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restore),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (
        prop::collection::vec((any::<Index>(), 1..6u8), 0..4),
        prop::collection::vec((any::<Index>(), any::<Index>()), 0..12),
        prop::collection::vec(1..9u8, 1..6),
        1..4u8,
        [flags(), flags(), flags()],
        any::<bool>(),
        1..4i32,
    )
        .prop_map(
            |(repeats, swaps, cuts, turns, [in_files, ends, wrapped], tombstones, partitions)| {
                Delivery {
                    repeats,
                    swaps,
                    cuts,
                    turns,
                    in_files,
                    ends,
                    wrapped,
                    tombstones,
                    partitions,
                }
            },
        )
}

fn flags() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..5)
}

/// The events that the source sends, and its rows in the end.
fn play(steps: &[Step]) -> (Vec<Told>, Rows) {
    let mut source = Source::default();
    steps.iter().for_each(|step| source.take(step));
    (source.events, source.rows)
}

#[derive(Default)]
struct Source {
    events: Vec<Told>,
    rows: Rows,
    generation: i64,
    lsn: i64,
}

impl Source {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Insert { id, n, t } if !self.rows.contains_key(id) => {
                self.put("c", *id, n, Some(format!("t{t}")));
            }
            Step::Update { id, n, t } if self.rows.contains_key(id) => {
                self.put("u", *id, n, t.map(|t| format!("t{t}")));
            }
            Step::Delete { id } if self.rows.contains_key(id) => self.delete(*id),
            Step::Rename { from, to } if from != to && !self.rows.contains_key(to) => {
                if let Some((n, t)) = self.rows.get(from).cloned() {
                    self.delete(*from);
                    self.put("c", *to, n, t);
                }
            }
            Step::Truncate => {
                self.rows.clear();
                self.tell("t", 0, "0", None);
            }
            Step::Snapshot => {
                for (id, (n, t)) in self.rows.clone() {
                    self.put("r", id, n, t);
                }
            }
            Step::Restore => {
                self.generation += 1;
                self.lsn = 0;
            }
            _ => {}
        }
    }

    fn put(&mut self, op: &'static str, id: i64, n: &'static str, t: Option<String>) {
        let known = self.rows.get(&id).and_then(|(_, t)| t.clone());
        self.rows.insert(id, (n, t.clone().or(known)));
        let unknown = || UNKNOWN.to_owned();
        self.tell(op, id, n, Some(t.unwrap_or_else(unknown)));
    }

    fn delete(&mut self, id: i64) {
        self.rows.remove(&id);
        self.tell("d", id, "0", None);
    }

    fn tell(&mut self, op: &'static str, id: i64, n: &'static str, t: Option<String>) {
        self.lsn += 1;
        self.events.push(Told {
            generation: self.generation,
            lsn: self.lsn,
            op,
            id,
            n,
            t,
        });
    }
}

/// The events in the order in which they arrive.
fn deliver(events: &[Told], delivery: &Delivery) -> Vec<Told> {
    let mut sent = events.to_vec();
    for (from, length) in &delivery.repeats {
        if !sent.is_empty() {
            let from = from.index(sent.len());
            let to = (from + usize::from(*length)).min(sent.len());
            let again = sent[from..to].to_vec();
            sent.splice(to..to, again);
        }
    }
    for (a, b) in &delivery.swaps {
        if !sent.is_empty() {
            let (a, b) = (a.index(sent.len()), b.index(sent.len()));
            sent.swap(a, b);
        }
    }
    sent
}

/// The rows after these events, in one pass in the order of the source's log.
fn model(arrived: &[Told]) -> Rows {
    let mut events: Vec<(usize, &Told)> = arrived.iter().enumerate().collect();
    events.sort_by_key(|(offset, event)| (event.generation, event.lsn, *offset));
    let mut rows = Rows::new();
    for (_, event) in events {
        match event.op {
            "t" => rows.clear(),
            "d" => {
                rows.remove(&event.id);
            }
            _ => {
                let t = match event.t.as_deref() {
                    Some(UNKNOWN) => rows.get(&event.id).and_then(|(_, t)| t.clone()),
                    t => t.map(str::to_owned),
                };
                rows.insert(event.id, (event.n, t));
            }
        }
    }
    rows
}

/// An event as it is sent, in the partition of its key.
fn sent(told: &Told, delivery: &Delivery, is_wrapped: bool) -> Vec<Message> {
    let t = serde_json::json!(told.t);
    let row = format!(r#"{{"id":{},"n":{},"t":{t}}}"#, told.id, told.n);
    let plain = event(told.lsn, told.op, &row);
    let with_schema = |payload| format!(r#"{{"schema":{{"type":"struct"}},"payload":{payload}}}"#);
    let message = Message {
        generation: told.generation,
        partition: i32::try_from(told.id).unwrap_or(0) % delivery.partitions,
        value: match is_wrapped {
            true => plain.value.map(with_schema),
            false => plain.value,
        },
        ..plain
    };
    let tombstone = (told.op == "d" && delivery.tombstones).then(|| Message {
        lsn: None,
        op: String::new(),
        value: None,
        key: Some(format!(r#"{{"id":{}}}"#, told.id)),
        ..message.clone()
    });
    [message].into_iter().chain(tombstone).collect()
}

/// What readers see of the rows, and what is kept aside: the rule by id.
fn expected(rows: &Rows) -> (Vec<String>, Vec<String>) {
    let mut seen = Vec::new();
    let mut aside = Vec::new();
    for (id, (n, t)) in rows {
        match n.parse::<i64>() {
            Err(_) => aside.push(format!("{id},evaluation")),
            Ok(n) if n >= 100 => aside.push(format!("{id},small")),
            Ok(n) if n <= 0 => {}
            Ok(n) => seen.push(format!("{id},{n},{}", t.as_deref().unwrap_or("-"))),
        }
    }
    (seen, aside)
}

async fn check(steps: &[Step], delivery: &Delivery) -> Result<(), TestCaseError> {
    let (events, truth) = play(steps);
    let arrived = deliver(&events, delivery);
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    let mut cuts = delivery.cuts.iter().cycle();
    let mut in_files = delivery.in_files.iter().cycle();
    let mut ends = delivery.ends.iter().cycle();
    let mut wrapped = delivery.wrapped.iter().cycle();
    let mut done = 0;
    while done < arrived.len() {
        for _ in 0..delivery.turns {
            let cut = usize::from(*cuts.next().unwrap_or(&1));
            let next = (done + cut).min(arrived.len());
            let events = arrived[done..next].iter().zip(&mut wrapped);
            let messages = events.flat_map(|(told, wrapped)| sent(told, delivery, *wrapped));
            let messages: Vec<Message> = messages.collect();
            if !messages.is_empty() {
                world.append(&messages).await;
            }
            done = next;
        }
        refresher.config.memory_limit_bytes = match in_files.next() {
            Some(true) => 0,
            _ => 1 << 30,
        };
        refresher.turn().await.expect("a turn");
        let (seen, aside) = expected(&model(&arrived[..done]));
        prop_assert_eq!(things(&world).await, seen, "after {} events", done);
        let rules = "SELECT id, rule FROM silver.things__quarantine ORDER BY id";
        prop_assert_eq!(world.rows(rules).await, aside, "after {} events", done);
        if ends.next() == Some(&true) {
            drop(refresher);
            refresher = world.refresher().await;
        }
    }
    prop_assert_eq!(model(&arrived), truth, "the model is the source");
    Ok(())
}

/// `SPORTLAKE_FOLD_CASES` cases from `SPORTLAKE_FOLD_SEED`; as many again from each next seed until
/// `SPORTLAKE_FOLD_SECONDS` have passed.
#[test]
fn any_history_in_any_delivery_gives_the_rows_of_the_source() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let cases = u32::try_from(number("SPORTLAKE_FOLD_CASES", 20)).unwrap_or(u32::MAX);
    let enough = Duration::from_secs(number("SPORTLAKE_FOLD_SECONDS", 60));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let started = Instant::now();
    for (round, seed) in (number("SPORTLAKE_FOLD_SEED", 1)..).enumerate() {
        check_cases(cases, seed, &runtime);
        let done = (round as u64 + 1) * u64::from(cases);
        println!("{done} histories, the last from seed {seed}: no counterexample");
        if started.elapsed() >= enough {
            break;
        }
    }
}

fn check_cases(cases: u32, seed: u64, runtime: &Runtime) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let histories = (prop::collection::vec(step(), 1..30), delivery());
    TestRunner::new_with_rng(config, rng)
        .run(&histories, |(steps, delivery)| {
            runtime.block_on(check(&steps, &delivery))
        })
        .unwrap_or_else(|failure| panic!("from seed {seed}: {failure}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_generation_wins_whatever_its_positions() {
    let steps = [
        Step::Insert {
            id: 1,
            n: "1",
            t: 1,
        },
        Step::Update {
            id: 1,
            n: "7",
            t: Some(2),
        },
        Step::Insert {
            id: 2,
            n: "1",
            t: 3,
        },
        Step::Restore,
        Step::Update {
            id: 1,
            n: "42",
            t: None,
        },
        Step::Delete { id: 2 },
    ];
    let delivery = Delivery {
        repeats: Vec::new(),
        swaps: Vec::new(),
        cuts: vec![2],
        turns: 1,
        in_files: vec![false],
        ends: vec![false],
        wrapped: vec![false],
        tombstones: true,
        partitions: 2,
    };
    check(&steps, &delivery).await.expect("the source's rows");
    let (events, _) = play(&steps);
    assert_eq!((events[3].generation, events[3].lsn), (1, 1));
}
