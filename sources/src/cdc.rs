//! Change data capture of a PostgreSQL: its logical replication, written to Kafka as Debezium writes it.
//!
//! The slot is the offset: PostgreSQL hears of a position once Kafka has acknowledged everything before it. What a slot
//! cannot say (which tables are loaded, the generation) is in a small file; without it, tables are only loaded again.

mod capture;
mod catalogue;
mod choice;
mod config;
mod description;
mod envelope;
mod kind;
mod metrics;
mod observer;
mod pgoutput;
mod plan;
mod reread;
mod sink;
mod slot;
mod snapshot;
mod state;
mod stream;
mod table;
mod text;
mod traces;

pub use capture::{CdcOptions, Progress, Report, run};
pub use config::{CdcConfig, Enabled};
pub use kind::{Decimals, Times};
pub use plan::{Action, Plan, PlannedTable, plan};
