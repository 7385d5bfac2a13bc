use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use changes::Error;
use clap::{Args, ValueEnum};
use sources::commute::{
    self, CommuteConfig, Key, MeasureOptions, MeasureReport, Measured, Progress, ProviderName,
};

use super::{Context, lsn};
use crate::kafka::with_kafka;
use crate::output::{self, Format};

/// The variables that hold the providers' keys.
const GOOGLE_KEY: &str = "GOOGLE_MAPS_API_KEY";
const ORS_KEY: &str = "ORS_API_KEY";

/// Keys are one line.
const LONGEST_KEY: u64 = 4096;

/// Measure how far employees live from the office, where an address or a mode is new: into source.postgres where one is configured, else into the topics
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake commute --provider google --dry-run
  GOOGLE_MAPS_API_KEY=... sportlake commute --provider google
  ORS_API_KEY=... sportlake commute --provider openrouteservice --output csv")]
pub(crate) struct Command {
    /// Who measures; the estimate needs no network and no key [default: commute.provider]
    #[arg(long, value_enum)]
    provider: Option<Provider>,

    /// Ask again about addresses that the provider found no way from
    #[arg(long)]
    again: bool,

    /// Ask nobody and write nothing, only say what would be done
    #[arg(long)]
    dry_run: bool,

    /// How to print the distances that changed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    Estimate,
    Google,
    Openrouteservice,
}

impl From<Provider> for ProviderName {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Estimate => Self::Estimate,
            Provider::Google => Self::Google,
            Provider::Openrouteservice => Self::OpenRouteService,
        }
    }
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        let report = shutdown.or_cancelled(self.measure(&context)).await?;
        self.print(&report)?;
        match report.stopped {
            Some(error) => Err(error.into()),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    async fn measure(&self, context: &Context) -> anyhow::Result<MeasureReport> {
        let mut config = context.config.commute.clone();
        config.provider = self.provider.map_or(config.provider, ProviderName::from);
        let key = key(&config)?;
        let options = MeasureOptions {
            dry_run: self.dry_run,
            retry_flagged: self.again,
        };
        let clock = context.clock.clone();
        let began = Instant::now();
        let tell = |progress| output::progress(&line(progress, began.elapsed()));
        // A database that is configured is the source: its capture tells the topics.
        let report = match context.config.database.postgres()? {
            Some(address) => {
                let report = commute::measure_into(&address, &config, key, options, clock, tell);
                Box::pin(report).await.map_err(anyhow::Error::from)
            }
            None => {
                with_kafka(context, async |kafka| {
                    if !self.dry_run {
                        sources::topics::ensure(&kafka, &context.config.topics).await?;
                    }
                    let lsn = lsn(&context.config)?;
                    let report = commute::measure(&kafka, &lsn, &config, key, options, clock, tell);
                    Ok(Box::pin(report).await?)
                })
                .await
            }
        };
        output::end_progress();
        report
    }

    /// Without names and addresses: what is printed is kept somewhere.
    fn print(&self, report: &MeasureReport) -> anyhow::Result<()> {
        let rows: Vec<Vec<String>> = report.changed.iter().map(row).collect();
        let columns = ["employee_id", "distance_m", "source", "flag"];
        output::table(&columns, &rows, self.output)?;
        for note in unanswered(&report.unanswered) {
            output::note(&note);
        }
        let flagged = report.changed.iter().filter(|row| row.flag.is_some());
        let flagged = match flagged.count() {
            0 => String::new(),
            count => format!(", {count} of them with an address to check"),
        };
        let changed = report.changed.len();
        let (asked, unchanged, deleted) = (report.asked, report.unchanged, report.deleted);
        output::note(&if self.dry_run {
            format!(
                "dry run: {asked} addresses to ask about, {changed} distances known to change, nothing written"
            )
        } else {
            format!(
                "{asked} addresses asked about, {changed} distances written{flagged}, {unchanged} unchanged, {deleted} deleted"
            )
        });
        Ok(())
    }
}

fn row(measured: &Measured) -> Vec<String> {
    vec![
        measured.employee_id.to_string(),
        measured
            .distance_m
            .map(|metres| metres.to_string())
            .unwrap_or_default(),
        measured.source.clone(),
        measured.flag.clone().unwrap_or_default(),
    ]
}

/// A line for each reason, with the employees that it holds for: there may be as many as the company has.
fn unanswered(unanswered: &[(i64, String)]) -> Vec<String> {
    let mut of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, reason) in unanswered {
        of.entry(reason).or_default().push(id.to_string());
    }
    let line = |(reason, ids): (&str, Vec<String>)| {
        let employees = match ids.len() {
            1 => "employee",
            _ => "employees",
        };
        format!(
            "{employees} {}: no answer, so as measured before or estimated: {reason}",
            ids.join(", ")
        )
    };
    of.into_iter().map(line).collect()
}

fn line(progress: Progress, elapsed: Duration) -> String {
    let Progress { done, total } = progress;
    let bar = output::bar(done, total, elapsed);
    format!("measuring {bar}: {done} of {total} addresses")
}

/// The provider's key, from a file or the environment.
pub(super) fn key(config: &CommuteConfig) -> anyhow::Result<Option<Key>> {
    let variable = match config.provider {
        ProviderName::Estimate => return Ok(None),
        ProviderName::Google => GOOGLE_KEY,
        ProviderName::OpenRouteService => ORS_KEY,
    };
    let file = &config.key_file;
    if file.is_empty() {
        let text = std::env::var(variable).unwrap_or_default();
        return Ok(match text.trim() {
            "" => None,
            text => Some(Key::new(text)?),
        });
    }
    let unread = |error: std::io::Error| {
        Error::invalid(format!("could not read commute.key_file \"{file}\""))
            .hint("Write the key in it, on one line, and let nobody else read it.")
            .caused_by(error)
    };
    if std::fs::metadata(Path::new(file)).map_err(unread)?.len() > LONGEST_KEY {
        return Err(Error::invalid(format!("commute.key_file \"{file}\" holds no key")).into());
    }
    let text = std::fs::read_to_string(Path::new(file)).map_err(unread)?;
    Ok(Some(Key::new(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_answer_is_named_below_the_reason() {
        let of = |id: i64, why: &str| (id, why.to_owned());
        let told = unanswered(&[of(2, "refused"), of(3, "over"), of(11, "over")]);
        let because = "no answer, so as measured before or estimated";
        assert_eq!(
            told,
            [
                format!("employees 3, 11: {because}: over"),
                format!("employee 2: {because}: refused"),
            ]
        );
    }

    #[test]
    fn progress_is_a_bar_with_what_is_left() {
        let progress = Progress {
            done: 10,
            total: 40,
        };
        assert_eq!(
            line(progress, Duration::from_secs(5)),
            "measuring [######------------------] 25 %, about 15 s left: 10 of 40 addresses"
        );
    }
}
