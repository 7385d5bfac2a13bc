//! Runs a project's trials: each case on a lake of its own in a temporary folder, by the real path.
//!
//! What a case gives is written as change events into bronze, as ingest does; a `Refresher` folds them, builds the
//! table under test and what it needs, and publishes epochs; a `Reader` reads what is compared. The tables given
//! directly are made by a stand-in for their file, everything else by the project's own files.

mod case;
mod difference;
mod events;
mod needs;
mod report;
mod rows;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

pub use difference::{Cell, Difference, DifferentRow, RowKind};
pub use report::{CaseReport, Failure, Report};

use crate::error::{Error, ErrorKind, Result};
use crate::nearest;
use crate::project::{self, CheckedProject, Trial, Trials};
use crate::session::{Sessions, SourceConfig};

/// Memory of all cases that run at the same time, for sorts, joins and aggregates.
const MEMORY_BYTES: usize = 512 << 20;

/// What all cases of a run share.
struct Bench {
    checked: CheckedProject,
    sessions: Sessions,
}

/// Runs the cases that the filter names: those whose table or name holds it.
///
/// # Errors
/// `NotFound` when there are no tests, or the filter matches none.
pub async fn run(
    folder: &Path,
    source: &SourceConfig,
    filter: Option<&str>,
    progress: impl Fn(usize, usize),
) -> Result<Report> {
    let started = Instant::now();
    let checked = project::check(folder, source).await?;
    if !checked.is_sound() {
        return Ok(Report {
            problems: checked.problems,
            ..Report::default()
        });
    }
    let trials = Trials::load(folder, &checked)?;
    let bench = Arc::new(Bench {
        sessions: Sessions::new(source.zone()?, MEMORY_BYTES)?,
        checked,
    });
    let mut report = Report {
        untested: untested(&bench.checked, &trials),
        problems: trials.problems,
        ..Report::default()
    };
    let files: Vec<Arc<Trial>> = trials.files.into_iter().map(Arc::new).collect();
    let chosen = choose(&files, filter, !report.problems.is_empty())?;
    for (file, index) in &chosen {
        report
            .problems
            .extend(needs::problems(&bench.checked, file, &file.cases[*index]));
    }
    if !report.problems.is_empty() {
        return Ok(report);
    }
    let total = chosen.len();
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let mut running = futures::stream::iter(chosen)
        .map(|(file, index)| {
            let bench = Arc::clone(&bench);
            // What the refresh warns of is what the cases are about.
            let case = case::run(bench, file, index).with_subscriber(NoSubscriber::default());
            AbortOnDropHandle::new(tokio::spawn(case))
        })
        .buffered(at_once);
    while let Some(done) = running.next().await {
        let done = done.map_err(|source| {
            Error::new(ErrorKind::Internal, "a test ended without a result").caused_by(source)
        })?;
        report.cases.push(done);
        progress(report.cases.len(), total);
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn untested(checked: &CheckedProject, trials: &Trials) -> Vec<String> {
    let broken: Vec<&str> = trials.problems.iter().map(|p| p.file.as_str()).collect();
    let tested = |path: &str| {
        trials
            .files
            .iter()
            .any(|file| file.shown_path.ends_with(path))
            || broken.iter().any(|file| file.ends_with(path))
    };
    let files = checked.project.files.iter();
    let untested = files.filter(|file| !tested(&format!("tests/{}", file.path)));
    untested.map(|file| file.name.to_string()).collect()
}

fn choose(
    files: &[Arc<Trial>],
    filter: Option<&str>,
    broken: bool,
) -> Result<Vec<(Arc<Trial>, usize)>> {
    let wanted = filter.map(str::to_lowercase);
    let matches = |text: &str| match &wanted {
        Some(wanted) => text.to_lowercase().contains(wanted.as_str()),
        None => true,
    };
    let mut chosen = Vec::new();
    for file in files {
        let table = file.table.to_string();
        for (index, case) in file.cases.iter().enumerate() {
            if matches(&table) || case.name.as_deref().is_some_and(matches) {
                chosen.push((Arc::clone(file), index));
            }
        }
    }
    if !chosen.is_empty() || broken {
        return Ok(chosen);
    }
    let Some(filter) = filter else {
        return Err(Error::new(ErrorKind::NotFound, "the project has no tests")
            .hint("A test is a file such as sql/tests/gold/eligibilites.sql; docs/sql-tests.md has an example."));
    };
    let tables: Vec<String> = files.iter().map(|file| file.table.to_string()).collect();
    let near = nearest::name(filter, tables.iter().map(String::as_str));
    let error = Error::new(
        ErrorKind::NotFound,
        format!("no test has \"{filter}\" in its table or its name"),
    );
    Err(match near {
        Some(near) => error.hint(format!("Did you mean \"{near}\"?")),
        None => error.hint(format!("Tables with tests are {}.", tables.join(", "))),
    })
}

#[cfg(test)]
mod tests;
