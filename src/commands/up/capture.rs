use changes::{Clock, KafkaConfig};
use sources::cdc::{self, CdcConfig, CdcOptions, Progress};
use sources::postgres::Address;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::commands::Context;

/// The capture of the configured PostgreSQL, as `sportlake cdc` runs it.
pub(super) struct Capture {
    kafka: KafkaConfig,
    address: Address,
    config: CdcConfig,
    clock: Clock,
}

impl Capture {
    /// None where no PostgreSQL is configured, or somebody else captures it.
    pub(super) fn prepare(context: &Context, kafka: &KafkaConfig) -> anyhow::Result<Option<Self>> {
        let config = &context.config;
        let Some(address) = config.database.postgres()? else {
            return Ok(None);
        };
        if !config.cdc.runs_in_up(&config.kafka) {
            return Ok(None);
        }
        config.cdc.validate()?;
        Ok(Some(Self {
            kafka: kafka.clone(),
            address,
            config: config.cdc.clone(),
            clock: context.clock.clone(),
        }))
    }

    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let shown = self.address.shown();
        let tell = move |progress| {
            if progress == Progress::Following {
                info!("capturing the changes of {shown}");
            }
        };
        let (kafka, address, config) = (&self.kafka, &self.address, &self.config);
        let options = CdcOptions::default();
        cdc::run(
            kafka,
            address,
            config,
            options,
            self.clock.clone(),
            stop,
            tell,
        )
        .await?;
        Ok(())
    }
}
