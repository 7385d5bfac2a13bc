use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use changes::{Error, ErrorKind};
use clap::Args;
use sources::generator::{self, Chaos, GeneratorConfig, GeneratorReport, Progress};
use sources::hr::{self, Workbook, WorkbookFile};
use tokio::time::Instant;

use super::{Context, absolute_path, lsn};
use crate::kafka::with_kafka;
use crate::output;

/// Play the sport application, on source.postgres where one is configured: a year of activities once, then live ones
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake generate --days 365 --seed 42 --once
  sportlake generate --employees employees.xlsx sports.xlsx --rate 50
  sportlake generate --rate 100000 --chaos
  sportlake generate --rate 100 --chaos late=10%,malformed=2%")]
pub(crate) struct Command {
    /// Days of activities before the first start, played once [default: generator.days]
    #[arg(long)]
    days: Option<u32>,

    /// The same seed gives the same activities for the same employees [default: generator.seed]
    #[arg(long)]
    seed: Option<u64>,

    /// Live events a second after that, up to 100000 [default: generator.rate]
    #[arg(long)]
    rate: Option<f64>,

    /// End once the days are played
    #[arg(long, conflicts_with = "rate")]
    once: bool,

    /// Who plays: the employees of a workbook, and what a second one says of their sports, instead of those imported
    #[arg(long, value_names = ["FILE", "SPORTS"], num_args = 1..=2, value_parser = absolute_path)]
    employees: Vec<PathBuf>,

    /// Write what goes wrong in real life: shares of duplicates, late, malformed, updates and deletes; without shares
    /// duplicates=2%,late=5%,malformed=1%,updates=10%,deletes=3%
    #[arg(long, value_name = "SHARES", num_args = 0..=1)]
    chaos: Option<Option<String>>,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let generator = self.applied_to(context.config.generator.clone())?;
        let (stop, clock) = (context.shutdown.token(), context.clock.clone());
        let told = Teller::default();
        let tell = move |progress| told.tell(progress);
        // A database that is configured is the source: its capture tells the topics.
        let played = match context.config.database.postgres()? {
            Some(address) => {
                let played = generator::run_into(&address, generator, clock, stop, tell).await;
                played.map_err(anyhow::Error::from)
            }
            None => {
                with_kafka(&context, async |kafka| {
                    sources::topics::ensure(&kafka, &context.config.topics).await?;
                    let lsn = lsn(&context.config)?;
                    Ok(generator::run(&kafka, &lsn, generator, clock, stop, tell).await?)
                })
                .await
            }
        };
        output::end_progress();
        let report = played?;
        output::note(&summary(&report));
        if report.unacknowledged > 0 {
            return Err(Error::new(
                ErrorKind::Cancelled,
                format!(
                    "the broker did not acknowledge {} messages in time",
                    report.unacknowledged
                ),
            )
            .hint("They may be in the topic or not; the next start goes on after what is there.")
            .into());
        }
        Ok(context.shutdown.code_of_role())
    }

    fn applied_to(&self, defaults: GeneratorConfig) -> anyhow::Result<GeneratorConfig> {
        let chaos = match &self.chaos {
            None => defaults.chaos,
            Some(None) => Chaos::TYPICAL,
            Some(Some(shares)) => shares.parse()?,
        };
        Ok(GeneratorConfig {
            days: self.days.unwrap_or(defaults.days),
            seed: self.seed.unwrap_or(defaults.seed),
            rate: if self.once {
                0.0
            } else {
                self.rate.unwrap_or(defaults.rate)
            },
            employees: self.workbook()?.map(Arc::new),
            chaos,
            ..defaults
        })
    }

    fn workbook(&self) -> anyhow::Result<Option<Workbook>> {
        let Some(employees) = self.employees.first() else {
            return Ok(None);
        };
        let sports = self.employees.get(1);
        let sports = sports.map(|path| WorkbookFile::open(path)).transpose()?;
        let employees = WorkbookFile::open(employees)?;
        Ok(Some(hr::read(&employees, sports.as_ref())?))
    }
}

fn summary(report: &GeneratorReport) -> String {
    let mut text = format!(
        "{} events of the first load and {} live ones published",
        report.backfill, report.live
    );
    let mishaps = report.mishaps;
    for (count, what) in [
        (mishaps.duplicates, "sent twice"),
        (mishaps.late, "late"),
        (mishaps.malformed, "malformed messages"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if report.acknowledged > 0 {
        text.push_str(&format!("; {} messages acknowledged", report.acknowledged));
    }
    text
}

/// Time between two lines.
const EVERY: Duration = Duration::from_millis(500);

/// Says how far the load is, and how fast events go.
#[derive(Default)]
struct Teller {
    last: Mutex<Option<Look>>,
}

struct Look {
    at: Instant,
    events: u64,
}

impl Teller {
    fn tell(&self, progress: Progress) {
        match progress {
            Progress::Backfill { done, total } => {
                if let Some(rate) = self.rate(done as u64) {
                    let percent = done * 100 / total.max(1);
                    output::progress(&format!(
                        "first load {percent} %: {done} of {total} events, {rate} a second"
                    ));
                }
            }
            Progress::BackfillComplete => {
                output::end_progress();
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            Progress::Live { published } => {
                if let Some(rate) = self.rate(published) {
                    output::progress(&format!("{published} live events, {rate} a second"));
                }
            }
        }
    }

    /// Events a second since the last line; none while it is too early for another.
    fn rate(&self, events: u64) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let Some(before) = last.as_ref() else {
            *last = Some(Look { at, events });
            return None;
        };
        let elapsed = at.duration_since(before.at);
        if elapsed < EVERY {
            return None;
        }
        let more = events.saturating_sub(before.events);
        *last = Some(Look { at, events });
        u64::try_from(u128::from(more) * 1000 / elapsed.as_millis().max(1)).ok()
    }
}
