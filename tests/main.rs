//! The suites that cross crates, in one binary: each link of DataFusion costs seconds.

mod cli;
mod first_half_hour;
mod project;
mod tidy;
