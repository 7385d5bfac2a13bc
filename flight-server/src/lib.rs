//! Arrow Flight SQL over the engine: statements, prepared statements and catalogs for ADBC, JDBC and
//! ODBC clients, read-only.
//!
//! The path of a query is `FlightInfo (plan) -> ticket -> DoGet -> Statement -> stream -> FlightData`.
//! No state that a client depends on is kept but session options: tickets and prepared handles are
//! sealed and hold what they need. Only this crate names tonic.

mod activity;
mod admission;
mod answer;
mod attempts;
mod audit;
mod authenticated;
mod columns;
mod config;
mod connection;
mod desk;
mod encode;
mod errors;
mod kept;
mod limits;
mod metadata;
mod metrics;
mod password;
mod private_file;
mod profile;
mod query_runtime;
mod running;
mod server;
mod service;
mod session;
mod sign_in;
mod sql_info;
mod statement;
mod ticket;
mod tls;
mod traces;
mod user_file;
mod wrapper;

pub use config::FlightConfig;
pub use limits::RoleLimits;
pub use password::hash_password;
pub use server::Server;
pub use ticket::{TicketKey, issue_token};
pub use tls::certificate_fingerprint;
pub use user_file::{IssuedToken, User, Users};
