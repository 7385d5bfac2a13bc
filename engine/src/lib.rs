//! The lakehouse engine: Delta tables, the SQL project and its refresh, epochs, and queries pinned to one epoch.
//!
//! The write path is `bronze rows -> fold -> expectations -> Table::commit -> Manifest`, the read path
//! `Manifest -> Session -> Statement -> stream of RecordBatch`. Only this crate names deltalake.

mod age;
pub mod bronze;
mod clock;
mod dead_letters;
mod delta;
mod desk;
#[cfg(test)]
mod durability;
mod epoch;
mod error;
mod explain;
mod freshness;
mod front;
mod functions;
mod hidden;
mod information_schema;
mod kill;
mod lake;
mod lease;
mod masked;
mod memory;
mod metrics;
mod moments;
mod nearest;
mod overlay;
mod pinned;
mod pins;
mod plan;
pub mod policies;
mod principal;
pub mod project;
mod protocols;
mod quarantine;
mod reader;
mod refresh;
mod requests;
mod session;
mod shown;
mod sizes;
mod snapshots;
pub mod sources;
mod sql_type;
mod statement;
mod store;
mod system;
mod traces;
pub mod trial;
mod upkeep;
mod validate;
mod why;
mod width;
mod without_values;

pub use age::{Age, AgeLimit};
pub use clock::Clock;
pub use dead_letters::{ATTEMPT_HEADER, DeadLetter, DeadLetters, Replayed, dead_letters};
pub use desk::{Answer, Desk, Visitor};
pub use epoch::{FoldState, Freshness, Manifest, RuleState, TableState, Unbuilt, Work};
pub use error::{Error, ErrorKind, Result};
pub use explain::{Explained, Past, Technique};
pub use kill::Kill;
pub use lake::{Lake, LakeConfig};
pub use lease::{Lease, Role};
pub use memory::{Memory, StatementMemory};
pub use pins::EpochHold;
pub use plan::{
    ChangeKind, ColumnDifference, FileChange, Plan, PlanConfig, PlannedTable, RowDifference,
    SampleRow, plan,
};
pub use principal::Principal;
pub use protocols::{Protocol, protocols};
pub use reader::{Reader, ReaderConfig, Session, TableInfo, TableKind};
pub use refresh::{
    CheckOutcome, ProjectConfig, Rebuild, RefreshConfig, Refresher, Standing, Turn, selected,
};
pub use requests::{Asked, Outcome, Pending, Request, Requests, Waiting, ask};
pub use session::SourceConfig;
pub use sizes::Size;
pub use sql_files::{CATALOG, DEFAULT_SCHEMA, TableName};
pub use sql_type::{name as sql_type_name, precision_and_scale};
pub use statement::{BatchStream, Statement};
pub use system::{Activity, QueryRow, QueryState, SessionRow};
pub use upkeep::{Chore, Task, UpkeepConfig};
pub use validate::{RuleResult, Validation};
pub use why::{Formula, Input, Part, RuleVerdict, Verdict, Why};
pub use without_values::without_values;
