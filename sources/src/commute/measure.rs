use std::collections::{BTreeMap, BTreeSet};

use changes::{ChangeEvent, Clock, Error, ErrorKind, KafkaConfig, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use tracing::info;

use super::Communes;
use super::cache::{Cache, Said};
use super::config::{CommuteConfig, Key};
use super::estimate::{Flag, OFFICE, Position, SOURCE, estimate, great_circle_m, locate};
use super::inquiry::{Outcome, Question, ask, silent};
use super::provider::{Profile, Provider};
use crate::changelog::{Row, Rows};
use crate::diff::diff;
use crate::lsn::LsnAllocator;
use crate::publisher::Publisher;
use crate::spelling::plain;
use crate::topics::SourceTopic;

/// A commune reaches no further from its middle, in metres.
const REACH_M: f64 = 25_000.0;

/// A way by road is no longer than that many great circles, and what is lost at both ends.
const LONGEST_DETOUR: f64 = 2.5;

/// Answers after which the cache is saved: they may cost money.
const SAVED_EVERY: usize = 25;

/// Questions without an answer, one after the other, after which the provider counts as silent.
const PATIENCE: usize = 3;

#[derive(Debug, Clone, Copy, Default)]
pub struct MeasureOptions {
    /// Ask nobody and publish nothing; the report says what would be.
    pub dry_run: bool,
    /// Ask again about addresses that a provider had no way for.
    pub retry_flagged: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
}

/// One employee whose distance changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub employee_id: i64,
    pub distance_m: Option<f64>,
    pub source: String,
    pub flag: Option<String>,
}

#[derive(Debug, Default)]
pub struct MeasureReport {
    pub changed: Vec<Measured>,
    pub unchanged: usize,
    pub deleted: usize,
    /// Addresses and modes that the provider was asked about, or would be in a dry run.
    pub asked: usize,
    /// Employees whose way nobody measured, and why: it is estimated.
    pub unanswered: Vec<(i64, &'static str)>,
    /// Why it ended before everybody was measured.
    pub stopped: Option<Error>,
}

/// Measures what is not known yet, and publishes what differs from the topic. The topics must exist.
pub async fn measure(
    kafka: &KafkaConfig,
    allocator: &LsnAllocator,
    config: &CommuteConfig,
    key: Option<Key>,
    options: MeasureOptions,
    clock: Clock,
    tell: impl Fn(Progress),
) -> Result<MeasureReport> {
    config.validate()?;
    let provider = if options.dry_run {
        None
    } else {
        Provider::new(config, key)?
    };
    let employees = Rows::read(kafka, &SourceTopic::employees(kafka)?).await?;
    let topic = SourceTopic::commute_distances(kafka)?;
    let known = Rows::read(kafka, &topic).await?;
    if employees.rows.is_empty() {
        return Err(
            Error::new(ErrorKind::NotFound, "there are no employees yet")
                .hint("Bring them in with `sportlake hr import` first."),
        );
    }
    let cache = Cache::open(&config.cache);
    let mut survey = Survey::new(config, options, cache, &employees);
    survey
        .ask(
            provider.as_ref(),
            clock().timestamp_micros().cast_unsigned(),
            tell,
        )
        .await?;
    let now = clock();
    let after = survey.rows(&known.rows, now);
    let changes = diff(&known.rows, &after);
    let mut report = survey.report;
    for change in &changes {
        match &change.after {
            Some(row) => report.changed.push(measured(change.key, row)),
            None => report.deleted += 1,
        }
    }
    report.unchanged = after.len() - report.changed.len();
    if options.dry_run || changes.is_empty() {
        return Ok(report);
    }
    allocator
        .rise_above(known.last_lsn.max(employees.last_lsn))
        .await?;
    let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    let first = allocator.reserve(count).await?;
    let events: Vec<ChangeEvent> = changes
        .into_iter()
        .zip(first..)
        .map(|(change, lsn)| change.event(topic.key_column, lsn, now.timestamp_micros()))
        .collect();
    Publisher::connect(kafka)?
        .publish(&topic, &events, None)
        .await?;
    info!(published = events.len(), "published commute distances");
    Ok(report)
}

fn measured(employee_id: i64, row: &Row) -> Measured {
    let text = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
    Measured {
        employee_id,
        distance_m: row.get("distance_m").and_then(Value::as_f64),
        source: text("source").unwrap_or_default(),
        flag: text("flag"),
    }
}

/// How the distance of an employee is found out.
enum Wish {
    Known(Option<f64>, &'static str, Option<Flag>),
    Asked(Question),
}

struct Survey<'a> {
    config: &'a CommuteConfig,
    cache: Cache,
    wishes: BTreeMap<i64, (Value, Wish)>,
    questions: Vec<Question>,
    report: MeasureReport,
    /// Nobody is asked, so nobody lacks an answer.
    is_rehearsal: bool,
}

impl<'a> Survey<'a> {
    fn new(
        config: &'a CommuteConfig,
        options: MeasureOptions,
        cache: Cache,
        employees: &Rows,
    ) -> Self {
        let wishes: BTreeMap<i64, (Value, Wish)> = employees
            .rows
            .iter()
            .map(|(id, row)| {
                let mode = row.get("moyen_deplacement").cloned().unwrap_or_default();
                (*id, (mode.clone(), wish(config, row, mode.as_str())))
            })
            .collect();
        let mut keys = BTreeSet::new();
        let questions: Vec<Question> = wishes
            .values()
            .filter_map(|(_, wish)| match wish {
                Wish::Asked(question) => Some(question),
                Wish::Known(..) => None,
            })
            .filter(|question| match cache.get(&question.key) {
                Some(said) => options.retry_flagged && said.flag.is_some(),
                None => true,
            })
            .filter(|question| keys.insert(question.key.clone()))
            .cloned()
            .collect();
        Self {
            config,
            cache,
            wishes,
            is_rehearsal: options.dry_run,
            report: MeasureReport {
                asked: questions.len(),
                ..MeasureReport::default()
            },
            questions,
        }
    }

