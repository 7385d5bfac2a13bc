use std::process::ExitCode;

use clap::{Args, Subcommand};
use sources::topics::{self, CreateOptions, Described, Difference, Remedy, TopicPlan};

use super::Context;
use crate::exit::Found;
use crate::kafka::with_kafka;
use crate::output::{self, Format};

/// Make the topics of the configuration, and show what the brokers have
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake topics create --dry-run
  sportlake topics describe")]
pub(crate) struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    List(List),
    Describe(Describe),
}

/// Make the topics of [topics] that are not there, and change of the others what Kafka changes without a loss
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 when something differs that was not changed.

Example:
  sportlake topics create --dry-run
  sportlake topics create")]
struct Create {
    /// Change nothing, only say what differs
    #[arg(long)]
    dry_run: bool,

    /// Also shorten retention and turn on compaction, which removes messages
    #[arg(long)]
    allow_loss: bool,

    /// How to print what differs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// List the topics of the brokers
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake topics list --output json")]
struct List {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Show partitions, copies and settings of topics
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake topics describe
  sportlake topics describe sportsdata.public.employees")]
struct Describe {
    /// Topics, by name [default: those of the configuration]
    names: Vec<String>,

    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let shutdown = context.shutdown.clone();
        let work = async {
            match self.action {
                Action::Create(create) => create.run(&context).await,
                Action::List(list) => list.run(&context).await,
                Action::Describe(describe) => describe.run(&context).await,
            }
        };
        shutdown.or_cancelled(Box::pin(work)).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config.topics;
        let options = CreateOptions {
            dry_run: self.dry_run,
            allow_loss: self.allow_loss,
        };
        let plans = with_kafka(context, async |kafka| {
            Ok(topics::create(&kafka, config, options).await?)
        })
        .await?;
        let rows: Vec<Vec<String>> = plans.iter().flat_map(|plan| self.rows(plan)).collect();
        output::table(
            &["topic", "what", "now", "wanted", "action"],
            &rows,
            self.output,
        )?;
        let all = || plans.iter().flat_map(|plan| &plan.differences);
        if self.dry_run {
            output::note(&format!(
                "dry run: {} differences; nothing was changed",
                all().count()
            ));
            return Ok(());
        }
        let left = all().filter(|difference| !self.is_done(difference)).count();
        match left {
            0 => Ok(()),
            left => Err(Found(format!("{left} differences were left as they are")).into()),
        }
    }

    fn is_done(&self, difference: &Difference) -> bool {
        match difference.remedy {
            Remedy::Create | Remedy::Change => true,
            Remedy::Lossy => self.allow_loss,
            Remedy::Leave(_) => false,
        }
    }

    fn rows(&self, plan: &TopicPlan) -> Vec<Vec<String>> {
        let row = |what: &str, now: &str, wanted: &str, action: String| {
            vec![
                plan.topic.clone(),
                what.to_owned(),
                now.to_owned(),
                wanted.to_owned(),
                action,
            ]
        };
        if plan.differences.is_empty() {
            return vec![row("", "", "", "as it is".to_owned())];
        }
        let rows = plan.differences.iter().map(|difference| {
            let action = match &difference.remedy {
                Remedy::Create => "create".to_owned(),
                Remedy::Change => "change".to_owned(),
                Remedy::Lossy if self.allow_loss => "change, removing messages".to_owned(),
                Remedy::Lossy => "left: it would remove messages; --allow-loss".to_owned(),
                Remedy::Leave(reason) => format!("left: {reason}"),
            };
            row(
                &difference.what,
                &difference.now,
                &difference.wanted,
                action,
            )
        });
        rows.collect()
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let found = with_kafka(context, async |kafka| Ok(topics::list(&kafka).await?)).await?;
        let rows: Vec<Vec<String>> = found.iter().map(shape).collect();
        output::table(&["topic", "partitions", "replication"], &rows, self.output)
    }
}

impl Describe {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = &context.config.topics;
        let found = with_kafka(context, async |kafka| {
            Ok(topics::describe(&kafka, config, &self.names).await?)
        })
        .await?;
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|topic| {
                let settings: Vec<String> = topic
                    .settings
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                let mut row = shape(topic);
                row.push(settings.join(" "));
                row
            })
            .collect();
        output::table(
            &["topic", "partitions", "replication", "settings"],
            &rows,
            self.output,
        )
    }
}

fn shape(topic: &Described) -> Vec<String> {
    vec![
        topic.topic.clone(),
        topic.partitions.to_string(),
        topic.replication.to_string(),
    ]
}
