use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::Styles;
use clap::{Parser, Subcommand};

use crate::commands::{
    Context, apply, cdc, check, commute, completions, dlq, doctor, expectations, explain, export,
    generate, hr, ingest, maintain, notify, plan, quarantine, query, refresh, serve, sources,
    status, test, topics, up, user, validate, why,
};

/// A lakehouse SQL service: change events in, Delta tables of SQL files out, served over Arrow Flight SQL.
#[derive(Debug, Parser)]
#[command(name = "sportlake", version, styles = Styles::plain(), after_help = EXAMPLE, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file; its folder is the project [default: sportlake.toml where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Say more on standard error; twice for everything. SPORTLAKE_LOG takes a filter instead
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLE: &str = "\
Example:
  sportlake up
  sportlake query \"SELECT * FROM gold.indicateurs\"

Exit codes:
  0 done                           5 conflict              70 a fault of ours
  1 a check found something        6 unavailable          130 interrupted
  2 a request that cannot work     7 out of a resource
  3 not found                      8 corrupt data
  4 not allowed";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Command),
    Check(check::Command),
    Plan(plan::Command),
    Apply(apply::Command),
    Test(test::Command),
    Refresh(refresh::Command),
    Status(status::Command),
    Validate(validate::Command),
    Expectations(expectations::Command),
    Quarantine(quarantine::Command),
    Dlq(dlq::Command),
    Explain(explain::Command),
    Why(why::Command),
    Query(query::Command),
    Export(export::Command),
    Sources(sources::Command),
    Hr(hr::Command),
    Generate(generate::Command),
    Commute(commute::Command),
    Cdc(cdc::Command),
    Topics(topics::Command),
    Ingest(ingest::Command),
    Maintain(maintain::Command),
    Serve(serve::Command),
    Notify(notify::Command),
    User(user::Command),
    Doctor(doctor::Command),
    Completions(completions::Command),
}

impl Command {
    /// Whether the command goes on until stopped, so that its log is what there is to read.
    pub(crate) fn narrates(&self) -> bool {
        match self {
            Self::Up(_)
            | Self::Ingest(_)
            | Self::Serve(_)
            | Self::Generate(_)
            | Self::Cdc(_)
            | Self::Notify(_) => true,
            Self::Refresh(command) => command.is_role(),
            _ => false,
        }
    }

    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(command) => command.run(context).await,
            Self::Check(command) => command.run(context).await,
            Self::Plan(command) => command.run(context).await,
            Self::Apply(command) => command.run(context).await,
            Self::Test(command) => command.run(context).await,
            Self::Refresh(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Validate(command) => Box::pin(command.run(context)).await,
            Self::Expectations(command) => command.run(context).await,
            Self::Quarantine(command) => command.run(context).await,
            Self::Dlq(command) => command.run(context).await,
            Self::Explain(command) => command.run(context).await,
            Self::Why(command) => command.run(context).await,
            Self::Query(command) => Box::pin(command.run(context)).await,
            Self::Export(command) => Box::pin(command.run(context)).await,
            Self::Sources(command) => command.run(context).await,
            Self::Hr(command) => command.run(context).await,
            Self::Generate(command) => command.run(context).await,
            Self::Commute(command) => Box::pin(command.run(context)).await,
            Self::Cdc(command) => command.run(context).await,
            Self::Topics(command) => command.run(context).await,
            Self::Ingest(command) => command.run(context).await,
            Self::Maintain(command) => command.run(context).await,
            Self::Serve(command) => command.run(context).await,
            Self::Notify(command) => Box::pin(command.run(context)).await,
            Self::User(command) => command.run(&context),
            Self::Doctor(command) => Box::pin(command.run(context)).await,
            Self::Completions(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let cli = Cli::command();
        let mut commands: Vec<&clap::Command> = cli.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|help| help.contains("sportlake ")),
                "{} has no example",
                command.get_name()
            );
        }
    }
}
