//! Slack: one French message for each new activity, while the colleague still breathes hard.
//!
//! Promises: nothing of a first load is told; messages go out in order, one at a time, and each activity is told once,
//! but for the one message that a killed process leaves in doubt ([ADR 16](../../docs/adr/0016-slack.md)). When Slack is
//! slower than the colleagues, one digest takes the place of a queue. Names and comments are in messages alone, never
//! in a log line or an error.

mod activity;
mod config;
mod deliver;
mod follower;
mod french;
mod journal;
mod metrics;
mod names;
mod opt_outs;
mod outbox;
mod reader;
mod run;
mod sieve;
mod slack;
mod standing;
mod store;
mod teller;
mod traces;

pub use config::{Destination, InDoubt, NotifyConfig, Secret};
pub use journal::{Dead, dead_letters};
pub use run::{Delivery, Show, Until, run};
pub use standing::Standing;
pub use teller::Message;
