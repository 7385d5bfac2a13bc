//! Commands that write: the running role does it, or this process with the role's lease.

use std::time::Duration;

use clap::Args;
use engine::{Asked, Lake, Lease, Outcome, Refresher, Request, Waiting, ask};

use super::Context;
use crate::output::{self, Format};

/// Until a command that waits for a role says so.
const SILENT: Duration = Duration::from_secs(1);

/// How long a command waits for its role.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Seconds to wait for a running role
    #[arg(long = "wait", value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
}

impl Wait {
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// Has the refresh role do a request, or does it here when nobody runs the role.
pub(crate) async fn of_refresh(
    context: &Context,
    request: Request,
    patience: Duration,
) -> anyhow::Result<Outcome> {
    let lake = Lake::open(&context.config.lake).await?;
    match asked(context, &lake, &request, patience).await? {
        Asked::Answered(outcome) => Ok(outcome),
        Asked::Free(lease) => {
            let mut refresher = Box::pin(refresher(context, lake, lease)).await?;
            Ok(Box::pin(refresher.fulfil(&request)).await?)
        }
    }
}

/// Has the ingest role do a request, or does it here when nobody runs the role.
pub(crate) async fn of_ingest(
    context: &Context,
    request: Request,
    patience: Duration,
) -> anyhow::Result<Outcome> {
    let lake = Lake::open(&context.config.lake).await?;
    match asked(context, &lake, &request, patience).await? {
        Asked::Answered(outcome) => Ok(outcome),
        Asked::Free(lease) => {
            let upkeep = &context.config.upkeep;
            let done = ingest::fulfil(&lake, &lease, &context.clock, upkeep, &request);
            Ok(Box::pin(done).await?)
        }
    }
}

/// Waits for the role, or gets its lease.
async fn asked(
    context: &Context,
    lake: &Lake,
    request: &Request,
    patience: Duration,
) -> engine::Result<Asked> {
    let mut leaving = Leaving(None);
    let tell = |state, waited: Duration| {
        leaving.0 = Some(state);
        if waited >= SILENT {
            let seconds = waited.as_secs();
            output::progress(&match state {
                Waiting::Queued => format!("waiting for the running role ({seconds} s)"),
                Waiting::Taken => format!("the running role is at it ({seconds} s)"),
            });
        }
    };
    let asked = ask(lake, request, &context.clock, patience, tell).await;
    leaving.0 = None;
    output::end_progress();
    asked
}

/// Says what comes of a request whose command is interrupted.
struct Leaving(Option<Waiting>);

impl Drop for Leaving {
    fn drop(&mut self) {
        match self.0 {
            Some(Waiting::Queued) => {
                output::note("the request is taken back, unless the role came to it just now");
            }
            Some(Waiting::Taken) => {
                output::note(
                    "the running role goes on with it; `sportlake status` shows the epochs",
                );
            }
            None => {}
        }
    }
}

pub(crate) async fn refresher(
    context: &Context,
    lake: Lake,
    lease: Lease,
) -> engine::Result<Refresher> {
    let config = &context.config;
    let clock = context.clock.clone();
    Refresher::open(
        lake,
        lease,
        &config.sql,
        &config.refresh,
        &config.source,
        clock,
    )
    .await
}

/// What came of a request: its line, or the whole of it as data.
pub(crate) fn print(outcome: &Outcome, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => Ok(output::line(&outcome.summary)?),
        Format::Json => output::json(outcome),
        Format::Csv => {
            let epoch = outcome.epoch.map(|epoch| epoch.to_string());
            let row = vec![epoch.unwrap_or_default(), outcome.summary.clone()];
            output::table(&["epoch", "summary"], &[row], format)
        }
    }
}
