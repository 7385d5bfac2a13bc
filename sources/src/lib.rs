//! What feeds Kafka: HR workbooks, an activity generator, commute distances.
//!
//! Every source writes the change events a database would, and keeps no state beside the topics: it reads them back.

pub mod broker;
pub mod cdc;
mod changelog;
pub mod commute;
mod database;
mod diff;
pub mod generator;
pub mod hr;
mod lsn;
pub mod postgres;
mod publisher;
mod spelling;
pub mod topics;

pub use lsn::LsnAllocator;
pub use publisher::Publisher;
