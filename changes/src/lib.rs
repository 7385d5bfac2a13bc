//! The change-event contract: Debezium envelopes, topic names, and the one set of Kafka client settings.
//!
//! Everything that writes or reads change events agrees through this crate. It holds no DataFusion and no Arrow.

mod clock;
mod envelope;
mod error;
mod kafka;
mod secret;
mod topic;
mod writer;

pub use clock::Clock;
pub use envelope::{CommitPosition, Envelope, EnvelopeFault, Op};
pub use error::{Error, ErrorKind, Result};
pub use kafka::{
    Compression, KafkaConfig, MAX_MESSAGE_BYTES, Mechanism, Purpose, Security, diagnose,
    kafka_release,
};
pub use secret::Secret;
pub use topic::{Topic, TopicPattern};
pub use writer::{Change, ChangeEvent, SourceTable};

/// The activity type that marks the end of the first load and is no activity.
pub const BACKFILL_COMPLETE: &str = "BACKFILL_COMPLETE";

/// Header that carries a source's generation as decimal text; absent means generation 0.
pub const GENERATION_HEADER: &str = "sportlake.generation";