    /// Asks a few at a time, until all are answered or the provider refuses.
    async fn ask(
        &mut self,
        provider: Option<&Provider>,
        seed: u64,
        tell: impl Fn(Progress),
    ) -> Result<()> {
        let Some(provider) = provider else {
            return Ok(());
        };
        let config = self.config;
        let total = self.questions.len();
        let mut silence = 0;
        let mut done = 0;
        let questions = std::mem::take(&mut self.questions);
        let mut answers = stream::iter(questions.into_iter().zip(seed..))
            .map(|(question, seed)| async move {
                let rng = SmallRng::seed_from_u64(seed);
                let outcome = ask(provider, config, &question, rng).await;
                (question.key, outcome)
            })
            .buffer_unordered(config.parallel);
        while let Some((key, outcome)) = answers.next().await {
            done += 1;
            match outcome {
                Outcome::Said(said) => {
                    silence = 0;
                    self.cache.insert(key, said);
                    if done % SAVED_EVERY == 0 {
                        self.cache.save()?;
                    }
                }
                Outcome::None(reason) => {
                    silence += 1;
                    self.report
                        .unanswered
                        .extend(asking(&self.wishes, &key).map(|id| (id, reason)));
                    if silence == PATIENCE {
                        self.report.stopped = Some(silent(config.provider.as_str(), reason));
                        break;
                    }
                }
                Outcome::Lasting(error) => {
                    self.report.stopped = Some(error);
                    break;
                }
            }
            tell(Progress { done, total });
        }
        drop(answers);
        if done > 0 {
            let wanted: BTreeSet<&str> = keys(&self.wishes).collect();
            self.cache.keep(|key| wanted.contains(key));
            self.cache.save()?;
        }
        self.report.asked = done;
        Ok(())
    }

