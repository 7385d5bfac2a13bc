use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake completions bash > ~/.local/share/bash-completion/completions/sportlake")]
pub(crate) struct Command {
    #[arg(value_enum)]
    shell: Shell,
}

impl Command {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sportlake", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}
