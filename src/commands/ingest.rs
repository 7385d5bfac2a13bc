use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use engine::{Lake, Lease, Role};
use tokio::sync::Notify;

use super::Context;
use crate::kafka::with_kafka;

/// Run the ingest role: topics to bronze, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  SPORTLAKE__KAFKA__BROKERS=kafka:9092 sportlake ingest
  sportlake ingest --from-earliest sportsdata.public.employees")]
pub(crate) struct Command {
    /// Start this topic again at its earliest message, which wins over what was read before: it was deleted and made
    /// again, or is of another Kafka cluster. Each start with it does so; may be given again
    #[arg(long, value_name = "TOPIC")]
    from_earliest: Vec<String>,
}

impl Command {
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        let mut config = context.config.ingest.clone();
        config.anew.extend(self.from_earliest);
        let lake = Lake::open(&context.config.lake).await?;
        let lease = Lease::acquire(&lake, Role::Ingest)?;
        with_kafka(&context, async |kafka| {
            let work = Box::pin(ingest::run(
                kafka,
                lake,
                lease,
                config,
                context.clock.clone(),
                Arc::new(Notify::new()),
                context.shutdown.token(),
            ));
            context.beside_probes(work).await
        })
        .await?;
        Ok(context.shutdown.code_of_role())
    }
}
