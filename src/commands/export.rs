mod target;

use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use engine::{Error, TableName};
use exports::{CsvOptions, Format, Separator};
use futures::StreamExt;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use super::Context;
use super::query::statement;
use super::viewpoint::Viewpoint;
use crate::output;
use target::Target;

/// Write a table or a SELECT to a file: CSV, Parquet or XLSX
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("rows").required(true).args(["table", "sql"]),
    after_help = "\
Example:
  sportlake export gold.eligibilites --out primes.xlsx
  sportlake export gold.eligibilites --out primes.csv --excel fr --as rh
  sportlake export --sql \"SELECT bu, montant_primes_euros FROM gold.cout_par_bu\" --format csv --out -
  sportlake export gold.eligibilites --epoch 12 --out primes.parquet"
)]
pub(crate) struct Command {
    /// The table to write, as gold.eligibilites
    #[arg(value_name = "TABLE")]
    table: Option<TableName>,

    /// The rows of this statement instead; `-` reads it from standard input
    #[arg(long, value_name = "SELECT")]
    sql: Option<String>,

    /// The file, which appears when it is whole; `-` is standard output
    #[arg(long, value_name = "FILE", value_parser = target::parse)]
    out: Target,

    /// What to write [default: as the file's name ends]
    #[arg(long, value_enum)]
    format: Option<Kind>,

    /// The rows of an older epoch [default: the newest]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,

    #[command(flatten)]
    viewpoint: Viewpoint,

    /// CSV that the Excel of a country opens with a double click
    #[arg(long, value_enum, conflicts_with_all = ["separator", "decimal_comma", "bom"])]
    excel: Option<Excel>,

    /// What stands between two cells of CSV: `,`, `;` or `tab` [default: ,]
    #[arg(long, value_name = "CHARACTER")]
    separator: Option<Separator>,

    /// Write a comma before the decimals of CSV
    #[arg(long)]
    decimal_comma: bool,

    /// Begin CSV with the mark by which Excel knows UTF-8
    #[arg(long)]
    bom: bool,

    /// Write nothing, only say what would be written
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Csv,
    Parquet,
    Xlsx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Excel {
    Fr,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        let written = shutdown.or_cancelled(self.write(context)).await;
        output::end_progress();
        written?;
        Ok(ExitCode::SUCCESS)
    }

    async fn write(self, context: Context) -> anyhow::Result<()> {
        let format = self.format()?;
        self.out.check(format)?;
        let sql = match (self.table, self.sql) {
            (Some(table), _) => format!("SELECT * FROM {table}"),
            (None, sql) => statement(sql.unwrap_or_default())?,
        };
        let project = &context.config.sql.path;
        let principal = self.viewpoint.principal("export", project)?;
        let reader = context.reader(context.existing_lake().await?)?;
        let manifest = match self.epoch {
            Some(epoch) => reader.epoch(epoch).await?,
            None => reader.latest().await?,
        };
        let session = Box::pin(reader.session_of(manifest, &principal)).await?;
        let epoch = session.epoch();
        let (out, dry_run) = (self.out, self.dry_run);
        let span = info_span!(
            target: "trace",
            "export",
            format = format.extension(),
            epoch,
            rows = Empty,
            otel.status_code = Empty,
        );
        let writing = async {
            let statement = session.prepare(&sql).await?;
            let schema = statement.schema();
            if dry_run {
                let columns = schema.fields().len();
                output::note(&format!(
                    "dry run: {columns} columns of epoch {epoch} to {out}, nothing written"
                ));
                return Ok(());
            }
            let mut rows = 0_usize;
            let batches = statement.execute().await?.map(|batch| {
                let batch = batch.map_err(engine::Error::from)?;
                rows += batch.num_rows();
                output::progress(&format!("exporting: {rows} rows"));
                anyhow::Ok(batch)
            });
            let chunks = exports::chunks(batches, schema, format);
            out.fill(chunks).await?;
            Span::current().record("rows", rows);
            let noun = if rows == 1 { "row" } else { "rows" };
            output::note(&format!("{rows} {noun} of epoch {epoch} written to {out}"));
            Ok(())
        };
        let writing = Box::pin(writing).instrument(span.clone());
        let written = context.reading(&reader, epoch, writing).await;
        written.inspect_err(|_| {
            span.record("otel.status_code", "ERROR");
        })
    }

    fn format(&self) -> Result<Format, Error> {
        let kind = match (self.format, self.out.extension().as_deref()) {
            (Some(kind), _) => kind,
            (None, Some("csv")) => Kind::Csv,
            (None, Some("parquet")) => Kind::Parquet,
            (None, Some("xlsx")) => Kind::Xlsx,
            (None, _) => {
                return Err(
                    Error::invalid(format!("nothing says what to write to {}", self.out))
                        .hint("Add --format csv, --format parquet or --format xlsx."),
                );
            }
        };
        let options = match self.excel {
            Some(Excel::Fr) => CsvOptions::excel_fr(),
            None => CsvOptions {
                bom: self.bom,
                separator: self.separator.unwrap_or_default(),
                decimal_comma: self.decimal_comma,
                spaced_times: false,
            },
        };
        let format = match kind {
            Kind::Csv => return Ok(Format::Csv(options)),
            Kind::Parquet => Format::Parquet,
            Kind::Xlsx => Format::Xlsx,
        };
        if options == CsvOptions::default() && self.separator.is_none() {
            return Ok(format);
        }
        Err(Error::invalid(format!(
            "--excel, --separator, --decimal-comma and --bom are of CSV, not of .{}",
            format.extension()
        ))
        .hint("Leave them out, or write CSV. Excel opens .xlsx without any of them."))
    }
}
