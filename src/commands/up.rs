mod banner;
mod capture;
mod feed;
mod progress;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use changes::KafkaConfig;
use clap::Args;
use engine::{Lake, Lease, Role};
use tokio::sync::{Notify, watch};

use self::capture::Capture;
use self::feed::Feed;
use self::progress::Watch;
use super::serve::Listeners;
use super::{Context, notify, request};
use crate::config::Config;
use crate::kafka::Kafka;
use crate::roles::{Roles, Stage};

/// Run everything in one process: sources, broker, ingest, refresh and serving, until stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sportlake up
  SPORTLAKE__GENERATOR__DAYS=30 sportlake up")]
pub(crate) struct Command {
    /// Serve an address that other machines reach although nobody signs in or nothing is encrypted [flight.insecure, http.insecure]
    #[arg(long)]
    insecure: bool,
}

impl Command {
    /// Everything that can be refused is refused before anything runs: another writer, a port, a lake of another
    /// format, a workbook that cannot be read.
    pub(crate) async fn run(self, mut context: Context) -> anyhow::Result<ExitCode> {
        context.config.flight.insecure |= self.insecure;
        context.config.http.insecure |= self.insecure;
        let config = &context.config;
        let ports = Ports::bind(&context).await;
        if ports.is_err() && Path::new(&config.lake.uri).exists() {
            // Another `up` on this lake holds the ports too, and the lake explains it better.
            Writers::open(config).await?;
        }
        let Ports { kafka, listeners } = ports?;
        let writers = Writers::open(config).await?;
        let telling = notify::Role::prepare(&context)?;
        let feed = Feed::prepare(&context, &kafka.config)?;
        let capture = Capture::prepare(&context, &kafka.config)?;
        let (told, first_load) = watch::channel(None);
        let reader = context.reader(writers.lake.clone())?;

        let mut roles = Roles::new();
        let addresses =
            listeners.start(&context, &mut roles, writers.lake.clone(), reader.clone())?;
        let topics = kafka.config.clone();
        if let Some(broker) = kafka.embedded {
            roles.start(
                "broker",
                Stage::Broker,
                broker.serve(roles.token(Stage::Broker)),
            );
        }
        writers.start(&context, &mut roles, &topics).await?;
        if let Some(telling) = telling {
            let stop = roles.token(Stage::Work);
            roles.start("notify", Stage::Work, telling.run(topics.clone(), stop));
        }
        if let Some(feed) = feed {
            let feeding = feed.run(roles.token(Stage::Source), told);
            roles.start("sources", Stage::Source, feeding);
        }
        if let Some(capture) = capture {
            let stop = roles.token(Stage::Source);
            roles.start("cdc", Stage::Source, capture.run(stop));
        }
        banner::print(config, &addresses, &topics)?;
        // The watch's end is nobody's concern, so it is no role.
        let watching = Watch {
            metrics: context.metrics.clone(),
            reader,
            clock: context.clock.clone(),
            first_load,
        };
        tokio::spawn(watching.run(roles.token(Stage::Work)));
        roles.run(context.shutdown.token()).await?;
        Ok(context.shutdown.code_of_role())
    }
}

/// The addresses of everything that listens. They are bound before a lake is begun.
struct Ports {
    kafka: Kafka,
    listeners: Listeners,
}

impl Ports {
    async fn bind(context: &Context) -> anyhow::Result<Self> {
        Ok(Self {
            kafka: Kafka::own(&context.config, &context.clock).await?,
            listeners: Listeners::bind(&context.config).await?,
        })
    }
}

/// The lake, and the right to write it as both roles.
struct Writers {
    lake: Lake,
    ingest: Lease,
    refresh: Lease,
}

impl Writers {
    async fn open(config: &Config) -> engine::Result<Self> {
        let lake = Lake::open(&config.lake).await?;
        Ok(Self {
            ingest: Lease::acquire(&lake, Role::Ingest)?,
            refresh: Lease::acquire(&lake, Role::Refresh)?,
            lake,
        })
    }

    /// Starts ingest and refresh, with the bell that the one rings for the other.
    async fn start(
        self,
        context: &Context,
        roles: &mut Roles,
        kafka: &KafkaConfig,
    ) -> anyhow::Result<()> {
        let config = &context.config;
        let wake = Arc::new(Notify::new());
        let stop = roles.token(Stage::Work);
        let ingesting = ingest::run(
            kafka.clone(),
            self.lake.clone(),
            self.ingest,
            config.ingest.clone(),
            context.clock.clone(),
            wake.clone(),
            stop.clone(),
        );
        roles.start("ingest", Stage::Work, ingesting);
        let refresher = Box::pin(request::refresher(context, self.lake, self.refresh)).await?;
        roles.start("refresh", Stage::Work, refresher.run(wake, stop));
        Ok(())
    }
}
