use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use sources::generator::{self, GeneratorConfig, Progress};

use super::{Context, lsn};
use crate::kafka::with_kafka;
use crate::output;

/// Play the sport application, on source.postgres where one is configured: a year of activities once, then live ones
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake generate --days 365 --seed 42 --once
  sportlake generate --rate 50")]
pub(crate) struct Command {
    /// Days of activities before the first start, played once [default: generator.days]
    #[arg(long)]
    days: Option<u32>,

    /// The same seed gives the same activities for the same employees [default: generator.seed]
    #[arg(long)]
    seed: Option<u64>,

    /// Live events a second after that [default: generator.rate]
    #[arg(long)]
    rate: Option<f64>,

    /// End once the days are played
    #[arg(long, conflicts_with = "rate")]
    once: bool,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let generator = self.applied_to(context.config.generator.clone());
        let (stop, clock) = (context.shutdown.token(), context.clock.clone());
        let told = Teller::default();
        let tell = move |progress| told.tell(progress);
        // A database that is configured is the source: its capture tells the topics.
        let report = match context.config.database.postgres()? {
            Some(address) => generator::run_into(&address, generator, clock, stop, tell).await?,
            None => {
                with_kafka(&context, async |kafka| {
                    sources::topics::ensure(&kafka).await?;
                    let lsn = lsn(&context.config)?;
                    Ok(generator::run(&kafka, &lsn, generator, clock, stop, tell).await?)
                })
                .await?
            }
        };
        output::note(&format!(
            "{} events of the first load and {} live ones published",
            report.backfill, report.live
        ));
        Ok(context.shutdown.code_of_role())
    }

    fn applied_to(&self, defaults: GeneratorConfig) -> GeneratorConfig {
        GeneratorConfig {
            days: self.days.unwrap_or(defaults.days),
            seed: self.seed.unwrap_or(defaults.seed),
            rate: if self.once {
                0.0
            } else {
                self.rate.unwrap_or(defaults.rate)
            },
            ..defaults
        }
    }
}

/// Says each further percent of the first load once.
#[derive(Default)]
struct Teller {
    percent: AtomicUsize,
}

impl Teller {
    fn tell(&self, progress: Progress) {
        match progress {
            Progress::Backfill { done, total } => {
                let percent = done * 100 / total.max(1);
                if self.percent.swap(percent, Ordering::Relaxed) != percent {
                    output::progress(&format!("first load {percent} %: {done} of {total} events"));
                }
            }
            Progress::BackfillComplete => output::end_progress(),
            Progress::Live { .. } => {}
        }
    }
}
