use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use changes::{Clock, ErrorKind, KafkaConfig};
use sources::cdc::{self, CdcConfig, CdcOptions, Progress};
use sources::postgres::Address;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::commands::Context;

/// Pauses between two tries to capture again.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

    /// Until `stop`. What keeps it from beginning is an error, unless it may pass; what ends it later is told, and it
    /// begins again: the lake is served meanwhile.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let has_begun = AtomicBool::new(false);
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            let error = match self.follow(&has_begun, stop.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = matches!(
                error.kind(),
                ErrorKind::Unavailable | ErrorKind::DeadlineExceeded
            );
            if !may_pass && !has_begun.load(Ordering::Relaxed) {
                return Err(error.into());
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = PAUSE;
            }
            let hint = error.hint_text().unwrap_or_default();
            error!("changes of PostgreSQL do not come any more: {error}. {hint}");
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(
        &self,
        has_begun: &AtomicBool,
        stop: CancellationToken,
    ) -> Result<(), changes::Error> {
        let shown = self.address.shown();
        let tell = |progress| {
            has_begun.store(true, Ordering::Relaxed);
            if progress == Progress::Following {
                info!("capturing the changes of {shown}");
            }
        };
        let (kafka, address, config) = (&self.kafka, &self.address, &self.config);
        let options = CdcOptions::default();
        let clock = self.clock.clone();
        cdc::run(kafka, address, config, options, clock, stop, tell).await?;
        Ok(())
    }
}
