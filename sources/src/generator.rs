//! Plays the sport application: a year of plausible activities, then live ones for as long as it runs.
//!
//! The generator keeps no state. A header on each of its messages says what it was doing, so reading the end of the topic
//! tells where to go on: the year is never played twice, and no id is given twice.

mod activity;
mod backfill;
mod config;
mod database;
mod discipline;
mod live;
mod pace;
mod resume;
mod roster;
mod run;

pub use config::GeneratorConfig;
pub use database::run_into;
pub use run::{GeneratorReport, Progress, run};
