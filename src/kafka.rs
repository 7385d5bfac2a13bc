use changes::KafkaConfig;
use engine::{Clock, ErrorKind};
use sources::broker::BrokerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::commands::{Context, bind};
use crate::config::Config;

/// The configuration key of the embedded broker's address.
const LISTEN: &str = "broker.listen";

/// Where this process finds the topics.
pub(crate) struct Kafka {
    pub(crate) config: KafkaConfig,
    /// The embedded broker's socket, when this process is the one to serve it.
    pub(crate) embedded: Option<Broker>,
}

/// An embedded broker that is bound and not served yet.
pub(crate) struct Broker {
    listener: TcpListener,
    config: BrokerConfig,
    clock: Clock,
}

impl Kafka {
    /// For `up`: the embedded broker, if that is the one, is this process's own.
    pub(crate) async fn own(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        if !config.kafka.is_embedded() {
            return Ok(Self {
                config: config.kafka.with_secrets()?,
                embedded: None,
            });
        }
        let listener = bind(LISTEN, &config.broker.listen).await?;
        Ok(Self {
            config: config
                .kafka
                .with_brokers(listener.local_addr()?.to_string()),
            embedded: Some(Broker {
                listener,
                config: config.broker.clone(),
                clock: clock.clone(),
            }),
        })
    }

    /// For single commands: the embedded broker of a running `up`, or one of this process.
    async fn any(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        match Self::own(config, clock).await {
            Err(error) if is_conflict(&error) => Ok(Self {
                config: config.kafka.with_brokers(&config.broker.listen),
                embedded: None,
            }),
            other => other,
        }
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    let kind = error
        .downcast_ref::<engine::Error>()
        .map(engine::Error::kind);
    kind == Some(ErrorKind::Conflict)
}

impl Broker {
    pub(crate) async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        sources::broker::serve(self.listener, self.config, self.clock, shutdown).await?;
        Ok(())
    }
}

/// Runs a command that talks to Kafka, with an embedded broker beside it when none runs yet.
///
/// The broker outlives the work, so that what the work hands it last is acknowledged.
pub(crate) async fn with_kafka<T>(
    context: &Context,
    work: impl AsyncFnOnce(KafkaConfig) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let kafka = Kafka::any(&context.config, &context.clock).await?;
    let Some(broker) = kafka.embedded else {
        return work(kafka.config).await;
    };
    let stop = CancellationToken::new();
    let mut broker = tokio::spawn(broker.serve(stop.clone()));
    let result = tokio::select! {
        result = work(kafka.config) => result,
        ended = &mut broker => {
            ended??;
            anyhow::bail!("the embedded broker ended by itself");
        }
    };
    stop.cancel();
    broker.await??;
    result
}
