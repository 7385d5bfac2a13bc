//! Plays the sport application: a year of plausible activities, then live ones for as long as it runs.
//!
//! The generator keeps no state. A header on each of its messages says what it was doing, so reading the end of the topic
//! tells where to go on: the year is never played twice, and no id is given twice. As a load tool it writes what goes
//! wrong in real life too; what a correct reader makes of the messages stays the same.

mod activity;
mod backfill;
mod chaos;
mod config;
mod courier;
mod database;
mod discipline;
mod garble;
mod live;
mod pace;
mod resume;
mod roster;
mod run;

pub use chaos::{Chaos, Share};
pub use config::GeneratorConfig;
pub use courier::Mishaps;
pub use database::run_into;
pub use run::{GeneratorReport, Progress, run};
