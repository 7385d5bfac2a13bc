use std::io::Read;
use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::viewpoint::Viewpoint;
use crate::output::{self, Format};

/// Run one SELECT on the newest epoch, beside a running `up` or without one
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake query \"SELECT bu, SUM(montant_prime_euros) FROM gold.eligibilites GROUP BY bu\"
  sportlake query --output csv \"SELECT * FROM gold.eligibilites\" > eligibilites.csv
  sportlake query - < report.sql
  sportlake query --as manager --attribute bu=Marketing \"SELECT * FROM gold.eligibilites\"")]
pub(crate) struct Command {
    /// The statement; `-` reads it from standard input
    sql: String,

    #[command(flatten)]
    viewpoint: Viewpoint,

    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        shutdown.or_cancelled(self.print(context)).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn print(self, context: Context) -> anyhow::Result<()> {
        let sql = statement(self.sql)?;
        let principal = self
            .viewpoint
            .principal("query", &context.config.sql.path)?;
        let reader = context.reader(context.existing_lake().await?)?;
        let newest = reader.latest().await?;
        let session = Box::pin(reader.session_of(newest, &principal)).await?;
        let rows = async {
            let statement = session.prepare(&sql).await?;
            let schema = statement.schema();
            output::rows(schema, statement.execute().await?, self.output).await?;
            Ok(())
        };
        context
            .reading(&reader, session.epoch(), Box::pin(rows))
            .await
    }
}

/// The text of a statement; `-` stands for standard input.
///
/// # Errors
/// `InvalidRequest` for what is no text.
pub(crate) fn statement(argument: String) -> engine::Result<String> {
    if argument != "-" {
        return Ok(argument);
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| {
            engine::Error::invalid("standard input cannot be read as a statement")
                .hint("A statement is UTF-8 text.")
                .caused_by(error)
        })?;
    Ok(text)
}
