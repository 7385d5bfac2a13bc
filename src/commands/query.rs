use std::io::Read;
use std::process::ExitCode;

use clap::Args;
use engine::{Principal, policies};

use super::Context;
use super::user::{attribute, unknown_role};
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

    /// See what a role of policies.sql sees
    #[arg(long = "as", value_name = "ROLE")]
    roles: Vec<String>,

    /// What row policies know about whoever has the role, as bu=Marketing
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute, requires = "roles")]
    attributes: Vec<(String, String)>,

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
        let sql = match self.sql.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                text
            }
            _ => self.sql,
        };
        let principal = match self.roles.is_empty() {
            true => Principal::operator("query"),
            false => {
                let known = policies::roles(&context.config.sql.path);
                if let Some(role) = self.roles.iter().find(|role| !known.contains(role)) {
                    return Err(unknown_role(role, &known).into());
                }
                Principal::new("query", self.roles, self.attributes.into_iter().collect())
            }
        };
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
