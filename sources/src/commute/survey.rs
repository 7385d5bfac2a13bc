//! Which distances are known, which a provider is asked for, and what the rows should be.

use std::collections::{BTreeMap, BTreeSet};

use changes::{Clock, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::Communes;
use super::cache::{Cache, Said};
use super::config::{CommuteConfig, ProviderName};
use super::estimate::{Flag, SOURCE, estimate, locate};
use super::inquiry::{Limit, Outcome, Question, ask, refusing, silent};
use super::judgement::judged;
use super::measure::{MeasureOptions, MeasureReport, Progress};
use super::provider::{Profile, Provider};
use crate::changelog::{Row, Rows};
use crate::spelling::plain;

/// Answers after which the cache is saved: they may cost money.
const SAVED_EVERY: usize = 25;

/// Questions without an answer, one after the other, after which the provider counts as silent.
const PATIENCE: usize = 3;

/// Refusals, one after the other, after which it is not about the addresses.
const PATIENCE_WITH_REFUSALS: usize = 10;

/// Of those who were not asked about, or whose answer nobody waited for.
const OVER: &str = "asking ended before there was an answer";

/// Who measures ways.
const MEASURING: [ProviderName; 2] = [ProviderName::Google, ProviderName::OpenRouteService];

/// How the distance of an employee is found out.
enum Wish {
    Known(Option<f64>, &'static str, Option<Flag>),
    Asked(Question),
    /// Nobody is asked any more: what was measured before counts.
    Remembered(Question),
}

pub(super) struct Survey<'a> {
    config: &'a CommuteConfig,
    cache: Cache,
    wishes: BTreeMap<i64, (Value, Wish)>,
    questions: Vec<Question>,
    pub(super) report: MeasureReport,
    /// Nobody is asked, so nobody lacks an answer.
    is_rehearsal: bool,
}

impl<'a> Survey<'a> {
    fn new(
        config: &'a CommuteConfig,
        options: MeasureOptions,
        mut cache: Cache,
        employees: &Rows,
        known: &BTreeMap<i64, Row>,
    ) -> Self {
        let wishes: BTreeMap<i64, (Value, Wish)> = employees
            .rows
            .iter()
            .map(|(id, row)| {
                let mode = row.get("moyen_deplacement").cloned().unwrap_or_default();
                (*id, (mode.clone(), wish(config, row, mode.as_str())))
            })
            .collect();
        if cache.is_lost() {
            adopt(&mut cache, &wishes, known);
        }
        let mut keys = BTreeSet::new();
        let questions: Vec<Question> = wishes
            .values()
            .filter_map(|(_, wish)| match wish {
                Wish::Asked(question) => Some(question),
                Wish::Known(..) | Wish::Remembered(_) => None,
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

    /// Asks about what is not known yet; nobody without a provider.
    pub(super) async fn made(
        config: &'a CommuteConfig,
        provider: Option<&Provider>,
        options: MeasureOptions,
        employees: &Rows,
        known: &BTreeMap<i64, Row>,
        clock: &Clock,
        tell: impl Fn(Progress),
    ) -> Result<Self> {
        let cache = Cache::open(&config.cache);
        let mut survey = Self::new(config, options, cache, employees, known);
        let seed = clock().timestamp_micros().cast_unsigned();
        survey.ask(provider, seed, tell).await?;
        Ok(survey)
    }

    /// Asks a few at a time, until all are answered or the provider refuses.
    async fn ask(
        &mut self,
        provider: Option<&Provider>,
        seed: u64,
        tell: impl Fn(Progress),
    ) -> Result<()> {
        if self.cache.is_lost() && !self.is_rehearsal {
            self.cache.save()?;
        }
        let Some(provider) = provider else {
            return Ok(());
        };
        let config = self.config;
        let total = self.questions.len();
        let (mut silence, mut refusals) = (0, 0);
        let mut done = 0;
        let questions = std::mem::take(&mut self.questions);
        let keys_asked = questions.iter().map(|question| question.key.clone());
        let mut left: BTreeSet<String> = keys_asked.collect();
        let limit = &Limit::default();
        let mut answers = stream::iter(questions.into_iter().zip(seed..))
            .map(|(question, seed)| async move {
                let rng = SmallRng::seed_from_u64(seed);
                let outcome = ask(provider, config, &question, limit, rng).await;
                (question.key, outcome)
            })
            .buffer_unordered(config.parallel);
        while let Some((key, outcome)) = answers.next().await {
            done += 1;
            left.remove(&key);
            match outcome {
                Outcome::Said(said) => {
                    (silence, refusals) = (0, 0);
                    self.cache.insert(key, said);
                    if done % SAVED_EVERY == 0 {
                        self.cache.save()?;
                    }
                }
                Outcome::None(reason) => {
                    silence += 1;
                    self.leave_unanswered(&key, reason);
                    if silence == PATIENCE {
                        self.report.stopped = Some(silent(config.provider.as_str(), reason));
                        break;
                    }
                }
                Outcome::Refused(reason) => {
                    (silence, refusals) = (0, refusals + 1);
                    self.leave_unanswered(&key, reason);
                    if refusals == PATIENCE_WITH_REFUSALS {
                        self.report.stopped = Some(refusing(config.provider.as_str(), reason));
                        break;
                    }
                }
                Outcome::Lasting(error) => {
                    self.leave_unanswered(&key, &error.to_string());
                    self.report.stopped = Some(error);
                    break;
                }
            }
            tell(Progress { done, total });
        }
        drop(answers);
        if self.report.stopped.is_some() {
            for key in left {
                self.leave_unanswered(&key, OVER);
            }
        }
        self.report.unanswered.sort();
        if done > 0 {
            let wanted: BTreeSet<String> = keys(&self.wishes).collect();
            self.cache.keep(|key| wanted.contains(key));
            self.cache.save()?;
        }
        self.report.asked = done;
        Ok(())
    }

    fn leave_unanswered(&mut self, key: &str, reason: &str) {
        let without = asking(&self.wishes, key).map(|id| (id, reason.to_owned()));
        self.report.unanswered.extend(without);
    }

    /// The rows as they should be. What was measured from an address stays when nobody answers now; who lives where
    /// nobody has measured is estimated: an older distance is from elsewhere.
    pub(super) fn rows(
        &self,
        known: &BTreeMap<i64, Row>,
        now: DateTime<Utc>,
    ) -> BTreeMap<i64, Row> {
        let mut rows = BTreeMap::new();
        for (id, (mode, wish)) in &self.wishes {
            let last = known.get(id);
            let (metres, source, flag) = match wish {
                Wish::Known(metres, source, flag) => (*metres, *source, *flag),
                Wish::Remembered(question) => self.unanswered(question),
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
                    (None, _) => self.unanswered(question),
                },
            };
            let row = row(*id, mode, metres, source, flag, now);
            let kept = last.filter(|last| is_same(&row, last)).cloned();
            rows.insert(*id, kept.unwrap_or(row));
        }
        rows
    }

    /// What any provider measured from that address, or the estimate.
    fn unanswered(&self, question: &Question) -> (Option<f64>, &'static str, Option<Flag>) {
        let measured = memories(question).find_map(|(source, key)| {
            let (metres, flag) = judged(self.cache.get(&key)?, question.commune);
            Some((Some(metres?), source, flag))
        });
        measured.unwrap_or_else(|| {
            let estimate = estimate(Communes::bundled(), Some(&question.address));
            (estimate.distance_m, SOURCE, estimate.flag)
        })
    }
}

/// Where the cache may hold what a provider measured from that address: its own answer, or one that was published before
/// the cache was lost.
fn memories(question: &Question) -> impl Iterator<Item = (&'static str, String)> {
    let of = |source: &'static str| {
        let kept = format!("kept {source}");
        [source, kept.as_str()].map(|name| {
            (
                source,
                Cache::key(name, &question.address, question.profile),
            )
        })
    };
    MEASURING
        .map(|provider| of(provider.as_str()))
        .into_iter()
        .flatten()
}

/// Without a cache nothing says from which address a published distance was measured: it counts for that of today where
/// it fits its commune, until a provider answers.
fn adopt(cache: &mut Cache, wishes: &BTreeMap<i64, (Value, Wish)>, known: &BTreeMap<i64, Row>) {
    for (id, (mode, wish)) in wishes {
        let (Wish::Asked(question) | Wish::Remembered(question), Some(last)) =
            (wish, known.get(id))
        else {
            continue;
        };
        let said = Said {
            metres: last.get("distance_m").and_then(Value::as_f64),
            away_m: None,
            flag: None,
        };
        let source = last.get("source").and_then(Value::as_str);
        let is_measured = MEASURING.iter().any(|by| Some(by.as_str()) == source);
        if is_measured
            && last.get("moyen_deplacement") == Some(mode)
            && judged(said, question.commune).0.is_some()
        {
            let kept = format!("kept {}", source.unwrap_or_default());
            cache.insert(Cache::key(&kept, &question.address, question.profile), said);
        }
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

/// Everything that the cache may say about those who are there.
fn keys(wishes: &BTreeMap<i64, (Value, Wish)>) -> impl Iterator<Item = String> {
    let questions = wishes.values().filter_map(|(_, wish)| match wish {
        Wish::Asked(question) | Wish::Remembered(question) => Some(question),
        Wish::Known(..) => None,
    });
    questions.flat_map(|question| memories(question).map(|(_, key)| key))
}

/// A provider is asked about those who come by sport, where the address names a commune that its answer can be held
/// against; the others are estimated.
fn wish(config: &CommuteConfig, row: &Row, mode: Option<&str>) -> Wish {
    let address = row.get("adresse").and_then(Value::as_str);
    let source = config.provider.as_str();
    let Some(profile) = mode.and_then(profile) else {
        let estimate = estimate(Communes::bundled(), address);
        return Wish::Known(estimate.distance_m, SOURCE, estimate.flag);
    };
    let address = address.unwrap_or_default();
    match locate(Communes::bundled(), address) {
        Err(flag) => Wish::Known(None, source, Some(flag)),
        Ok(commune) => {
            let question = Question {
                key: Cache::key(source, address, profile),
                address: address.to_owned(),
                profile,
                commune,
            };
            match config.provider {
                ProviderName::Estimate => Wish::Remembered(question),
                _ => Wish::Asked(question),
            }
        }
    }
}

fn profile(mode: &str) -> Option<Profile> {
    match plain(mode).split(' ').next() {
        Some("marche" | "running") => Some(Profile::Walking),
        Some("velo" | "trottinette") => Some(Profile::Cycling),
        _ => None,
    }
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

#[cfg(test)]
mod tests;
