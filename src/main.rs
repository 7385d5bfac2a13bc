//! The composition root: reads the configuration, wires the crates together, and turns what they return into
//! text and exit codes. No rule of the data lives here.

mod cli;
mod clock;
mod commands;
mod config;
mod exit;
mod kafka;
mod output;
mod roles;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::commands::Context;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

/// First everything that can fail without a runtime, then the runtime and the command.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Completions(command) = &cli.command {
        return command.run();
    }
    let config = config::load(cli.config.as_deref())?;
    output::speak(config.log.format, clock::system());
    let narrates = cli.command.narrates();
    let telemetry = telemetry::install(cli.verbose, narrates, &config.log, &config.traces)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()?;
    let result = runtime.block_on(async {
        let context = Context::new(config, telemetry.metrics.clone())?;
        Box::pin(cli.command.run(context)).await
    });
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    telemetry.end();
    result
}

/// Planning recurses deeply in an unoptimised build; the memory is only reserved.
const STACK_BYTES: usize = 16 << 20;

/// Blocking work that outlives the command (a Kafka client's last poll) gets this long.
const SHUTDOWN_GRACE: std::time::Duration = std::time::Duration::from_secs(1);
