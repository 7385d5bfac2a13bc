use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use ::notify::{Delivery, Destination, Message, NotifyConfig, Secret, Show, Standing, Until};
use changes::{Error, ErrorKind, KafkaConfig};
use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::kafka::with_kafka;
use crate::output::{self, Format};

/// The variables that Slack's own tools read.
const TOKEN: &str = "SLACK_BOT_TOKEN";
const WEBHOOK: &str = "SLACK_WEBHOOK_URL";

/// Secrets are one line.
const LONGEST_SECRET: u64 = 4096;

/// Tell new activities on Slack, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake notify --dry-run
  SLACK_WEBHOOK_URL=https://hooks.slack.com/services/... sportlake notify
  SLACK_BOT_TOKEN=xoxb-... SPORTLAKE__NOTIFY__CHANNEL=C0123456789 sportlake notify
  sportlake notify --dead --output csv")]
pub(crate) struct Command {
    /// Show what would be posted, post and remember nothing; needs no token
    #[arg(long)]
    dry_run: bool,

    /// End once everything there is was told, or Slack refuses everything; without it, whoever has to act is waited for
    #[arg(long)]
    once: bool,

    /// List the messages that Slack did not take, and end
    #[arg(long, conflicts_with_all = ["dry_run", "once"])]
    dead: bool,

    /// How to print the messages of a dry run, and the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let config = &context.config.notify;
        if self.dead {
            self.list_dead(config)?;
            return Ok(ExitCode::SUCCESS);
        }
        let standing = Standing::default();
        if let (true, Some(secret)) = (self.dry_run, secret_named(config)) {
            output::note(&format!("dry run: {secret} is set, but nothing is posted"));
        }
        let delivery = if self.dry_run {
            Delivery::Shown(self.shower()?)
        } else {
            Delivery::Slack(destination(config)?, standing.clone())
        };
        let until = if self.once {
            Until::End
        } else {
            Until::Stopped
        };
        let stop = context.shutdown.token();
        let work = async |kafka| {
            let config = config.clone();
            let timezone = &context.config.source.timezone;
            let clock = context.clock.clone();
            let work = ::notify::run(kafka, config, delivery, timezone, clock, until, stop);
            let trouble = Arc::new(move || standing.trouble());
            context.beside_probes_of(Box::pin(work), trouble).await
        };
        with_kafka(&context, work).await?;
        Ok(context.shutdown.code_of_role())
    }

    /// A line a message, at once: there may never be a last one.
    fn shower(&self) -> anyhow::Result<Show> {
        let format = self.output;
        if format == Format::Csv {
            output::line("activities,text")?;
        }
        Ok(Box::new(move |message: &Message| {
            let line = match format {
                Format::Table => message.text.clone(),
                Format::Json => {
                    json!({"activities": message.ids, "text": message.text}).to_string()
                }
                Format::Csv => output::csv_line(&[&list(&message.ids), &message.text]),
            };
            output::line(&line).map_err(|error| {
                Error::new(ErrorKind::Unavailable, "could not print").caused_by(error)
            })
        }))
    }

    fn list_dead(&self, config: &NotifyConfig) -> anyhow::Result<()> {
        let rows: Vec<Vec<String>> = ::notify::dead_letters(&config.path)?
            .iter()
            .map(|dead| {
                let at = dead.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                vec![at, dead.error.clone(), list(&dead.ids)]
            })
            .collect();
        output::table(&["at", "error", "activities"], &rows, self.output)
    }
}

fn list(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(" ")
}

/// The role of `up`: what ends it does not end what serves numbers.
pub(crate) struct Role {
    config: NotifyConfig,
    timezone: String,
    clock: changes::Clock,
    destination: Destination,
}

impl Role {
    /// None when it is not enabled; refused when it could not post.
    pub(crate) fn prepare(context: &Context) -> anyhow::Result<Option<Self>> {
        let config = context.config.notify.clone();
        if !config.enabled {
            return Ok(None);
        }
        config.validate()?;
        Ok(Some(Self {
            destination: destination(&config)?,
            config,
            timezone: context.config.source.timezone.clone(),
            clock: context.clock.clone(),
        }))
    }

    pub(crate) async fn run(
        self,
        kafka: KafkaConfig,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let delivery = Delivery::Slack(self.destination, Standing::default());
        let ended = ::notify::run(
            kafka,
            self.config,
            delivery,
            &self.timezone,
            self.clock,
            Until::Stopped,
            stop.clone(),
        )
        .await;
        if let Err(error) = ended {
            let hint = error.hint_text().unwrap_or_default();
            tracing::error!("nothing is told on Slack any more: {error}. {hint}");
            stop.cancelled().await;
        }
        Ok(())
    }
}

/// Whether somebody means to post: in `up`, or by a role of its own, whose secrets are all that says so.
pub(super) fn is_configured(config: &NotifyConfig) -> bool {
    config.enabled || !config.channel.is_empty() || secret_named(config).is_some()
}

/// The key or the variable by which a secret is there.
fn secret_named(config: &NotifyConfig) -> Option<&'static str> {
    let is_set = |variable| std::env::var(variable).is_ok_and(|text| !text.trim().is_empty());
    let of_file = |key, file: &str| (!file.is_empty()).then_some(key);
    let of_variable = |variable| is_set(variable).then_some(variable);
    of_file("notify.token_file", &config.token_file)
        .or_else(|| of_file("notify.webhook_file", &config.webhook_file))
        .or_else(|| of_variable(TOKEN))
        .or_else(|| of_variable(WEBHOOK))
}

/// Where messages go: a webhook or a bot's token, from the environment or a file.
pub(super) fn destination(config: &NotifyConfig) -> anyhow::Result<Destination> {
    let token = secret(TOKEN, "notify.token_file", &config.token_file)?;
    let webhook = secret(WEBHOOK, "notify.webhook_file", &config.webhook_file)?;
    let destination = match (token, webhook) {
        (Some(token), None) => Destination::Bot {
            token,
            channel: config.channel.clone(),
        },
        (None, Some(webhook)) => Destination::Webhook(webhook),
        (None, None) => {
            return Err(Error::new(ErrorKind::Unauthenticated, "nothing says where to post")
                .hint(format!(
                    "Set {WEBHOOK} or {TOKEN}, or name a file at notify.webhook_file or notify.token_file; \
                     `sportlake notify --dry-run` needs none of them."
                ))
                .into());
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid("there are a webhook and a token")
                .hint(format!("Leave one of them out: {WEBHOOK} or {TOKEN}."))
                .into());
        }
    };
    destination.validate()?;
    Ok(destination)
}

fn secret(variable: &str, key: &str, file: &str) -> anyhow::Result<Option<Secret>> {
    if !file.is_empty() {
        let unread = |error: std::io::Error| {
            Error::new(
                ErrorKind::NotFound,
                format!("could not read {key} \"{file}\""),
            )
            .hint("Write the secret in it, on one line, and let nobody else read it.")
            .caused_by(error)
        };
        if std::fs::metadata(Path::new(file)).map_err(unread)?.len() > LONGEST_SECRET {
            return Err(Error::invalid(format!("{key} \"{file}\" holds no secret"))
                .hint("Write the secret in it, on one line.")
                .into());
        }
        let text = std::fs::read_to_string(Path::new(file)).map_err(unread)?;
        return Ok(Some(Secret::new(&text)));
    }
    let text = std::env::var(variable).unwrap_or_default();
    Ok((!text.trim().is_empty()).then(|| Secret::new(&text)))
}