    /// The rows as they should be. Who lives where nobody has measured is estimated: an older distance is from elsewhere.
    fn rows(&self, known: &BTreeMap<i64, Row>, now: DateTime<Utc>) -> BTreeMap<i64, Row> {
        let mut rows = BTreeMap::new();
        for (id, (mode, wish)) in &self.wishes {
            let last = known.get(id);
            let (metres, source, flag) = match wish {
                Wish::Known(metres, source, flag) => (*metres, *source, *flag),
                Wish::Asked(question) => match (self.cache.get(&question.key), last) {
                    (Some(said), _) => {
                        let (metres, flag) = judged(said, question.commune);
                        (metres, self.config.provider.as_str(), flag)
                    }
                    (None, Some(last)) if self.is_rehearsal => {
                        rows.insert(*id, last.clone());
                        continue;
                    }
                    (None, None) if self.is_rehearsal => continue,
                    (None, _) => {
                        let estimate = estimate(Communes::bundled(), Some(&question.address));
                        (estimate.distance_m, SOURCE, estimate.flag)
                    }
                },
            };
            let row = row(*id, mode, metres, source, flag, now);
            let kept = last.filter(|last| is_same(&row, last)).cloned();
            rows.insert(*id, kept.unwrap_or(row));
        }
        rows
    }
}

fn asking<'a>(
    wishes: &'a BTreeMap<i64, (Value, Wish)>,
    key: &'a str,
) -> impl Iterator<Item = i64> + 'a {
    wishes.iter().filter_map(move |(id, (_, wish))| match wish {
        Wish::Asked(question) if question.key == key => Some(*id),
        _ => None,
    })
}

fn keys(wishes: &BTreeMap<i64, (Value, Wish)>) -> impl Iterator<Item = &str> {
    wishes.values().filter_map(|(_, wish)| match wish {
        Wish::Asked(question) => Some(question.key.as_str()),
        Wish::Known(..) => None,
    })
}

/// A provider is asked about those who come by sport, where the address names a commune that its answer can be held
/// against; the others are estimated.
fn wish(config: &CommuteConfig, row: &Row, mode: Option<&str>) -> Wish {
    let address = row.get("adresse").and_then(Value::as_str);
    let source = config.provider.as_str();
    let profile = mode.and_then(profile).filter(|_| source != SOURCE);
    let Some(profile) = profile else {
        let estimate = estimate(Communes::bundled(), address);
        return Wish::Known(estimate.distance_m, SOURCE, estimate.flag);
    };
    let address = address.unwrap_or_default();
    match locate(Communes::bundled(), address) {
        Err(flag) => Wish::Known(None, source, Some(flag)),
        Ok(commune) => Wish::Asked(Question {
            key: Cache::key(source, address, profile),
            address: address.to_owned(),
            profile,
            commune,
        }),
    }
}

fn profile(mode: &str) -> Option<Profile> {
    match plain(mode).split(' ').next() {
        Some("marche" | "running") => Some(Profile::Walking),
        Some("velo" | "trottinette") => Some(Profile::Cycling),
        _ => None,
    }
}

/// What is believed of an answer: not what is far from the commune that the address names.
fn judged(said: Said, commune: Position) -> (Option<f64>, Option<Flag>) {
    let Some(metres) = said.metres else {
        return (None, said.flag);
    };
    let direct = great_circle_m(commune, OFFICE);
    let possible = (direct - REACH_M)..=(direct * LONGEST_DETOUR + REACH_M);
    let is_far = said.away_m.is_some_and(|away| away > REACH_M);
    if is_far || !possible.contains(&metres) {
        return (None, Some(Flag::FarFromCommune));
    }
    (Some(metres), said.flag)
}

fn row(
    id: i64,
    mode: &Value,
    metres: Option<f64>,
    source: &str,
    flag: Option<Flag>,
    now: DateTime<Utc>,
) -> Row {
    [
        ("employee_id", json!(id)),
        ("moyen_deplacement", mode.clone()),
        ("distance_m", json!(metres)),
        ("source", json!(source)),
        ("flag", json!(flag.map(Flag::as_str))),
        (
            "computed_at",
            json!(now.to_rfc3339_opts(SecondsFormat::Micros, true)),
        ),
    ]
    .into_iter()
    .map(|(column, value)| (column.to_owned(), value))
    .collect()
}

fn is_same(one: &Row, other: &Row) -> bool {
    let get = |row: &Row, column| row.get(column).cloned().unwrap_or(Value::Null);
    ["moyen_deplacement", "distance_m", "source", "flag"]
        .iter()
        .all(|column| get(one, *column) == get(other, *column))
}
