use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use engine::trial::{self, CaseReport, Report};

use super::{Context, absolute_path, validate};
use crate::exit::Found;
use crate::output::{self, Format, junit};

/// Run the tests of the SQL project, offline: each case on a lake of its own, by the real path
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake test
  sportlake test gold.eligibilites
  sportlake test \"exactly at the limit\" --junit report.xml")]
pub(crate) struct Command {
    /// Only cases whose table or name holds this text
    filter: Option<String>,

    /// Also write a report that CI servers read
    #[arg(long, value_name = "FILE", value_parser = absolute_path)]
    junit: Option<PathBuf>,

    /// How to print the result; as a table, only failures are told in full
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let config = &context.config;
        let progress = |done: usize, all: usize| {
            if done < all {
                output::progress(&format!("{done} of {all} cases"));
            }
        };
        let work = async {
            let filter = self.filter.as_deref();
            Ok(trial::run(&config.sql.path, &config.source, filter, progress).await?)
        };
        let report = context.shutdown.or_cancelled(Box::pin(work)).await?;
        self.print(&report)?;
        if let Some(path) = &self.junit {
            validate::write(path, junit::junit(&suites(&report)))?;
        }
        verdict(&report)
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        match self.output {
            Format::Table => {
                for problem in &report.problems {
                    output::line(&format!("{problem}\n"))?;
                }
                for case in report.cases.iter().filter(|case| case.failure.is_some()) {
                    output::line(&format!("{case}\n"))?;
                }
                Ok(())
            }
            Format::Json => output::json(report),
            Format::Csv => {
                let problems = report.problems.iter().map(|problem| {
                    let line = problem.line.to_string();
                    let file = problem.file.clone();
                    [
                        String::new(),
                        String::new(),
                        file,
                        line,
                        "broken".to_owned(),
                    ]
                    .into_iter()
                    .chain(["0".to_owned(), problem.message.clone()])
                    .collect()
                });
                let rows: Vec<Vec<String>> = problems.chain(report.cases.iter().map(row)).collect();
                let columns = [
                    "table", "case", "file", "line", "outcome", "seconds", "message",
                ];
                output::table(&columns, &rows, Format::Csv)
            }
        }
    }
}

fn verdict(report: &Report) -> anyhow::Result<ExitCode> {
    match report.problems.len() {
        0 => {}
        1 => return Err(Found("1 problem; no test ran".to_owned()).into()),
        count => return Err(Found(format!("{count} problems; no test ran")).into()),
    }
    for table in &report.untested {
        output::note(&format!("{table} has no test"));
    }
    let (all, failed) = (report.cases.len(), report.failed());
    let noun = if all == 1 { "case" } else { "cases" };
    if failed > 0 {
        return Err(Found(format!("{failed} of {all} {noun} failed")).into());
    }
    output::note(&format!("{all} {noun} passed in {:.1} s", report.seconds));
    Ok(ExitCode::SUCCESS)
}

fn row(case: &CaseReport) -> Vec<String> {
    let failure = case.failure.as_ref();
    let line = failure.map_or(case.line, |failure| failure.line);
    let outcome = if failure.is_some() {
        "failed"
    } else {
        "passed"
    };
    vec![
        case.table.clone(),
        case.case.clone(),
        case.file.clone(),
        line.to_string(),
        outcome.to_owned(),
        format!("{:.3}", case.seconds),
        failure.map_or_else(String::new, |failure| failure.message.clone()),
    ]
}

/// One suite a table; files that cannot be read are a suite of their own.
fn suites(report: &Report) -> Vec<junit::Suite> {
    let mut suites: Vec<junit::Suite> = Vec::new();
    let mut add = |suite: &str, case: junit::Case| match suites.last_mut() {
        Some(last) if last.name == suite => last.cases.push(case),
        _ => suites.push(junit::Suite {
            name: suite.to_owned(),
            cases: vec![case],
        }),
    };
    for problem in &report.problems {
        let case = junit::Case {
            name: format!("{}:{}:{}", problem.file, problem.line, problem.column),
            file: problem.file.clone(),
            seconds: 0.0,
            failure: Some((problem.message.clone(), problem.to_string())),
        };
        add("files", case);
    }
    for case in &report.cases {
        let failure = case.failure.as_ref();
        let name = match case.case.as_str() {
            "" => case.table.clone(),
            name => name.to_owned(),
        };
        let found = junit::Case {
            name,
            file: case.file.clone(),
            seconds: case.seconds,
            failure: failure.map(|failure| (failure.message.clone(), case.to_string())),
        };
        add(&case.table, found);
    }
    suites
}
