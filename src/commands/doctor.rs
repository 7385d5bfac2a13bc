mod certificates;
mod endpoints;
mod folders;
mod lake;
mod secrets;
mod services;

use std::process::ExitCode;

use clap::Args;

use super::Context;
use crate::exit::Found;
use crate::output::{self, Format};

/// Look whether this project can run here: addresses, services, clocks, disk, rights and the lake's formats; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "\
Takes no lock, so it may run beside the roles. Ends with 1 when something would keep a role from running. Brokers, the
database and services are reached, at the same time and each for seconds at most; services are asked for their root alone,
without a key.

Example:
  sportlake doctor
  sportlake doctor --output json")]
pub(crate) struct Command {
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        let findings = shutdown.or_cancelled(examine(&context)).await?;
        let rows: Vec<Vec<String>> = findings.iter().map(Finding::row).collect();
        output::table(&["check", "state", "found", "hint"], &rows, self.output)?;
        let failed = findings
            .iter()
            .filter(|finding| finding.state == State::Fail);
        match failed.count() {
            0 => Ok(ExitCode::SUCCESS),
            1 => Err(Found("1 check failed".to_owned()).into()),
            count => Err(Found(format!("{count} checks failed")).into()),
        }
    }
}

/// Every check, in the order in which a start needs what it looks at.
async fn examine(context: &Context) -> anyhow::Result<Vec<Finding>> {
    let config = &context.config;
    config.broker.validate()?;
    config.notify.validate()?;
    config.cdc.validate()?;
    config.commute.validate()?;
    config.generator.validate()?;
    config.ingest.validate()?;
    let database = secret(config.database.postgres())?;
    let mut findings = vec![
        Finding::ok("program", concat!("sportlake ", env!("CARGO_PKG_VERSION"))),
        Finding::ok("configuration", "every key is known and valid"),
    ];
    findings.extend(folders::examine(config));
    let address = database.as_ref().ok().and_then(Option::as_ref);
    let now = (context.clock)();
    findings.extend(certificates::examine(config, address, now));
    let postgres = async {
        match &database {
            Ok(None) => Vec::new(),
            Ok(Some(address)) => endpoints::postgres(address, &context.clock).await,
            Err(unread) => vec![Finding::failed("source.postgres", unread)],
        }
    };
    let (kafka, postgres, services) = tokio::join!(
        Box::pin(endpoints::kafka(config)),
        Box::pin(postgres),
        Box::pin(services::examine(config))
    );
    findings.push(kafka);
    findings.extend(postgres);
    findings.extend(secrets::examine(config));
    findings.extend(services);
    findings.extend(endpoints::listening(config).await?);
    findings.extend(lake::examine(context).await);
    Ok(findings)
}

/// A secret that is in no file here is a finding; a configuration that cannot work is refused as everywhere.
fn secret<T>(read: changes::Result<T>) -> changes::Result<changes::Result<T>> {
    match read {
        Err(error) if error.kind() == changes::ErrorKind::InvalidRequest => Err(error),
        read => Ok(read),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What one check saw.
#[derive(Debug)]
struct Finding {
    check: String,
    state: State,
    found: String,
    hint: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state: State::Ok,
            found: found.into(),
            hint: String::new(),
        }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            hint: hint.into(),
            ..Self::ok(check, found)
        }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(check, found, hint)
        }
    }

    /// A check that met an error of ours.
    fn failed(check: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        let engine = error.downcast_ref::<engine::Error>();
        let hint = match engine {
            Some(error) => error.hint_text(),
            None => error
                .downcast_ref::<changes::Error>()
                .and_then(changes::Error::hint_text),
        };
        let mut found = error.to_string();
        if let Some(cause) = error.source() {
            let cause = cause.to_string();
            if !found.contains(&cause) {
                found = format!("{found}: {cause}");
            }
        }
        Self::fail(check, found, hint.unwrap_or_default())
    }

    /// The same with a hint, where the error had none.
    fn or_hint(mut self, hint: &str) -> Self {
        if self.hint.is_empty() {
            hint.clone_into(&mut self.hint);
        }
        self
    }

    fn row(&self) -> Vec<String> {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        vec![
            self.check.clone(),
            state.to_owned(),
            self.found.clone(),
            self.hint.clone(),
        ]
    }
}
